"""Which studies each chapter runs, at which size."""

from __future__ import annotations

from dataclasses import replace

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.studies.chaos import (
    CHAOS_STUDIES,
    LearningRateSweep,
    PerturbedWeights,
)
from causalprune_lib.evidence.studies.legcnet import LEGCNET_STUDIES, LEGCNetTrial
from causalprune_lib.evidence.studies.pruning_curves import LotteryCurve, PruningCurve
from causalprune_lib.evidence.studies.recipes import Recipe

Study = Recipe | LearningRateSweep | PerturbedWeights | LEGCNetTrial

_DIGITS = {"dataset": "digits", "model": "mlp", "hidden": (128, 64), "lr": 0.05}
_FASHION = {"dataset": "fashion_mnist", "model": "lenet", "subset": 10_000, "lr": 0.02}
_FEWER = (0.8, 0.9, 0.95, 0.98)

STUDIES: dict[str, dict[str, tuple[Study, ...]]] = {
    "what-a-network-can-lose": {
        "quick": (PruningCurve(**_DIGITS), LotteryCurve(**_DIGITS)),
        "full": (
            PruningCurve(**_FASHION, epochs=8, finetune_epochs=2, amounts=_FEWER, profile="full"),
            LotteryCurve(**_FASHION, epochs=8, amounts=_FEWER, profile="full"),
        ),
    },
    "is-sgd-chaotic": CHAOS_STUDIES,
    "legcnet": LEGCNET_STUDIES,  # the seed is one of ten published trials, from 0
}


def studies_of(chapter: str, profile: str, *, on: str = "cpu") -> tuple[Study, ...]:
    """The studies that a chapter runs in a profile, to be computed on the device `on`.

    The full ones are also what `python book/measure.py CHAPTER` runs and keeps.

    Examples
    --------
    >>> curve, lottery = studies_of("what-a-network-can-lose", "quick")
    >>> curve.dataset, lottery.epochs
    ('digits', 20)
    """
    check_choice("chapter", chapter, STUDIES)
    check_choice("profile", profile, STUDIES[chapter])
    return tuple(replace(study, on=on) for study in STUDIES[chapter][profile])
