"""The claims about closeness, and what decides each of them.

The criteria were written before any full row was measured. Pilots had been seen: digits, seed 100
(at another learning rate), and MNIST, seed 0. `CLAIMS` is judged on the rows of this chapter,
`MNIST_CLAIMS` on those of chapter 10's networks.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from causalprune_lib.evidence.statistics import t_interval
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch12_closeness.distances import NONE
from causalprune_studies.ch12_closeness.study import RULE, SHRINKING
from causalprune_studies.ch12_closeness.tables import rows_at, slopes
from causalprune_studies.judge import Claim, draw_verdicts, grade

AMOUNTS = ("0.1", "0.5", RULE)


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each of `CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CLAIMS, require_full(rows))


def verdict_on_mnist(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each of `MNIST_CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(MNIST_CLAIMS, require_full(rows))


def _wider(sentence: str, rows: pd.DataFrame) -> Verdict:
    rows = rows_at(rows, "ball")
    found = slopes(rows[rows.amount != NONE])
    random = (found.state == "untrained") & (found.network == "random")
    fixed = _spread(_per_seed(found[random & ~found.amount.isin([SHRINKING, "1", "1.0"])]))
    shrinking = _per_seed(found[random & (found.amount == SHRINKING)])
    cut = (found.network == "LEGCNet") & (found.state == "cut") & (found.amount == RULE)
    trained = _spread(_per_seed(found[cut]))
    falling = [part["interval"][1] < 0 for part in (fixed, trained)]
    return Verdict(
        sentence,
        grade(all(falling), any(falling)),
        **trained,
        control="random networks as the theorem assumes them: slope "
        f"{fixed['effect']:+.2f} ({fixed['interval'][0]:+.2f} to {fixed['interval'][1]:+.2f}) when "
        f"a fixed fraction goes, {shrinking.mean():+.2f} when the fraction shrinks like "
        "1/sqrt(width)",
        unit="(slope of log distance over log width, trained networks cut by LEGCNet's rule)",
    )


def _closer(sentence: str, rows: pd.DataFrame) -> Verdict:
    rows = rows_at(rows, "outputs")
    rows = rows[rows.amount.isin(AMOUNTS) & (rows.spec == "ClosenessByWidth")]
    found = _log_ratios(rows, a="LEGCNet", b="random")
    cut, again = (
        _spread(_per_seed(found[found.state == state]), transform=np.exp)
        for state in ("cut", "retrained")
    )
    placebo = _log_ratios(rows, a="shuffled", b="random")
    placebo = np.exp(_per_seed(placebo[placebo.state == "cut"]).mean())
    closer = [part["interval"][1] < 1 for part in (cut, again)]
    return Verdict(
        sentence,
        grade(all(closer), any(closer)),
        **cut,
        control=f"retrained, {again['effect']:.2f} times ({again['interval'][0]:.2f} to "
        f"{again['interval'][1]:.2f}); LEGCNet's ranking with every weight's exponents shuffled in "
        f"time, after the cut, {placebo:.2f} times",
        unit="times the distance of random masks with the same counts, after the cut",
    )


def _still_close(sentence: str, rows: pd.DataFrame) -> Verdict:
    rows = rows_at(rows[rows.judge == "closeness"], "outputs")
    wide = rows.pivot(index="seed", columns=["network", "amount", "state"], values="value")
    ratio = {place: wide[place] / wide["other", NONE, "dense"] for place in wide}
    found = _spread(ratio["LEGCNet-FT", "published", "retrained"])
    twin = ratio["twin", NONE, "dense"].mean()
    random = ratio["random", "published", "retrained"].mean()
    high = found["interval"][1]
    return Verdict(
        sentence,
        grade(high < 0.5, high < 1),
        **found,
        control="the same training again with one weight moved by a millionth and nothing "
        f"pruned: {twin:.2f}; random masks: {random:.2f}",
        unit="of the distance of a stranger",
    )


def _log_ratios(rows: pd.DataFrame, *, a: str, b: str) -> pd.DataFrame:
    """Log `value` under ranking `a` over that under `b`, place by place; rows of one metric."""
    by = ["hidden_layers", "width", "amount", "state", "seed"]
    wide = rows[rows.network.isin([a, b])].pivot(index=by, columns="network", values="value")
    return np.log(wide[a] / wide[b]).rename("value").reset_index()


def _per_seed(found: pd.DataFrame) -> pd.Series:
    return found.groupby("seed").value.mean()


def _spread(values: pd.Series, *, transform=float) -> Mapping[str, object]:
    """Effect, interval and number of seeds of a `Verdict`, from one value per seed."""
    low, high = t_interval(values.to_numpy(float), 0.95)
    interval = (float(transform(low)), float(transform(high)))
    effect = float(transform(values.mean()))
    return {"effect": effect, "interval": interval, "n_seeds": len(values)}


CLAIMS = (
    Claim(
        "wider is closer",
        "A pruned network comes arbitrarily close to the dense one as the width grows (theorem "
        "3.1), whatever part of the weights is pruned.",
        "slope of log distance (largest found over the unit ball) over log width, per seed, for "
        "widths above that of the input; its interval is below 0 (a) in random networks as theorem "
        "3.1 assumes them, under random masks of a fixed fraction, mean over fractions and depths, "
        "and (b) in trained networks cut by LEGCNet's rule as released, mean over depths; partly "
        "if one of the two",
        _wider,
    ),
    Claim(
        "closer than random",
        "LEGCNet's masks are closer to the dense network than random ones (section 3.5 states the "
        "theorem for these masks alone).",
        "LEGCNet's distance over that of random masks with the same counts (mean over test images "
        "of the distance of the outputs; geometric mean over widths, depths and the amounts 0.1, "
        "0.5 and that of the rule) is below 1, with its interval, after the cut and after "
        "retraining; partly if one of the two",
        _closer,
    ),
)
MNIST_CLAIMS = (
    Claim(
        "retrained and still close",
        "The sparse network is epsilon-close to the dense one (section 3.5), read for the "
        "retrained networks of tables 1 and 2.",
        "on MNIST, with the published number of weights pruned by LEGCNet-FT and retrained: the "
        "distance of the outputs from the dense network, over that of a dense network of another "
        "seed, is below 1/2, with its interval; partly if below 1",
        _still_close,
    ),
)
