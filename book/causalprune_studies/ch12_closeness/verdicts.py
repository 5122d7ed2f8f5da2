"""The claims about closeness, and what is found for each of them.

A unit is a seed: one network of every width and depth. The first criteria were written before any
full row was measured. Pilots had been seen: digits, seed 100 (at another learning rate), and MNIST,
seed 0. The margins, and that random networks and trained ones are judged apart, came after the rows
had been read; the limit of one half of a stranger's distance is from before.

`CLAIMS` is judged on the rows of this chapter, `MNIST_CLAIMS` on those of chapter 10's networks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from causalprune_lib.evidence.estimate import Estimate
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch12_closeness.distances import NONE
from causalprune_studies.ch12_closeness.study import RULE, SHRINKING
from causalprune_studies.ch12_closeness.tables import rows_at, slopes
from causalprune_studies.judge import BOOK, Claim, Finding, draw_verdicts

AMOUNTS = ("0.1", "0.5", RULE)
SEEDS = "seeds"


def verdicts(rows: pd.DataFrame) -> dict[str, tuple[Verdict, ...]]:
    """The verdicts on each of `CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CLAIMS, require_full(rows))


def verdict_on_mnist(rows: pd.DataFrame) -> dict[str, tuple[Verdict, ...]]:
    """The verdicts on each of `MNIST_CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(MNIST_CLAIMS, require_full(rows))


def _wider(rows: pd.DataFrame) -> Iterator[Finding]:
    found = _slopes(rows)
    cut = found[(found.state == "cut") & (found.amount == RULE)]
    own, random = (_per_seed(cut[cut.network == name]) for name in ("LEGCNet", "random"))
    yield Finding(
        "digits",
        Estimate.of_mean(own, units=SEEDS),
        Estimate.of_mean(random, units=SEEDS) if len(random) > 1 else None,
        Estimate.of_mean((own - random).dropna(), units=SEEDS) if len(random) > 1 else None,
        cell="trained, cut by LEGCNet's rule",
    )
    shrinking = _untrained(found, found.amount == SHRINKING)
    yield Finding(
        "random networks",
        Estimate.of_mean(shrinking, units=SEEDS),
        cell="a fraction like 1/sqrt(width) pruned",
    )


def _whatever_part(rows: pd.DataFrame) -> Iterator[Finding]:
    found = _slopes(rows)
    fixed = _untrained(found, ~found.amount.isin([SHRINKING, "1", "1.0"]))
    yield Finding(
        "random networks", Estimate.of_mean(fixed, units=SEEDS), cell="a fixed fraction pruned"
    )


def _slopes(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows_at(rows, "ball")
    return slopes(rows[rows.amount != NONE])


def _untrained(found: pd.DataFrame, these: pd.Series) -> pd.Series:
    return _per_seed(found[(found.state == "untrained") & (found.network == "random") & these])


def _closer(rows: pd.DataFrame) -> Iterator[Finding]:
    rows = rows_at(rows, "outputs")
    rows = rows[rows.amount.isin(AMOUNTS) & (rows.spec == "ClosenessByWidth")]
    for state, cell in (("cut", "after the cut"), ("retrained", "retrained")):
        here = rows[rows.state == state]
        own, placebo = (_log_ratios(here, a=name, b="random") for name in ("LEGCNet", "shuffled"))
        yield Finding(
            "digits", _ratio(own), _ratio(placebo), _ratio((own - placebo).dropna()), cell=cell
        )


def _still_close(rows: pd.DataFrame) -> Iterator[Finding]:
    rows = rows_at(rows[rows.judge == "closeness"], "outputs")
    wide = rows.pivot(index="seed", columns=["network", "amount", "state"], values="value")
    stranger = np.log(wide["other", NONE, "dense"])
    own, twin = (
        np.log(wide[place]) - stranger
        for place in (("LEGCNet-FT", "published", "retrained"), ("twin", NONE, "dense"))
    )
    yield Finding("mnist", _ratio(own), _ratio(twin), _ratio(own - twin))


def _log_ratios(rows: pd.DataFrame, *, a: str, b: str) -> pd.Series:
    """Log `value` under ranking `a` over that under `b`, mean over places, by seed."""
    by = ["hidden_layers", "width", "amount", "seed"]
    wide = rows[rows.network.isin([a, b])].pivot(index=by, columns="network", values="value")
    return np.log(wide[a] / wide[b]).groupby("seed").mean()


def _ratio(logs: pd.Series) -> Estimate | None:
    return Estimate.of_ratio(np.exp(logs), units=SEEDS) if len(logs) > 1 else None


def _per_seed(found: pd.DataFrame) -> pd.Series:
    return found.groupby("seed").value.mean()


SLOPE = "slope of the log of the largest distance over the unit ball, over log width"
CLAIMS = (
    Claim(
        "wider is closer",
        "A pruned network comes arbitrarily close to the dense one as the width grows (theorem "
        "3.1).",
        SLOPE,
        "below",
        (-0.1, 0.1),
        "random masks with the same counts",
        _wider,
    ),
    Claim(
        "wider is closer, whatever part is pruned",
        "The same holds when a fixed fraction of the weights goes.",
        SLOPE,
        "below",
        (-0.1, 0.1),
        "none: these masks are random",
        _whatever_part,
        asked_by=BOOK,
    ),
    Claim(
        "closer than random",
        "LEGCNet's masks are closer to the dense network than random ones (section 3.5 states the "
        "theorem for these masks alone).",
        "times the mean distance of the outputs under random masks with the same counts",
        "below",
        (1 / 1.1, 1.1),
        "LEGCNet's ranking with every weight's exponents shuffled in time",
        _closer,
        none=1.0,
        asked_by=BOOK,
    ),
)
MNIST_CLAIMS = (
    Claim(
        "retrained and still close",
        "The sparse network is epsilon-close to the dense one (section 3.5), read for the "
        "retrained networks of tables 1 and 2.",
        "times the distance of a dense network of another seed",
        "below",
        (0.5, 1.5),
        "the same training again with one weight moved by a millionth, and nothing pruned",
        _still_close,
        none=1.0,
        asked_by=BOOK,
    ),
)
