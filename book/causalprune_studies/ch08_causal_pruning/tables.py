"""Tables of the chapter "Causal pruning": the rows of its studies, chosen and named for comparison.

A method is a ranking at an allocation, such as "random at causal"; a ranking at its own allocation
has one word. A network is a data set and a seed.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from causalprune_lib.causality.scores import CausalScores
from causalprune_lib.evidence.statistics import PairedDifference, paired_difference, summarise
from causalprune_studies.judge import NotMeasuredError
from causalprune_studies.tables import published

PAIR = ["dataset", "seed"]  # one network
NAMES = {"fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "here": "This page"}
SHOWN = {"obd": "Fisher"}  # the rows have the older name
# LeNet in the paper, by its appendix: images, batch size, recorded epochs, rounds and epochs after.
PAPER = {"cifar10": 50_000, "fashion_mnist": 60_000, "batch": 512, "epochs": 10}
PAPER |= {"rounds": 10, "post_epochs": 200, "networks": 1}
CURVES = ("CausalCurve", "CausalSketch")
NUMBERS = ("amount", "amount_a", "amount_b", "iteration", "n_iter", "l1_coeff", "prune_epochs")
TEXTS = ("ranking", "allocation", "a", "b", "init", "spec", "dataset", "metric")
PARTNERS = {  # of the causal mask: rankings of the study -> what is different there
    "frozen": "no weight moves",
    "same batch": "change of the loss on the same batch",
    "movement": "the loss is not looked at",
    "causal, other order": "recorded again, batches in another order",
    "shuffled loss": "changes of the loss shuffled",
    "magnitude": "magnitude",
    "causal, other seed": "another network",
}


def with_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with every column of the studies: one that only a missing study has is empty."""
    missing = [name for name in (*TEXTS, *NUMBERS) if name not in rows]
    return rows.reindex(columns=[*rows, *missing]).astype(dict.fromkeys(TEXTS, object))


def curve_rows(
    rows: pd.DataFrame, metric: str | list[str] = "accuracy", *, init: str = "fan_out"
) -> pd.DataFrame:
    """Rows of a metric of `CausalCurve`, with `method`."""
    metrics = [metric] if isinstance(metric, str) else metric
    found = rows[rows.spec.isin(CURVES) & rows.metric.isin(metrics) & (rows.init == init)]
    return _with_method(found[found.ranking.notna()])


