"""The claims of the chapter "Flat minima", and what is found for each of them.

A unit is one dense network and what was made of it: a seed, on one data set. Data sets, and the two
places where networks may be compared (at the end, and at equal training loss), are cells of their
own. An effect is a ratio of two networks of one seed, and a geometric mean over seeds.

The first criteria were written before the full rows. What had been seen by then: the quick study,
and of the full size the networks of Fashion-MNIST with seed 100, which is not among the full rows.
There the causal network's top eigenvalue was close to the dense one's, and magnitude's far smaller
among the weights that are left, and larger among all. The paper does not say which it shows, so
both are judged. The margin of 1.5 is from then. That of 0.2 for correlations, and the cells, were
set after the rows had been read.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pandas as pd

from causalprune_lib.evidence.estimate import Estimate
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch08_causal_pruning.verdicts import PAPER, scale_of
from causalprune_studies.ch09_flat_minima.tables import (
    MEASURES,
    at_equal_loss,
    measure,
    measured_by,
    rank_agreement,
)
from causalprune_studies.judge import Claim, Finding, draw_verdicts

CONTROL = "random at causal"
HALF_AS_MUCH = (1 / 1.5, 1.5)  # times: a network that is so near counts as equally sharp
LOSS = "low training loss"


def verdicts(rows: pd.DataFrame) -> dict[str, tuple[Verdict, ...]]:
    """The verdicts on each of `CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CLAIMS, require_full(rows))


def _with_scale(
    find: Callable[[pd.DataFrame], Iterator[Finding]],
) -> Callable[[pd.DataFrame], Iterator[Finding]]:
    """What `find` finds, with the share of the paper's scale: these networks are pruned once."""

    def scaled(rows: pd.DataFrame) -> Iterator[Finding]:
        for found in find(rows):
            here = rows[rows.dataset == found.dataset].assign(n_iter=1)
            known = found.estimate is not None and found.dataset in PAPER["images"]
            yield replace(found, scale=scale_of(here, found.dataset)) if known else found

    return scaled


def _eigenvalues(base: str) -> Callable[[pd.DataFrame], Iterator[Finding]]:
    """Causal's top eigenvalue over that of `base`: at the end, at equal loss, in both spaces."""

    def find(rows: pd.DataFrame) -> Iterator[Finding]:
        cells = {
            "at the end": [measure(rows, "top eigenvalue")] * 3,
            "at equal training loss": [
                at_equal_loss(rows, a, b)
                for a, b in (("causal", base), (CONTROL, base), ("causal", CONTROL))
            ],
            "at the end, all weights": [measured_by(rows, "top_1", space="all")] * 3,
        }
        for cell, tops in cells.items():
            if base in set(tops[0].method):  # all weights of the dense network are kept
                yield from _ratios(tops, base, cell)
        yield Finding("cifar10", None, cell="ResNet18")

    return find


def _landscape(rows: pd.DataFrame) -> Iterator[Finding]:
    cells = {"on the paper's plane": "landscape", "filters shaken by a tenth": "shaking"}
    for cell, name in cells.items():
        yield from _ratios([measure(rows, name)] * 3, "magnitude", cell)


def _ratios(rows: list[pd.DataFrame], base: str, cell: str) -> Iterator[Finding]:
    """Causal over `base`, the control over `base`, and causal over the control, by data set."""
    sides = (("causal", base), (CONTROL, base), ("causal", CONTROL))
    for dataset in sorted(rows[0].dataset.unique()):
        found = [
            _ratio(part[part.dataset == dataset], a, b)
            for part, (a, b) in zip(rows, sides, strict=True)
        ]
        names = ("estimate", "control_estimate", "beyond_control")
        yield Finding(dataset, **dict(zip(names, found, strict=True)), cell=cell)


def _ratio(rows: pd.DataFrame, a: str, b: str) -> Estimate | None:
    wide = rows[rows.method.isin([a, b])].pivot(index="seed", columns="method", values="value")
    wide = wide.where(wide > 0).dropna()  # no eigenvalue at so high a loss
    return Estimate.of_ratio(wide[a] / wide[b], units="networks") if len(wide) > 1 else None


def _accuracy(rows: pd.DataFrame) -> Iterator[Finding]:
    ranks = rank_agreement(rows)
    for dataset, part in ranks.groupby("dataset"):
        for name in MEASURES:
            own, loss = (part[part.method == m].set_index("seed").value for m in (name, LOSS))
            how = {"units": "sets of five networks", "bounds": (-1, 1)}
            yield Finding(
                str(dataset),
                Estimate.of_mean(own, **how),
                Estimate.of_mean(loss, **how),
                Estimate.of_mean(own - loss, units=how["units"], bounds=(-2, 2)),
                cell=name,
            )


CLAIMS = (
    Claim(
        "as flat as the original",
        "Causal pruning improves the top eigenvalues, or leaves them as in the unpruned network "
        "(section 4.2, figure 3).",
        "times the dense network's top eigenvalue",
        "not above",
        HALF_AS_MUCH,
        "random weights at causal's counts per layer, over the dense network",
        _with_scale(_eigenvalues("dense")),
        none=1.0,
    ),
    Claim(
        "flatter than magnitude",
        "Magnitude pruning increases the top eigenvalues by a large margin, causal pruning gives a "
        "flatter minimum (section 4.2, figure 3).",
        "times magnitude's top eigenvalue",
        "below",
        HALF_AS_MUCH,
        "random weights at causal's counts per layer, over magnitude",
        _with_scale(_eigenvalues("magnitude")),
        none=1.0,
    ),
    Claim(
        "flatter landscape",
        "The loss landscape of causal pruning is flatter than that of magnitude pruning (figures 4 "
        "and 5).",
        "times magnitude's mean rise of the loss around the minimum",
        "below",
        HALF_AS_MUCH,
        "random weights at causal's counts per layer, over magnitude",
        _with_scale(_landscape),
        none=1.0,
    ),
    Claim(
        "flatness explains accuracy",
        "Flatter minima generalise better, which explains the accuracy of pruned networks "
        "(sections 1 and 4.2).",
        "rank correlation of flatness with accuracy, over the five networks of a seed",
        "above",
        (-0.2, 0.2),
        "the rank correlation of a low training loss with accuracy",
        _with_scale(_accuracy),
    ),
)
