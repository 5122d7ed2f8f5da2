"""Verdicts of chapters 2 to 4: is training chaotic, do exponents show it, what does a test find?

The criteria stand here, before the rows: see `CRITERIA`. When they were written the quick figures
of the three chapters had been seen, and tiny runs of the studies; no full row had.

The claims are those of the LEGCNet paper, arXiv:2308.09955, by section. A network is one published
set of initial weights of one table. An interval is Student's, at 95%, over networks or seeds.
"""

from __future__ import annotations

import pandas as pd

from causalprune_lib.evidence.intervals import summarise
from causalprune_lib.evidence.pairs import PairedDifference, paired_difference
from causalprune_lib.evidence.studies.chaos.exponents import CHAOTIC, ITSELF, NOT_CHAOTIC
from causalprune_lib.evidence.studies.chaos.granger_rates import AS_THEY_ARE
from causalprune_lib.evidence.studies.chaos.learning_rates import halves_by_order
from causalprune_lib.evidence.verdicts import Verdict, require_full

WINDOW = 200  # samples, in the paper's text
WIDTHS = (151, 487)  # windows of the paper's cancer and banknote tables
LEVEL = 0.05  # what the tests promise
PAIR = ["dataset", "seed"]

CRITERIA = {
    "is-sgd-chaotic": {
        "exponents are positive": "reproduced if the reading as released, mean over the windows "
        "and weights, is above zero in every network, partly if in more than half of them",
        "exponents tell how twins part": "reproduced if the growth of the twins, divided by the "
        "reading, lies between a half and two (whole interval), partly if between a tenth and ten",
        "training is chaotic": "reproduced if in every order of the data the exponent of the "
        "second half of training, mean over the learning rates, is above zero (whole interval) "
        "and at least half of that of the first half; partly if it is above zero in the fixed "
        "order, which is the paper's",
    },
    "measuring-chaos": {
        "weights have positive exponents": "reproduced if at least 95% of the windows of every "
        "table are positive, as released at 200 samples, partly if at least half of them",
        "a positive value marks chaos": "reproduced if each of the four processes that are not "
        "chaotic is positive in at most 5% of the windows, partly if in at most half of them",
        "weights hold chaos": "reproduced if in every table more than half of the windows (whole "
        "interval) are told from their own steps in random order, partly if more windows of "
        "weights are than of AR(1), which is not chaotic (whole interval above zero)",
    },
    "granger-causality": {
        "false alarms stay at 5%": "reproduced if at 151 and at 487 samples no more than 5% of "
        "pure noise is called causal (an interval reaches down to 5%), partly if no more than 10%",
        "causes are told from others": "reproduced if of the series called causal at most one in "
        "twenty has no arrow, and half of the true arrows or more are found; partly if true "
        "arrows are called more often than absent ones (whole interval above zero)",
        "causal means that it acts": "reproduced if no more than 5% of the series without an "
        "arrow are called causal under a hidden driver and among falling curves, partly if no "
        "more than a quarter",
    },
}


