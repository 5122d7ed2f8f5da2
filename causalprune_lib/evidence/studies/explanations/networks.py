"""Networks of the LEGCNet paper's tables, trained to where it saved them, explained, compared.

Paper: arXiv:2308.09955. The study is `agreement.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch

from causalprune_lib.diagnostics.agreement import STATISTICS, global_importance, rank_agreement
from causalprune_lib.diagnostics.attribution import shap_values
from causalprune_lib.evidence.cells import Point
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.pruning.legcnet_networks import SigmoidNetworks
from causalprune_lib.pruning.legcnet_settings import LEGCNetSettings
from causalprune_lib.pruning.legcnet_training import train_networks

STOPS = ("benchmark", "end")
DENSE = ("dense", "none")
SHOWN = ("dense", "LEGCNet", "random", "magnitude")  # their importances, feature by feature


def train_to_stops(
    settings: LEGCNetSettings,
    networks: SigmoidNetworks,
    data: Dataset,
    *,
    keep: torch.Tensor | None = None,
    order: torch.Tensor | None = None,
) -> dict[str, SigmoidNetworks]:
    """Train networks side by side, and keep each as it is at both `STOPS`.

    "benchmark" is the epoch that reaches the paper's training accuracy, where the released code
    saves a network, or the last; "end" is after `max_epochs` for all.

    Parameters
    ----------
    settings, networks, data
        As for `train_as_released`.
    keep : bool tensor (B, P), optional
        Masks.
    order : int tensor (N,), optional
        In which the training examples come. Default: as they are.
    """
    x, y = data.x_train, data.y_train
    if order is not None:
        x, y = x[order], y[order]
    fields = ("w1", "b1", "w2", "b2")
    saved = {name: getattr(networks, name).clone() for name in fields}
    running = torch.ones(len(networks), dtype=torch.bool, device=x.device)
    for _ in range(settings.max_epochs):
        networks = train_networks(
            networks, x, y, lr=settings.lr, label_size=settings.label_size, epochs=1, masks=keep
        ).networks
        for name in fields:
            saved[name][running] = getattr(networks, name)[running]
        running &= networks.judge(x, y)[0] < settings.benchmark
    return {"benchmark": SigmoidNetworks(**saved), "end": networks}


def explain(networks: SigmoidNetworks, x: torch.Tensor, background: torch.Tensor) -> np.ndarray:
    """Exact Shapley values (B, N, F, K) of what goes into the last sigmoid of each network."""
    return np.stack(
        [
            shap_values(networks.model(i), x, background=background, method="exact")
            for i in range(len(networks))
        ]
    )


def agreement(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """The statistics of `rank_agreement`, and whether all features have the same ranks.

    The first third of the features count as the top ones.
    """
    features = a.shape[1]
    found = rank_agreement(a, b, k=max(1, features // 3), resamples=0)
    values = dict(zip(found.statistic, found.value, strict=True))
    return values | {"same_order": float(values["spearman"] > 1 - 1e-9)}


def compared(
    groups: Mapping[tuple[str, str], SigmoidNetworks],
    data: Dataset,
    x: torch.Tensor,
    background: torch.Tensor,
) -> Iterator[Point]:
    """Compare the explanations of every group of networks with those of the group `DENSE`.

    Parameters
    ----------
    groups : mapping of (str, str) to SigmoidNetworks
        By network and counts. Numbers are means over the networks of a group.
    data : Dataset
        Whose test examples give the accuracy.
    x, background : tensor (N, F), tensor (B, F)
        Examples to explain, and what missing features are replaced by.

    Yields
    ------
    Point
        With the coordinates `network` and `counts`, for some also `feature`.
    """
    reference = explain(groups[DENSE], x, background)[0]
    found = {}
    for place, networks in groups.items():
        values = explain(networks, x, background)
        accuracy = networks.judge(data.x_test, data.y_test)[0].mean().item()
        where = dict(zip(("network", "counts"), place, strict=True))
        if place[0] in SHOWN:
            shares = np.mean([global_importance(v, normalise=True) for v in values], 0)
            for feature, share in enumerate(shares):
                yield Point({"importance": float(share)}, feature=feature, **where)
        if place == DENSE:
            yield Point({"accuracy": accuracy}, **where)
            continue
        each = [agreement(reference, v) for v in values]
        found[place] = each
        means = {name: float(np.nanmean([one[name] for one in each])) for name in each[0]}
        yield Point(means | {"accuracy": accuracy}, **where)
    for counts in dict.fromkeys(counts for _, counts in found):
        if ("random", counts) in found:
            own, others = found["LEGCNet", counts][0], found["random", counts]
            beats = {f"beats_{name}": _beaten(own, others, name) for name in STATISTICS}
            yield Point(beats, network="LEGCNet", counts=counts)


def _beaten(own: Mapping[str, float], others: list[dict[str, float]], name: str) -> float:
    """Share of `others` with a lower value, ties counted half; rounding does not count."""
    gaps = np.round([own[name] - other[name] for other in others], 10)
    return float(((gaps > 0) + (gaps == 0) / 2).mean())
