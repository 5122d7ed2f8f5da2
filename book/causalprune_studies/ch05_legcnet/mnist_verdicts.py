"""The claims of the chapter "LEGCNet" on images, and what is found for each of them.

A unit is a network: a seed, which fixes the initial weights and the order of the images. When
criteria for these claims were first written, seed 0 had been seen; those of three seeds were read
before the margins of half a point and of 2% of the epochs were set, which are those of the tables.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd

from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch05_legcnet.verdicts import (
    EPOCHS,
    HALF_A_POINT,
    MOST_OF_NOISE,
    ONE_IN_TWENTY,
    ONE_POINT,
    Printed,
    compared_in_percent,
    most_epochs,
    printed_gap,
)
from causalprune_studies.judge import Claim, Finding, draw_verdicts

N_PAPER = 5  # initial networks


def verdicts(rows: pd.DataFrame) -> dict[str, tuple[Verdict, ...]]:
    """The verdicts on each of `CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CLAIMS, require_full(rows))


def _mnist(
    metric: str, method: str, base: str, control: str, *, paper: Printed | None = None
) -> Callable[[pd.DataFrame], Iterator[Finding]]:
    """How two networks of `MNISTTrial` compare, each called by variant, reading and mask."""

    def find(rows: pd.DataFrame) -> Iterator[Finding]:
        rows = rows.assign(who=rows.variant + ", " + rows.reading + ", " + rows["mask"])
        if metric == "epochs":
            rows = _epochs_used(rows)
        rows = rows[rows.metric == metric]
        test = {}
        if metric == "causal":
            of_shuffled = rows[rows.who == base].value.mean()
            test["passes_where_known"] = bool(of_shuffled < MOST_OF_NOISE)
            test["note"] = f"of shuffled exponents the test calls {of_shuffled:.1%} causal"
        yield Finding(
            "mnist",
            **compared_in_percent(
                rows.assign(unit=rows.seed), method, base, control, units="networks"
            ),
            paper_effect=None if paper is None else paper("mnist", "FT"),
            scale={"networks": rows.seed.nunique() / N_PAPER},
            **test,
        )

    return find


def _epochs_used(rows: pd.DataFrame) -> pd.DataFrame:
    """With "epochs" as the share of those allowed, all of them where there is no benchmark."""
    share = ((rows.value + 1) / most_epochs("mnist")).fillna(1.0)
    return rows.assign(value=rows.value.where(rows.metric != "epochs", share))


_DENSE, _OWN = "none, none, dense", "FT, as released, legcnet"
_RANDOM, _SIZE = "FT, as released, random", "FT, as released, magnitude"
_OTHER, _SHUFFLED = "FT, as released, another seed", "FT, as released, shuffled"

CLAIMS = (
    Claim(
        "MNIST: keeps accuracy",
        "LEGCNet-FT keeps the dense network's accuracy on MNIST (table 1).",
        "points of accuracy, LEGCNet-FT minus dense",
        "not below",
        ONE_POINT,
        "random masks with the same counts per layer, minus dense",
        _mnist("accuracy", _OWN, _DENSE, _RANDOM, paper=printed_gap("accuracy", "FT", "dense")),
    ),
    Claim(
        "MNIST: keeps F1",
        "LEGCNet-FT keeps the dense network's F1-score on MNIST (table 1).",
        "points of macro F1, LEGCNet-FT minus dense",
        "not below",
        ONE_POINT,
        "random masks with the same counts per layer, minus dense",
        _mnist("f1", _OWN, _DENSE, _RANDOM, paper=printed_gap("f1", "FT", "dense")),
    ),
    Claim(
        "MNIST: converges faster",
        "LEGCNet-FT converges in fewer epochs than the dense network (section 5).",
        "% of the epochs allowed until the benchmark, LEGCNet-FT minus dense",
        "below",
        EPOCHS,
        "random masks with the same counts per layer, minus dense",
        _mnist("epochs", _OWN, _DENSE, _RANDOM, paper=printed_gap("epochs", "FT", "dense")),
    ),
    Claim(
        "MNIST: beats random masks",
        "LEGCNet-FT is better than random pruning on MNIST (table 3).",
        "points of accuracy, LEGCNet-FT minus random masks with the same counts per layer",
        "above",
        HALF_A_POINT,
        "masks with these counts by another network's exponents, minus random",
        _mnist("accuracy", _OWN, _RANDOM, _OTHER, paper=printed_gap("accuracy", "FT", "random")),
    ),
    Claim(
        "MNIST: beats magnitude",
        "LEGCNet-FT is better than magnitude pruning on MNIST (table 3).",
        "points of accuracy, LEGCNet-FT minus magnitude with the same counts per layer",
        "above",
        HALF_A_POINT,
        "masks with these counts by another network's exponents, minus magnitude",
        _mnist("accuracy", _OWN, _SIZE, _OTHER, paper=printed_gap("accuracy", "FT", "magnitude")),
    ),
    Claim(
        "MNIST: partial training suffices",
        "LEGCNet-PT performs at par with LEGCNet-FT on MNIST (table 2).",
        "points of accuracy, PT minus FT, each with the published number of weights pruned",
        "not below",
        ONE_POINT,
        "random masks with the counts of PT, minus FT",
        _mnist(
            "accuracy",
            "PT, ranked, legcnet",
            "FT, ranked, legcnet",
            "PT, ranked, random",
            paper=printed_gap("accuracy", "PT", "FT"),
        ),
    ),
    Claim(
        "MNIST: causes are told from noise",
        "The Granger test tells the weights that cause this network's error (section 3).",
        "% of the weights called causal, by its own exponents minus by the same shuffled in time",
        "above",
        ONE_IN_TWENTY,
        "the exponents of another network, minus shuffled",
        _mnist("causal", _OWN, _SHUFFLED, _OTHER),
    ),
)