def sgd_verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdicts of chapter 2, from the full rows of `CHAOS_STUDIES`."""
    require_full(rows)
    weights = rows[rows.spec == "PerturbedWeights"]
    released = _metric(weights, "released").set_index(PAIR).value
    twins = _metric(weights, "twin_growth").set_index(PAIR).value
    share = _mean((twins / released).rename("value").reset_index())
    positive = (released > 0).mean()
    reading = _mean(released.reset_index())
    tangent, described = (_mean(_metric(weights, m)) for m in ("exponent", "described"))
    growth = _metric(weights, "growth_median").value.median()
    gap = _gap(weights[weights.metric.isin(["released", "twin_growth"])], "metric", PAIR)
    halves = halves_by_order(rows)
    late = {order: _mean(part, "late") for order, part in halves.groupby("order")}
    means = halves.groupby("order")[["late", "early"]].mean()
    stays = bool((means.late >= 0.5 * means.early).all())
    faded = halves.melt(["order", "seed"], ["late", "early"], "half")
    fixed = faded[faded.order == "fixed order"]
    networks = "Networks of three tables count as seeds"
    return _named(
        "is-sgd-chaotic",
        _from_mean(
            "Positive Lyapunov exponents of the weight series are observed (section 2.1).",
            _grade(positive == 1, positive > 0.5),
            reading,
            f"the tangent vector of the same trainings ({_said(tangent, 5)} nats per step). "
            f"{networks}",
            "nats per step, as released",
        ),
        _from_gap(
            "The exponents measure how a perturbed training parts from its twin (section 2.1).",
            _grade(share.low > 0.5 and share.high < 2, share.low > 0.1 and share.high < 10),
            gap,
            f"the twins themselves: their growth over the reading is {_said(share, 6)}, and their "
            f"distance grows {growth:.3g}-fold over all recorded steps (median); the same "
            f"reading of the twins' difference (section 3.4) is "
            f"{_said(described)}. {networks}",
            "nats per step, reading minus growth of the twins",
        ),
        _from_gap(
            "Weight updates via SGD have some element of chaos (sections 1 and 2.1).",
            _grade(
                stays and all(part.low > 0 for part in late.values()),
                late["fixed order"].low > 0,
            ),
            _gap(fixed, "half", "seed", a="late", b="early"),
            "the first half of the same training: a chaotic map keeps its exponent. Second half, "
            "nats per step: " + "; ".join(f"{o} {_said(part, 5)}" for o, part in late.items()),
            "nats per step, second half minus first, fixed order",
        ),
    )


def exponent_verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdicts of chapter 3, from the full rows of `EXPONENT_STUDIES`."""
    require_full(rows)
    rows = rows[rows.samples == WINDOW]
    released = rows[rows.reading == "as released"]
    own = _metric(released[released.surrogate == ITSELF], "positive")
    mine, known = own[own.dataset.notna()], own[own.series.notna()]
    least = mine.groupby("dataset").value.mean().min()
    shuffled = released[(released.surrogate == "shuffled") & released.dataset.notna()]
    nulls = known[known.series.isin(NOT_CHAOTIC)].groupby("series").value.mean()
    sides = pd.concat(
        known[known.series.isin(names)].groupby("seed", as_index=False).value.mean().assign(kind=k)
        for k, names in (("chaotic", CHAOTIC), ("not chaotic", NOT_CHAOTIC))
    )
    fitted = rows[(rows.reading == "fitted slope") & (rows.surrogate == ITSELF)]
    fitted = _metric(fitted, "positive").groupby("series").value.mean()
    kept = _metric(released[released.surrogate == "increments shuffled"], "rejected")
    tables = summarise(kept[kept.dataset.notna()], "dataset")
    both = pd.concat(
        [
            kept[kept.dataset.notna()].groupby("seed", as_index=False).value.mean(),
            kept[kept.series == "AR(1)"][["seed", "value"]],
        ],
        keys=["weights", "AR(1)"],
        names=["kind", None],
    ).reset_index("kind")
    told = _gap(both, "kind", "seed", a="weights", b="AR(1)")
    return _named(
        "measuring-chaos",
        _from_mean(
            "The exponents of the weight series are consistently positive (section 3.6).",
            _grade(least >= 0.95, least >= 0.5),
            _mean(mine),
            "the same windows, shuffled in time, of which "
            f"{_metric(shuffled, 'positive').value.mean():.1%} are positive. Networks of four "
            "tables count as seeds",
            "% of the windows positive",
        ),
        _from_gap(
            "A value above 0 is a marker of chaos (section 2.2).",
            _grade(nulls.max() <= LEVEL, nulls.max() <= 0.5),
            _gap(sides, "kind", "seed", a="chaotic", b="not chaotic"),
            "processes that are not chaotic, positive windows as released: "
            f"{_listed(nulls)}. With a fitted slope: {_listed(fitted[list(NOT_CHAOTIC)])}",
            "points of positive windows, chaotic minus not chaotic",
        ),
        _from_gap(
            "The exponents indicate chaotic elements in the weight series (section 3.6).",
            _grade(bool((tables.low > 0.5).all()), told.low > 0),
            told,
            "the steps of the same windows in random order, told apart in "
            + ", ".join(f"{r.mean:.0%} ({r.dataset})" for r in tables.itertuples())
            + "; chance is 5%. To be told apart is no proof of chaos: AR(1), which is not chaotic, "
            f"is told apart in {kept[kept.series == 'AR(1)'].value.mean():.0%}",
            "points of windows told apart, weights minus AR(1)",
        ),
    )