def iterated_rows(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Rows of one metric of `IteratedRun`, with `method`."""
    return _with_method(rows[(rows.spec == "IteratedRun") & (rows.metric == metric)])


def _with_method(rows: pd.DataFrame) -> pd.DataFrame:
    own = rows.ranking.str.removesuffix(", one shot") == rows.allocation
    alone = own | (rows.ranking == "dense")
    method = rows.ranking.where(alone, rows.ranking + " at " + rows.allocation)
    return rows.assign(method=method)


def overlap_rows(rows: pd.DataFrame, a: str = "causal", b: str = "magnitude") -> pd.DataFrame:
    """Rows on the overlap of the masks of two rankings, of networks with the released start.

    Beside the metrics of the study there is `agreement`, both_pruned corrected for chance: 0 for
    independent masks, 1 for equal ones, (both - expected) / (amount - expected), of equal amounts.
    """
    found = rows[rows.spec.isin(CURVES) & (rows.init == "fan_out")]
    found = found[(found.a == a) & (found.b == b) & found.amount_a.notna()]
    both, expected = (found[found.metric == m] for m in ("both_pruned", "expected"))
    place = [*PAIR, "amount_a", "amount_b"]
    joined = both.merge(expected[[*place, "value"]], on=place, suffixes=("", "_expected"))
    joined = joined[joined.amount_a == joined.amount_b]
    joined["value"] = (joined.value - joined.value_expected) / (
        joined.amount_a - joined.value_expected
    )
    agreement = joined.drop(columns="value_expected").assign(metric="agreement")
    return pd.concat([found, agreement], ignore_index=True)


def complete(rows: pd.DataFrame, *methods: object) -> pd.DataFrame:
    """The rows of `methods`, of the networks that have them all.

    Raises
    ------
    NotMeasuredError
        If there are fewer than two such networks.
    """
    found = rows[rows.method.isin(methods)]
    there = found.groupby(PAIR).method.transform("nunique") == len(set(methods))
    networks = found[there].drop_duplicates(PAIR)
    if len(networks) < 2:
        needed = ", ".join(m if isinstance(m, str) else f"{m:g}" for m in methods)
        raise NotMeasuredError(
            f"two networks at least need rows of {needed}; got {len(networks)} with all of them."
        )
    return found[there]


def mean_over(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """One row per data set, seed and method: the mean over `column`, other columns as they are."""
    place = [*PAIR, "method"]
    how = {name: "first" for name in rows if name not in [*place, column, "value"]}
    return rows.groupby(place, sort=False, as_index=False).agg(how | {"value": "mean"})


def without_empty_layers(rows: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """The rows of `found` at amounts at which the released rule leaves no layer empty."""
    if found.empty:
        return found
    emptied = curve_rows(rows, "emptied", init=found.init.iloc[0])
    emptied = emptied[(emptied.method == "causal") & (emptied.value > 0)]
    gone = set(zip(emptied.dataset, emptied.seed, emptied.amount, strict=True))
    places = zip(found.dataset, found.seed, found.amount, strict=True)
    return found[[place not in gone for place in places]]


def difference(rows: pd.DataFrame, a: str, b: str) -> PairedDifference:
    """Method `a` minus method `b`, over networks; one row per data set, seed and method."""
    return paired_difference(rows, between="method", a=a, b=b, pair_on=PAIR)


def gaps(rows: pd.DataFrame, amount: float) -> pd.DataFrame:
    """Accuracy of "causal" minus that of each method at `amount`, data set by data set.

    Columns `control`, `dataset`, `mean`, `low`, `high` and `n`: controls at causal's counts first.
    """
    found, accuracy = [], curve_rows(rows)
    for dataset, part in accuracy[accuracy.amount == amount].groupby("dataset", sort=False):
        methods = [name for name in part.method.unique() if name.endswith(" at causal")]
        methods += [name for name in ("magnitude", "obd") if name in set(part.method)]
        for other in methods:
            gap = difference(part, "causal", other)
            name = SHOWN.get(other, other)
            found.append((name, NAMES[dataset], gap.mean, gap.low, gap.high, gap.n))
    return pd.DataFrame(found, columns=["control", "dataset", "mean", "low", "high", "n"])


def two_steps(rows: pd.DataFrame, amount: float) -> pd.DataFrame:
    """From global magnitude to causal pruning, by the allocation and by the ranking.

    One row per data set (index), and a `PairedDifference` in each column: `both`, `allocation`
    (causal's counts in place of magnitude's own) and `ranking` (causal's in place of magnitude's).
    """
    accuracy = curve_rows(rows)
    return pd.DataFrame(
        {
            NAMES[dataset]: {
                "both": difference(part, "causal", "magnitude"),
                "allocation": difference(part, "magnitude at causal", "magnitude"),
                "ranking": difference(part, "causal", "magnitude at causal"),
            }
            for dataset, part in accuracy[accuracy.amount == amount].groupby("dataset", sort=False)
        }
    ).T


def ranking_by_allocation(rows: pd.DataFrame, amount: float) -> pd.DataFrame:
    """Mean accuracy of three rankings (rows) at three allocations (columns), at one amount."""
    found = curve_rows(rows)
    found = found[found.amount == amount]
    table = found.pivot_table(index=["dataset", "ranking"], columns="allocation", values="value")
    return table.rename(index=NAMES).loc[
        (found.dataset.map(NAMES).unique(), ["causal", "magnitude", "random"]),
        ["causal", "magnitude", "uniform"],
    ]


def curves(rows: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Mean accuracy of `methods` with its interval, by data set and amount, for `plot_curves`."""
    found = curve_rows(rows)
    found = found[found.method.isin(methods)]
    found = summarise(found, ["dataset", "method", "amount"])
    return found.assign(dataset=found.dataset.map(NAMES), method=found.method.replace(SHOWN))


def coverage(rows: pd.DataFrame) -> pd.DataFrame:
    """Which studies the rows hold, and how many networks of each."""
    place = ["spec", "dataset", "init", "l1_coeff", "prune_epochs"]
    found = rows.groupby(place, sort=False, dropna=False).seed.nunique()
    found = found.rename("networks").reset_index()
    alphas = [f"{alpha:g}" if alpha > 0 else "" for alpha in found.l1_coeff]
    return found.assign(l1_coeff=alphas).set_index("spec")


def scale(rows: pd.DataFrame) -> pd.DataFrame:
    """How large the runs of each data set are, beside the paper's LeNet, one line for each size.

    `rows` with one size of each data set. Rounds are those of `IteratedRun`; networks, of the
    `CausalCurve` with the released start.
    """
    lines = []
    for dataset, part in rows.groupby("dataset", sort=False):
        curve, rounds = part[part.spec.isin(CURVES)].iloc[0], part.n_iter.max()
        images = int(curve.subset.strip("[]").split(",")[0])
        ours = {
            "training images": images,
            "recorded steps in a round": curve.prune_epochs * -(-images // curve.batch_size),
            "rounds": 1 if pd.isna(rounds) else rounds,
            "epochs after pruning": curve.post_epochs,
            "networks": part[part.spec.isin(CURVES) & (part.init == "fan_out")].seed.nunique(),
        }
        paper = {
            "training images": PAPER[dataset],
            "recorded steps in a round": PAPER["epochs"] * -(-PAPER[dataset] // PAPER["batch"]),
            "rounds": PAPER["rounds"],
            "epochs after pruning": PAPER["post_epochs"],
            "networks": PAPER["networks"],
        }
        lines.append(pd.DataFrame({"here": ours, "paper": paper}).astype(int))
    names = [NAMES[name] for name in rows.dataset.unique()]
    return pd.concat(lines, axis=1, keys=names)


def published_lenets() -> pd.DataFrame:
    """The LeNets of the paper's table 2: `dataset`, `method`, `amount` and `mean`, as fractions.

    Ten iterations on all training images, 200 epochs after them, one run each.
    """
    table = published("causal_table2")
    table = table[table.row.str.startswith("lenet/") & table.column.str.contains(": ")]
    method, what = table.column.str.split(": ", expand=True).to_numpy().T
    named = {"No-Pruning": "dense", "Magnitude Pruning": "magnitude", "Causal Pruning": "causal"}
    cells = pd.DataFrame(
        {
            "dataset": table.row.str.removeprefix("lenet/").replace(NAMES).to_numpy(),
            "method": [named[name] for name in method],
            "what": ["amount" if name == "percent pruned" else "mean" for name in what],
            "value": table.value.to_numpy() / 100,
        }
    )
    cells = cells.pivot(index=["dataset", "method"], columns="what", values="value")
    return cells.rename_axis(columns=None).reset_index()


def amounts_of_alpha(scores: CausalScores, n: int = 60) -> pd.DataFrame:
    """What the released rule keeps of each layer at `n` alphas: `alpha`, `layer`, `density`."""
    top, parts = max(scores.alpha_max.values()), []
    alphas = top * torch.logspace(-5, 0, n, dtype=torch.float64)
    for name, values in scores.scores().items():
        ordered = values.flatten().double().sort().values.cpu()  # (n,)
        below = torch.searchsorted(ordered, alphas * scores.total_step, right=True)
        density = 1 - below.numpy() / len(ordered)
        layer = name.removesuffix(".weight")
        parts.append(pd.DataFrame({"alpha": alphas.numpy(), "layer": layer, "density": density}))
    return pd.concat(parts, ignore_index=True)


def layer_densities(rows: pd.DataFrame, sizes: dict[str, int], amount: float) -> pd.DataFrame:
    """Mean fraction of each layer that a ranking keeps at its own allocation, of one data set.

    `sizes` are the weights of each layer. Columns `layer`, `method`, `kept` (weights), `density`.
    """
    kept = curve_rows(rows, [f"kept_{layer}" for layer in sizes])
    kept = kept[(kept.ranking == kept.allocation) & (kept.amount == amount)]
    layer = kept.metric.str.removeprefix("kept_")
    kept = kept.assign(layer=layer, kept=kept.value, density=kept.value / layer.map(sizes))
    place = ["layer", "method"]
    return kept.groupby(place, sort=False, as_index=False)[["kept", "density"]].mean()


def layer_counts(rows: pd.DataFrame, dataset: str, methods: Sequence[str]) -> pd.DataFrame:
    """Weights kept in each layer (columns), mean over networks, by amount and method."""
    kept = curve_rows(rows, [f"kept_{name}" for name in ("conv1", "conv2", "fc1", "fc2")])
    kept = kept[(kept.dataset == dataset) & kept.method.isin(methods)]
    kept = kept.assign(layer=kept.metric.str.removeprefix("kept_"))
    kept["method"] = kept.method.replace(SHOWN)
    table = kept.pivot_table(index=["amount", "method"], columns="layer", values="value")
    return table.round().astype(int)


def emptied_layers(rows: pd.DataFrame) -> pd.DataFrame:
    """Layers that each method's own threshold would empty, mean over networks."""
    found = curve_rows(rows, "emptied").replace({"method": SHOWN})
    table = found.pivot_table(index=["dataset", "method"], columns="amount", values="value")
    return table.rename(index=NAMES).dropna()


def by_start(rows: pd.DataFrame, dataset: str, amounts: Sequence[float]) -> pd.DataFrame:
    """Accuracy of four methods from both initial weights: summary with `start`."""
    methods = ["causal", "magnitude", "magnitude at causal", "random at causal"]
    parts = []
    for start in ("fan_out", "default"):
        part = curve_rows(rows, init=start)
        part = part[(part.dataset == dataset) & part.amount.isin(amounts)]
        part = part[part.method.isin(methods)]
        parts.append(summarise(part, ["method", "amount"]).assign(start=start))
    return pd.concat(parts, ignore_index=True)


def agreement(rows: pd.DataFrame, amount: float) -> pd.DataFrame:
    """How far the causal mask agrees with each of `PARTNERS` at one amount, mean over networks.

    Columns `partner`, `dataset`, `agreement` (corrected for chance), `jaccard` of the weights kept,
    `independent` (the same for independent masks with these counts per layer) and `networks`.
    """
    found = []
    for partner in PARTNERS:
        part = overlap_rows(rows, "causal", partner)
        part = part[(part.amount_a == amount) & (part.amount_b == amount)]
        for dataset, own in part.groupby("dataset"):
            table = summarise(own, "metric").set_index("metric")
            means = table.loc[["agreement", "jaccard", "jaccard_by_layer"], "mean"]
            found.append((partner, NAMES[dataset], *means, table.n["jaccard"]))
    names = ["partner", "dataset", "agreement", "jaccard", "independent", "networks"]
    return pd.DataFrame(found, columns=names)


def overlap_grid(rows: pd.DataFrame) -> pd.DataFrame:
    """Shares of the weights that causal and magnitude masks both prune, at all pairs of amounts."""
    found = overlap_rows(rows)
    found = found[found.metric.isin(["both_pruned", "expected"])]
    return found.pivot_table(
        index=["amount_a", "amount_b"], columns="metric", values="value"
    ).reset_index()


def by_setting(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric of the runs with L1_coeff by `setting` and `iteration`: means with intervals."""
    found = iterated_rows(rows, metric)
    found = found[found.l1_coeff.notna() & (found.method == "causal")]
    settings = zip(found.l1_coeff, found.prune_epochs, strict=True)
    found = found.assign(setting=[f"{a:g}, N_prune {n:.0f}" for a, n in settings])
    return summarise(found, ["setting", "iteration"])


def after_ten_rounds(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy after the last iteration of the runs without L1_coeff: means with intervals."""
    found = iterated_rows(rows)
    found = found[found.l1_coeff.isna()]
    found = found[(found.iteration == found.n_iter) | (found.method == "dense")]
    return summarise(found.assign(dataset=found.dataset.map(NAMES)), ["dataset", "method"])


def after_ten_rounds_against_causal(rows: pd.DataFrame) -> dict[str, PairedDifference]:
    """Causal pruning minus each other method after the last iteration, without L1_coeff."""
    found = iterated_rows(rows)
    last = found[found.l1_coeff.isna() & (found.iteration == found.n_iter)]
    others = [name for name in last.method.unique() if name != "causal"]
    return {name: difference(last, "causal", name) for name in others}


def ten_rounds_against_one(rows: pd.DataFrame) -> dict[tuple[float, float], PairedDifference]:
    """Accuracy of causal pruning after ten iterations minus one, by L1_coeff and N_prune."""
    found = iterated_rows(rows)
    found = found[found.l1_coeff.notna() & (found.method == "causal")]
    found = found.assign(method=found.iteration.astype(int))
    settings = found.groupby(["l1_coeff", "prune_epochs"])
    return {setting: difference(part, 10, 1) for setting, part in settings}


def steeper_than(
    rows: pd.DataFrame, other: str, *, amounts: tuple[float, float] = (0.95, 0.98)
) -> PairedDifference:
    """What causal pruning loses between two amounts, minus what another method loses."""
    low, high = (
        curve_rows(rows).query("amount == @amount").set_index([*PAIR, "method"]).value
        for amount in amounts
    )
    return difference((low - high).dropna().reset_index(), "causal", other)


def in_words(table: pd.DataFrame, *, index: str, columns: str | list[str]) -> pd.DataFrame:
    """Shares with their intervals, for reading, as a pivot in the order of the rows.

    An interval ends where a share does, at 0 and 1.
    """
    table = table.assign(low=table.low.clip(lower=0), high=table.high.clip(upper=1))
    cells = [f"{r.mean:.3f} ({r.low:.3f} to {r.high:.3f})" for r in table.itertuples()]
    shown = table.assign(cell=cells).pivot(index=index, columns=columns, values="cell")
    return shown.loc[table[index].unique()].sort_index(axis=1)
