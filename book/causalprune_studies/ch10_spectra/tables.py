"""Tables of chapter 10: table 4 of LEGCNet, and rows of `JudgedMNIST` chosen and put beside it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from causalprune_studies.ch10_spectra.networks import PRUNED, PUBLISHED
from causalprune_studies.tables import published

INSIDE = (2.0, 6.0)  # where WeightWatcher calls a layer well trained
NETWORKS = ("initial", "other", "dense", *PRUNED)
LAYERS = {"fc1": "layer 1", "fc2": "layer 2", "fc3": "layer 3"}


def table4() -> pd.DataFrame:
    """The exponents of table 4: `network`, `layer` and `value`."""
    rows = published("legcnet_table4")
    rows = rows[rows.column.str.endswith(" alpha")]
    layer = rows.column.str[:6].str.lower().str.replace("layer", "layer ")
    network = rows.label.replace({name.title(): name for name in ("dense", "random", "magnitude")})
    return rows.assign(network=network, layer=layer)[["network", "layer", "value"]]


def marked(rows: pd.DataFrame) -> pd.DataFrame:
    """`table4` as the paper prints it, with every number below 2 marked."""
    below = rows.value < INSIDE[0]
    text = rows.value.map("{:.2f}".format) + np.where(below, " (<2)", "")
    table = rows.assign(text=text).pivot(index="network", columns="layer", values="text")
    return table.loc[rows.network.unique()]


def chosen(rows: pd.DataFrame, metric: str, *, at: str = PUBLISHED) -> pd.DataFrame:
    """Rows of a metric of layers, of whole networks and of those pruned by one amount.

    Their layers are called "layer 1" and so on.
    """
    rows = rows[(rows.judge == "spectra") & (rows.state != "cut") & (rows.metric == metric)]
    rows = rows[rows.amount.eq(at) | rows.network.isin(["dense", "other"])]
    return rows.assign(layer=rows.layer.map(LAYERS))


def wide(rows: pd.DataFrame) -> pd.DataFrame:
    """(seed, layer) by network."""
    return rows.pivot(index=["seed", "layer"], columns="network", values="value")


def alpha_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Table 4: published exponents beside the mean, lowest and highest of ours.

    One line for each network and layer, at the published number of weights; networks that the
    table does not have are NaN under "published".
    """
    ours = chosen(rows, "pl_alpha").groupby(["network", "layer"]).value
    table = ours.agg(here="mean", lowest="min", highest="max")
    table.insert(0, PUBLISHED, table4().set_index(["network", "layer"]).value)
    return table.reindex([name for name in NETWORKS if name in table.index.levels[0]], level=0)


def spread_table(rows: pd.DataFrame) -> pd.DataFrame:
    """How far exponents lie apart, for each layer: by mask, by seed, and by the fit's own doubt.

    Columns: the mean absolute change when the published number of weights is cut from the dense
    network; that between the retrained and the dense network; that between two dense networks of
    different seeds; the mean width of the dense network's bootstrap interval.
    """
    alphas = wide(chosen(rows, "pl_alpha"))
    cuts = rows[(rows.state == "cut") & (rows.amount == PUBLISHED) & (rows.metric == "pl_alpha")]
    cuts = wide(cuts.assign(layer=cuts.layer.map(LAYERS)))
    low, high = (wide(chosen(rows, name))["dense"] for name in ("alpha_low", "alpha_high"))
    apart = {
        "cutting the weights": cuts.sub(alphas["dense"], axis=0).abs().mean(axis=1),
        "cutting and retraining": alphas[[name for name in PRUNED if name in alphas]]
        .sub(alphas["dense"], axis=0)
        .abs()
        .mean(axis=1),
        "another seed": (alphas["other"] - alphas["dense"]).abs(),
        "width of the fit's interval": high - low,
    }
    return pd.DataFrame(apart).groupby("layer").mean()


def inside_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of seeds in which a layer lies within 2 and 6, by network (rows) and layer."""
    found = chosen(rows, "pl_alpha")
    inside = found.assign(value=found.value.between(*INSIDE).astype(float))
    table = inside.groupby(["network", "layer"]).value.mean().unstack()
    return table.loc[[name for name in NETWORKS if name in table.index]]


def many_pruned(rows: pd.DataFrame, amount: float | str) -> pd.DataFrame:
    """Mean exponents and accuracy of the dense network and of those pruned by a fraction."""
    alphas = chosen(rows, "pl_alpha", at=str(amount))
    alphas = alphas[alphas.state == "trained"]
    table = alphas.groupby(["network", "layer"]).value.mean().unstack()
    hits = rows[(rows.judge == "accuracy") & (rows.state == "trained")]
    hits = hits[hits.amount.eq(str(amount)) | hits.network.eq("dense")]
    table["accuracy"] = hits.groupby("network").value.mean()
    return table.loc[["dense", *PRUNED]]


def furthest_apart(rows: pd.DataFrame) -> float:
    """How far in layer 3 the five networks of table 4 lie apart at most, of one seed."""
    alphas = wide(chosen(rows, "pl_alpha")).xs("layer 3", level="layer")[["dense", *PRUNED]]
    return float((alphas.max(axis=1) - alphas.min(axis=1)).max())


def drawn_spectra(rows: pd.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    """The whole spectra that are kept: `eigenvalues`, `shuffled` and the largest, `orange`.

    By network and layer, in units of the mean square of the layer's entries.
    """
    parts = {metric: chosen(rows, metric) for metric in ("eigenvalue", "shuffled")}
    found = {}
    for network in ("initial", "dense", *PRUNED):
        for layer in LAYERS.values():
            values, shuffled = (
                part.value[(part.network == network) & (part.layer == layer)].to_numpy()
                for part in parts.values()
            )
            unit = values.mean()
            each = {"eigenvalues": values / unit, "shuffled": shuffled / unit}
            found[f"{network}, {layer[-1]}"] = {**each, "orange": shuffled.max() / unit}
    return found


def quantiles(estimates: Mapping[int, np.ndarray]) -> pd.DataFrame:
    """`n`, and the quantiles `q025`, `q25`, `q50`, `q75`, `q975` of the estimates from n values."""
    names = {"q025": 0.025, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q975": 0.975}
    return pd.DataFrame([
        {"n": n, **{name: np.quantile(found, q) for name, q in names.items()}}
        for n, found in estimates.items()
    ])  # fmt: skip