def granger_verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdicts of chapter 4, from the full rows of `GRANGER_STUDIES`."""
    require_full(rows)
    rows = rows[rows.series == AS_THEY_ARE]

    def at(world: str, metric: str, *, rule: str = "as released", width: int = WIDTHS[0]):
        here = (rows.world == world) & (rows.samples == width) & (rows.rule == rule)
        return rows[here & (rows.metric == metric)][["seed", "value", "metric", "rule", "world"]]

    def rate(*args, **options):
        return at(*args, **options).value.mean()

    noise = [_mean(at("independent noise", "false", width=w)) for w in WIDTHS]
    one_lag = at("independent noise", "false", rule="one lag, F")
    level = pd.concat([at("independent noise", "false"), one_lag])
    arrows = pd.concat([at("true arrows", m) for m in ("found", "false")])
    told = _gap(arrows, "metric", "seed", a="found", b="false")
    wrong, found = rate("true arrows", "share_false"), rate("true arrows", "found")
    fooled = {w: rate(w, "false") for w in ("hidden driver", "falling curves")}
    better = {w: rate(w, "false", rule="corrected") for w in fooled}
    alarms = pd.concat([at(w, "false") for w in (*fooled, "independent noise")])
    alarms = alarms.assign(kind=alarms.world.map(lambda w: "fooled" if w in fooled else "noise"))
    alarms = alarms.groupby(["kind", "seed"], as_index=False).value.mean()
    return _named(
        "granger-causality",
        _from_gap(
            "Weights with p < 0.05 in the released test demonstrate a causal relationship "
            "(section 3.6, and the code).",
            _grade(all(n.low <= LEVEL for n in noise), all(n.low <= 2 * LEVEL for n in noise)),
            _gap(level, "rule", "seed", a="as released", b="one lag, F"),
            "independent noise: called causal in "
            + " and ".join(f"{n['mean']:.1%} at {w}" for n, w in zip(noise, WIDTHS, strict=True))
            + f" samples; one F test at one lag in {one_lag.value.mean():.1%}",
            "points of pure noise called causal, released rule minus one F test",
        ),
        _from_gap(
            "The test determines the causal impact of a connection (section 2.2).",
            _grade(wrong <= LEVEL and found >= 0.5, told.low > 0),
            told,
            f"series without an arrow: they are {wrong:.0%} of those called causal, while "
            f"{found:.0%} of the true arrows are found. Corrected rule: "
            f"{rate('true arrows', 'share_false', rule='corrected'):.0%} and "
            f"{rate('true arrows', 'found', rule='corrected'):.0%}",
            "points of series called causal, true arrows minus absent ones",
        ),
        _from_gap(
            "What the test does not call causal has no impact and can be pruned; what it calls "
            "causal has (section 2.2).",
            _grade(max(fooled.values()) <= LEVEL, max(fooled.values()) <= 0.25),
            _gap(alarms, "kind", "seed", a="fooled", b="noise"),
            "series without an arrow, as released: "
            f"{_listed(fooled)}. Corrected rule: {_listed(better)}",
            "points of series called causal, hidden driver and falling curves minus noise",
        ),
    )


def _metric(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    return rows[rows.metric == metric]


def _mean(frame: pd.DataFrame, value: str = "value") -> pd.Series:
    """Mean, interval and n over the rows of `frame`, each of which counts as a seed."""
    one = pd.DataFrame({"all": "", "seed": range(len(frame)), "value": frame[value].to_numpy()})
    return summarise(one, "all").iloc[0]


def _gap(
    frame: pd.DataFrame, between: str, pair_on, *, a: str = "released", b: str = "twin_growth"
) -> PairedDifference:
    kept = [c for c in (between, "seed", "dataset", "value") if c in frame]
    return paired_difference(frame[kept], between=between, a=a, b=b, pair_on=pair_on)


def _from_gap(claim: str, word: str, gap: PairedDifference, control: str, unit: str) -> Verdict:
    scale = 100 if unit.startswith("points") else 1  # shares are said in points
    effect, low, high = (scale * x for x in (gap.mean, gap.low, gap.high))
    return Verdict(claim, word, effect, (low, high), gap.n, control, unit)


def _from_mean(claim: str, word: str, mean: pd.Series, control: str, unit: str) -> Verdict:
    scale = 100 if unit.startswith("%") else 1
    effect, low, high = (scale * x for x in (mean["mean"], mean.low, mean.high))
    return Verdict(claim, word, effect, (low, high), int(mean.n), control, unit)


def _named(chapter: str, *found: Verdict) -> dict[str, Verdict]:
    return dict(zip(CRITERIA[chapter], found, strict=True))


def _grade(full: bool, half: bool) -> str:
    return "reproduced" if full else "partly" if half else "not reproduced"


def _said(mean: pd.Series, digits: int = 3) -> str:
    return f"{mean['mean']:.{digits}f}, {mean.low:.{digits}f} to {mean.high:.{digits}f}"


def _listed(rates) -> str:
    return ", ".join(f"{name} {rate:.0%}" for name, rate in rates.items())
