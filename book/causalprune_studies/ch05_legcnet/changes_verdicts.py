"""The claims of the chapter "LEGCNet" when something is changed: settings, features, twins.

A unit is a start on the paper's own split, or of claims on all tables a table; on standardised
features it is a split where `outcomes` finds that. When criteria for these claims were first
written, one trial of each table had been seen. `verdicts` says which margins are from then.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from causalprune_lib.evidence.estimate import Estimate
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch05_legcnet.changes import PAIR, setting_names, study
from causalprune_studies.ch05_legcnet.outcomes import with_splits
from causalprune_studies.ch05_legcnet.verdicts import (
    ALL,
    HALF_A_POINT,
    ONE_IN_TWENTY,
    ONE_POINT,
    against_dense,
    baseline,
    over_tables,
    printed_gap,
)
from causalprune_studies.judge import BOOK, Claim, Finding, draw_verdicts, estimate, gaps

N_SETTINGS = 36  # two rules, two orientations, the base and eight changes


def verdicts(rows: pd.DataFrame) -> dict[str, tuple[Verdict, ...]]:
    """The verdicts on each of `CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CLAIMS, require_full(rows))


def best_verdicts(rows: pd.DataFrame) -> dict[str, tuple[Verdict, ...]]:
    """`verdicts`, on the committed splits where there are any."""
    return verdicts(with_splits(rows))


def _over_starts(
    values: pd.Series, dataset: str | None = None, **options: object
) -> Estimate | None:
    """In percent: over the starts of one table, or over tables, both irises as one."""
    options = {"factor": 100, "bounds": (-1, 1), **options}
    tables = values.index.get_level_values("dataset")
    if dataset is not None:
        return estimate(values[tables == dataset], "starts", **options)
    clusters = tables.map(lambda name: "iris" if name.startswith("iris") else name)
    return estimate(values, "tables", clusters=clusters, **options)


def _mask_of_the_network(rows: pd.DataFrame) -> Iterator[Finding]:
    tested = study(rows, "LEGCNetAblation")
    changed = setting_names(tested).str.contains("window|overlap")
    tested = tested[changed & (tested.rule == "as released") & tested.value.notna()]
    overlap = [
        tested[tested.metric == name].groupby(PAIR).value.mean()
        for name in ("jaccard", "jaccard_chance")
    ]
    for dataset in (*tested.dataset.unique(), None):
        own, chance = (_over_starts(values, dataset, bounds=(0, 1)) for values in overlap)
        yield Finding(dataset or ALL, own, chance)


def _some_setting(rows: pd.DataFrame) -> Iterator[Finding]:
    tested = study(rows, "LEGCNetAblation")
    tested = tested[tested.metric == "accuracy"].assign(changed=setting_names)
    for orientation, part in tested.groupby("orientation", sort=False):
        found = {
            place: gaps(some, "mask", "legcnet", "random", pair_on=PAIR)
            for place, some in part.groupby(["rule", "changed"])
        }
        level = 1 - 0.05 / N_SETTINGS
        estimates = {place: _over_starts(gap, level=level) for place, gap in found.items()}
        (rule, changed), best = max(estimates.items(), key=lambda item: item[1].effect)
        note = f"{orientation}: {rule}, changed: {changed}; the interval allows for all settings"
        yield Finding(ALL, best, cell=orientation, note=note)


def _twins_beat_random(rows: pd.DataFrame) -> Iterator[Finding]:
    rows = study(rows, "LEGCNetTwins")
    rows = rows[(rows.rule == "as released") & (rows.metric == "accuracy")]
    gain = {
        route: gaps(part, "mask", "legcnet", "random", pair_on=PAIR)
        for route, part in rows.groupby("route")
    }
    paper = printed_gap("accuracy", "FT", "random")
    for route in ("own twin", "first twin", "growth"):
        for dataset in (*(rows.dataset.unique() if route == "own twin" else ()), None):
            compared_gains = (gain[route], gain["raw"], gain[route] - gain["raw"])
            yield Finding(
                dataset or ALL,
                *(_over_starts(values, dataset) for values in compared_gains),
                paper_effect=over_tables(paper, "FT") if dataset is None else paper(dataset, "FT"),
                cell=route,
            )


def _twins_find_causes(rows: pd.DataFrame) -> Iterator[Finding]:
    rows = study(rows, "LEGCNetTwins")
    rows = rows[(rows.route == "own twin") & (rows.metric == "causal")]
    for rule, part in rows.groupby("rule", sort=False):
        more = gaps(part, "mask", "legcnet", "another trial", pair_on=PAIR)
        for dataset in (*part.dataset.unique(), None):
            yield Finding(dataset or ALL, _over_starts(more, dataset), cell=rule)


CLAIMS = (
    Claim(
        "the mask is the network's",
        "The pruned weights are those of the network that do not cause its error (section 3.6), "
        "so they stay the same when windows are cut elsewhere.",
        "% of the weights pruned with the table's own windows or with others that both prune",
        "not below",
        (50.0, 100.0),
        "random masks with the same counts, and those of the table's own windows",
        _mask_of_the_network,
        none=100.0,
        asked_by=BOOK,
    ),
    Claim(
        "some setting beats random masks",
        "LEGCNet is superior to random pruning (section 6), at least with other settings.",
        "points of accuracy, LEGCNet minus random masks with the same counts, under the best of "
        f"{N_SETTINGS} settings",
        "above",
        HALF_A_POINT,
        "none was trained under each setting but the random masks",
        _some_setting,
        asked_by=BOOK,
    ),
    Claim(
        "keeps accuracy, scaled",
        "Pruning by LEGCNet keeps the accuracy of the dense network (section 5), on standardised "
        "features.",
        "points of accuracy, LEGCNet minus dense",
        "not below",
        ONE_POINT,
        "random masks with the same counts per layer, minus dense",
        against_dense("accuracy", "standard"),
        asked_by=BOOK,
    ),
    Claim(
        "beats random masks, scaled",
        "LEGCNet is superior to random pruning (section 6), on standardised features.",
        "points of accuracy, LEGCNet minus random masks with the same counts per layer",
        "above",
        HALF_A_POINT,
        "masks with these counts by another network's exponents, minus random",
        baseline("random", "standard"),
        asked_by=BOOK,
    ),
    Claim(
        "beats magnitude, scaled",
        "LEGCNet is superior to magnitude pruning (section 6), on standardised features.",
        "points of accuracy, LEGCNet minus magnitude with the same counts per layer",
        "above",
        HALF_A_POINT,
        "masks with these counts by another network's exponents, minus magnitude",
        baseline("magnitude", "standard"),
        asked_by=BOOK,
    ),
    Claim(
        "twins beat random masks",
        "LEGCNet is superior to random pruning (section 6), with the exponents of twins that "
        "section 3.4 describes.",
        "points of accuracy, LEGCNet minus random masks with the same counts per layer",
        "above",
        HALF_A_POINT,
        "the exponents of raw weights, without a twin, minus random masks with their counts",
        _twins_beat_random,
    ),
    Claim(
        "twins find the network's own causes",
        "The weights that are kept are those that cause the error (sections 2.2, 3.6), with the "
        "exponents of twins.",
        "% of the weights called causal, by the network's own twins minus by another network's",
        "above",
        ONE_IN_TWENTY,
        "the comparison itself: another network's twins cannot cause this one's error",
        _twins_find_causes,
    ),
)
