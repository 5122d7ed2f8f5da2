"""Every verdict of the book, drawn from the rows that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd

from causalprune_lib.evidence.studies.causal import model_verdicts as causal_model_verdicts
from causalprune_lib.evidence.studies.causal import verdicts as causal_verdicts
from causalprune_lib.evidence.studies.chaos import verdicts as chaos_verdicts
from causalprune_lib.evidence.studies.closeness import verdicts as closeness_verdicts
from causalprune_lib.evidence.studies.explanations import verdicts as explanation_verdicts
from causalprune_lib.evidence.studies.flat_minima import verdicts as flat_minima_verdicts
from causalprune_lib.evidence.studies.legcnet import further_verdicts as legcnet_further_verdicts
from causalprune_lib.evidence.studies.legcnet import mnist_tables as legcnet_mnist_tables
from causalprune_lib.evidence.studies.legcnet import verdicts as legcnet_verdicts
from causalprune_lib.evidence.studies.mnist_networks import spectra_verdicts
from causalprune_lib.evidence.tables import MEASURED, measured
from causalprune_lib.evidence.verdicts import Verdict

Judge = Callable[[pd.DataFrame], dict[str, Verdict]]
JUDGES: tuple[tuple[str, str, Judge], ...] = (  # chapter, its rows, what judges them
    ("02-is-sgd-chaotic", "is-sgd-chaotic", chaos_verdicts.sgd_verdicts),
    ("03-measuring-chaos", "measuring-chaos", chaos_verdicts.exponent_verdicts),
    ("04-granger-causality", "granger-causality", chaos_verdicts.granger_verdicts),
    ("05-legcnet", "legcnet", legcnet_verdicts.verdicts),
    ("05-legcnet", "legcnet-ablation", legcnet_further_verdicts.further_verdicts),
    ("05-legcnet", "legcnet-mnist", legcnet_mnist_tables.verdicts),
    (
        "06-a-causal-model-of-gradient-descent",
        "a-causal-model-of-gradient-descent",
        causal_model_verdicts.verdicts,
    ),
    ("08-causal-pruning", "causal-pruning", causal_verdicts.verdicts),
    ("09-flat-minima", "flat-minima", flat_minima_verdicts.verdicts),
    ("10-is-the-network-well-trained", "judged-networks", spectra_verdicts.verdicts),
    (
        "11-do-the-explanations-survive",
        "do-the-explanations-survive",
        explanation_verdicts.verdicts,
    ),
    ("12-how-close-is-close", "how-close-is-close", closeness_verdicts.verdicts),
    ("12-how-close-is-close", "judged-networks", closeness_verdicts.verdict_on_mnist),
)
TITLES = {
    "02-is-sgd-chaotic": "Is SGD chaotic?",
    "03-measuring-chaos": "Measuring chaos",
    "04-granger-causality": "Granger causality",
    "05-legcnet": "LEGCNet",
    "06-a-causal-model-of-gradient-descent": "A causal model",
    "08-causal-pruning": "Causal pruning",
    "09-flat-minima": "Flat minima",
    "10-is-the-network-well-trained": "Well trained?",
    "11-do-the-explanations-survive": "Explanations",
    "12-how-close-is-close": "How close?",
}


def all_verdicts() -> Iterator[tuple[str, str, Verdict]]:
    """Chapter, name of the claim and verdict, wherever the rows are measured.

    Examples
    --------
    >>> chapter, claim, verdict = next(all_verdicts())
    >>> chapter, claim, verdict.verdict
    ('02-is-sgd-chaotic', 'exponents are positive', 'reproduced')
    """
    for chapter, rows, judge in JUDGES:
        if (MEASURED / f"{rows}.csv").exists():
            for claim, verdict in judge(measured(rows)).items():
                yield chapter, claim, verdict
