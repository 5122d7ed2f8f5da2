"""The claims of the chapter "LEGCNet", and what is found for each of them.

These are the claims on the paper's tables; `changes_verdicts` has those on what becomes of them
when something is changed, `mnist_verdicts` those on images. A unit is a split, the mean over its
twenty starts, where `outcomes` finds that, else a start on the paper's own split; of claims on all
tables it is a table, and iris counts once. FT and PT are never one sample.

The claims replace criteria that asked only whether intervals exclude zero. Three single trials had
been seen when those were written, and they were read once when five of ten trials were done; of
those on settings, scaling and twins one trial of each table had been seen, of those on images one
seed. The margins of one point of accuracy and of one case in twenty are from then, and so are the
five points by which shares of the weights must differ. The others were set when the rows of one
split had been read, and before those of five were: half a point over other masks, since the paper's
own leads over random masks are 0.8 points at most; 2% of the epochs allowed, since the smallest
saving in table 1 is 1.3%; one half of the pruned weights, below which two masks are different ones;
and that a test which calls more than nine tenths of noise causal is no test.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

import pandas as pd

from causalprune_lib.causality.granger import min_length
from causalprune_lib.evidence.estimate import Estimate
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_lib.pruning.windows import cut_windows
from causalprune_studies.ch05_legcnet.outcomes import outcomes, with_splits
from causalprune_studies.ch05_legcnet.splits import ANOTHER, VARIANTS
from causalprune_studies.ch05_legcnet.tables import printed
from causalprune_studies.judge import (
    Claim,
    Finding,
    NotMeasuredError,
    compared,
    draw_verdicts,
    estimate,
    gaps,
)
from causalprune_studies.paper_networks.mnist import mnist_settings
from causalprune_studies.paper_networks.settings import LEGCNET_SETTINGS, published_reading

ONE_POINT = (-1.0, 1.0)
HALF_A_POINT = (-0.5, 0.5)
EPOCHS = (-2.0, 2.0)  # % of those allowed
ONE_IN_TWENTY = (-5.0, 5.0)  # % of the epochs allowed, or of the weights
MOST_OF_NOISE = 0.9  # called causal: above, there is no room for twice the smallest effect
ALL = "all tables"
NO_CONTROL = "the control was not trained on these rows, so the word says nothing about it"


def verdicts(rows: pd.DataFrame) -> dict[str, tuple[Verdict, ...]]:
    """The verdicts on each of `CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CLAIMS, outcomes(require_full(rows)))


def best_verdicts(rows: pd.DataFrame) -> dict[str, tuple[Verdict, ...]]:
    """`verdicts`, on the committed splits where there are any."""
    return verdicts(with_splits(rows))


# The paper's tables; rows as from `outcomes`.

Printed = Callable[[str, str], float]  # of a table and "FT" or "PT"


def _beside(
    metric: str,
    method: str,
    base: str,
    control: str,
    *,
    paper: Printed | None = None,
    rows_of: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows,
    said_of: str = "",
) -> Callable[[pd.DataFrame], Iterator[Finding]]:
    """How `method` compares with `base`, on each table and over all, in FT and PT.

    In the names of networks "*" stands for FT or PT.
    """

    def find(rows: pd.DataFrame) -> Iterator[Finding]:
        rows = rows_of(rows)
        rows = rows[rows.metric == metric]
        for variant in VARIANTS:
            who = [name.replace("*", variant) for name in (method, base, control)]
            here = rows[rows.who.isin(who)]
            left_out = [name for name in here.dataset.unique() if too_few_windows(name, variant)]
            tested = here[~here.dataset.isin(left_out)]
            no_control = who[2] not in set(here.who)
            for dataset, part in here.groupby("dataset", sort=False):
                units = part.units.iloc[0]
                yield Finding(
                    dataset,
                    **compared_in_percent(part, *who, units=units),
                    control_missing=no_control,
                    paper_effect=None if paper is None else _number(paper(dataset, variant)),
                    cell=variant,
                    note=_no_test(dataset, variant)
                    if dataset in left_out
                    else _one_row(metric, units),
                )
            names = tested.dataset.unique()
            yield Finding(
                ALL,
                **compared_in_percent(tested, *who, units="tables", cluster="table"),
                control_missing=no_control,
                paper_effect=None if paper is None else _number(over_tables(paper, variant, names)),
                cell=variant,
                note="; ".join(
                    filter(
                        None,
                        (
                            _leaves_out(variant, left_out),
                            NO_CONTROL * no_control,
                            said_of * (variant == "FT"),
                        ),
                    )
                ),
            )

    return find


def _leaves_out(variant: str, names: Sequence[str]) -> str:
    return f"{ALL}, {variant}, leaves out {', '.join(names)}" if names else ""


def _no_test(dataset: str, variant: str) -> str:
    return (
        f"{dataset}, {variant}: there are too few windows for all lags, and as released a failed "
        "test counts as causal. So the mask is empty, and the published number of weights goes, in "
        "the order of the lags that can be tested"
    )


def _one_row(metric: str, units: str) -> str:
    """What an interval over starts leaves out; accuracy and F1 are of the test rows."""
    if units != "starts" or metric not in ("accuracy", "f1"):
        return ""
    return (
        "over starts the test rows of a table are always the same, from 30 for iris to 418 for "
        "titanic, and which they are is in no interval"
    )


@cache
def too_few_windows(dataset: str, variant: str) -> bool:
    """Whether a recording has too few windows for the lags of its test: the mask is no decision.

    >>> [variant for variant in VARIANTS if too_few_windows("vowel", variant)]
    ['PT']
    """
    reading = published_reading(dataset, variant=variant)
    n_steps = reading.epochs * LEGCNET_SETTINGS[dataset].n_train
    count = cut_windows(n_steps + 1, window=reading.window).count
    return count < min_length(reading.max_lag)


def compared_in_percent(
    rows: pd.DataFrame, method: str, base: str, control: str, **options: object
) -> dict[str, Estimate | None]:
    """As `compared`, in percent; without the control's fields where it was not run.

    No estimate where the two were not run, or on one unit only.
    """
    pair_on = ["table", "dataset", "unit"] if "table" in rows else ["unit"]
    bounded = {"factor": 100, "bounds": (-1, 1)}
    try:
        if control in set(rows.who):
            how = {"pair_on": pair_on, **bounded, **options}
            return compared(rows, "who", method, base, control, **how)
        own = gaps(rows, "who", method, base, pair_on=pair_on)
        clusters = own.index.get_level_values("table") if "cluster" in options else None
        found = estimate(own, str(options["units"]), clusters=clusters, **bounded)
    except NotMeasuredError:
        found = None
    return {"estimate": found}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def printed_gap(metric: str, method: str, base: str) -> Printed:
    """What the paper prints, in points or in % of the epochs allowed."""

    def gap(dataset: str, variant: str) -> float:
        own, other = (printed(variant if n == "*" else n, dataset)[metric] for n in (method, base))
        unit = most_epochs(dataset) if metric == "epochs" else 1
        return round(100 * (own - other) / unit, 6)  # as few digits as are printed

    return gap


def most_epochs(dataset: str) -> int:
    return mnist_settings().epochs if dataset == "mnist" else LEGCNET_SETTINGS[dataset].max_epochs


def over_tables(paper: Printed, variant: str, names: Iterable[str] = LEGCNET_SETTINGS) -> float:
    """The mean of what is printed for the tables in `names`, both irises as one."""
    values = pd.Series({name: paper(name, variant) for name in names}, dtype=float)
    return round(float(values.rename({"iris3f": "iris_csv"}).groupby(level=0).mean().mean()), 6)


def _leads(base: str) -> str:
    """On how many tables the paper itself has LEGCNet-FT above, equal to and below a baseline."""
    names = [*LEGCNET_SETTINGS, "mnist"]
    gap = pd.Series([printed_gap("accuracy", "FT", base)(n, "FT") for n in names]).round(6)
    above, equal, below = ((gap > 0).sum(), (gap == 0).sum(), (gap < 0).sum())
    return (
        f"in the paper's own table 3 LEGCNet-FT is above {base} pruning on {above} of {len(gap)} "
        f"tables, equal on {equal} and below on {below}"
    )


def _prunes(rows: pd.DataFrame) -> Iterator[Finding]:
    shares = rows[rows.metric == "causal"]
    for variant in VARIANTS:
        for dataset, part in shares.groupby("dataset", sort=False):
            if too_few_windows(dataset, variant):
                continue
            pruned = {
                name: 1 - part[part.who == f"{variant} {name}"].value
                for name in ("legcnet", "noise")
            }
            how = {"units": part.units.iloc[0], "bounds": (0, 1), "factor": 100}
            own, noise = (estimate(values, **how) for values in pruned.values())
            n, kept = LEGCNET_SETTINGS[dataset].n_weights, printed(variant, dataset)["n_kept"]
            paper = _number(round(100 * (1 - kept / n), 6))
            yield Finding(dataset, own, noise, paper_effect=paper, cell=variant)


def _causes(rows: pd.DataFrame) -> Iterator[Finding]:
    shares = rows[(rows.metric == "causal") & rows.who.str.endswith(" noise")]
    called = shares.assign(cell=shares.who.str.split().str[0])
    called = called.groupby(["dataset", "cell"]).value.mean()
    silent = called[called > MOST_OF_NOISE]
    find = _beside("causal", "* legcnet", "* noise", f"* {ANOTHER}")
    for found in find(rows):
        at = found.dataset, found.cell
        if at in silent.index:
            note = (
                f"{', '.join(at)}: of pure noise, which causes nothing, the test calls "
                f"{silent[at]:.0%} of the weights causal"
            )
            yield replace(found, passes_where_known=False, note=note)
        elif found.dataset != ALL:
            yield replace(found, passes_where_known=True)
    cells = pd.MultiIndex.from_arrays([rows.dataset, rows.who.str.split().str[0]])
    for found in find(rows[~cells.isin(silent.index)]):
        if found.dataset == ALL:
            left_out = [dataset for dataset, cell in silent.index if cell == found.cell]
            note = _leaves_out(found.cell, left_out)
            yield replace(found, passes_where_known=True, note=note)


def against_dense(metric: str, scaling: str = "as_released") -> Callable:
    """LEGCNet minus dense, beside random masks with its counts minus dense."""
    scaled = scaling == "standard"
    return _beside(
        metric,
        "* legcnet",
        "dense",
        "* random",
        paper=None if scaled else printed_gap(metric, "*", "dense"),
        rows_of=_SCALED if scaled else lambda rows: rows,
    )


def _partial(metric: str) -> Callable:
    """PT minus FT, beside random masks with the counts of PT minus FT."""

    def find(rows: pd.DataFrame) -> Iterator[Finding]:
        paper = printed_gap(metric, "PT", "FT")
        both = _beside(metric, "PT legcnet", "FT legcnet", "PT random", paper=paper)
        yield from (replace(f, cell="") for f in both(rows) if f.cell == "PT")

    return find


_SCALED = partial(outcomes, scaling="standard")


def baseline(base: str, scaling: str = "as_released") -> Callable:
    """LEGCNet minus a baseline at its counts, beside another start's masks minus the same."""
    scaled = scaling == "standard"
    return _beside(
        "accuracy",
        "* legcnet",
        f"* {base}",
        f"* {ANOTHER}",
        paper=None if scaled else printed_gap("accuracy", "*", base),
        rows_of=_SCALED if scaled else lambda rows: rows,
        said_of="" if scaled else _leads(base),
    )


def _lottery(rows: pd.DataFrame) -> Iterator[Finding]:
    yield Finding(ALL, None, note="no mask was trained from other initial weights than its own")


CLAIMS = (
    Claim(
        "keeps accuracy",
        "Pruning by LEGCNet keeps the accuracy of the dense network (section 5, tables 1 and 2).",
        "points of accuracy, LEGCNet minus dense",
        "not below",
        ONE_POINT,
        "random masks with the same counts per layer, minus dense",
        against_dense("accuracy"),
    ),
    Claim(
        "keeps F1",
        "Pruning by LEGCNet keeps the F1-score of the dense network (section 5, tables 1 and 2).",
        "points of macro F1, LEGCNet minus dense",
        "not below",
        ONE_POINT,
        "random masks with the same counts per layer, minus dense",
        against_dense("f1"),
    ),
    Claim(
        "saves Flops",
        "LEGCNet reduces Flops, by which the tables mean weights (section 5, tables 1 and 2).",
        "% of the weights that the decision prunes",
        "above",
        (0.0, 1.0),
        "the same decision about noise",
        _prunes,
    ),
    Claim(
        "converges faster",
        "LEGCNet converges in significantly fewer epochs than the dense network (section 5).",
        "% of the epochs allowed until the benchmark, LEGCNet minus dense",
        "below",
        EPOCHS,
        "random masks with the same counts per layer, minus dense",
        against_dense("epochs"),
    ),
    Claim(
        "beats random masks",
        "LEGCNet is superior to random pruning (section 6, table 3).",
        "points of accuracy, LEGCNet minus random masks with the same counts per layer",
        "above",
        HALF_A_POINT,
        "masks with these counts by another network's exponents, minus random",
        baseline("random"),
    ),
    Claim(
        "beats magnitude",
        "LEGCNet is superior to magnitude pruning (section 6, table 3).",
        "points of accuracy, LEGCNet minus magnitude with the same counts per layer",
        "above",
        HALF_A_POINT,
        "masks with these counts by another network's exponents, minus magnitude",
        baseline("magnitude"),
    ),
    Claim(
        "partial training suffices",
        "LEGCNet-PT performs at par with LEGCNet-FT (section 5, table 2).",
        "points of accuracy, PT minus FT",
        "not below",
        ONE_POINT,
        "random masks with the counts of PT, minus FT",
        _partial("accuracy"),
    ),
    Claim(
        "partial training converges",
        "LEGCNet-PT is at par with LEGCNet-FT in convergence speed (section 5, table 2).",
        "% of the epochs allowed until the benchmark, PT minus FT",
        "not above",
        ONE_IN_TWENTY,
        "random masks with the counts of PT, minus FT",
        _partial("epochs"),
    ),
    Claim(
        "causes are told from noise",
        "The weights that are kept are those that cause the error (sections 2.2, 3.6).",
        "% of the weights called causal, by the network's own exponents minus by noise",
        "above",
        ONE_IN_TWENTY,
        "the exponents of another network, minus noise",
        _causes,
    ),
    Claim(
        "lottery ticket",
        "LEGCNet's networks validate the lottery ticket hypothesis (section 5).",
        "points of accuracy, from the mask's own initial weights minus from others",
        "above",
        HALF_A_POINT,
        "random masks with the same counts per layer, from both",
        _lottery,
    ),
)
