"""Which studies each chapter runs, at which size."""

from __future__ import annotations

from dataclasses import replace

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.studies.causal.curves import CAUSAL_PRUNING_STUDIES
from causalprune_lib.evidence.studies.causal.model import CAUSAL_MODEL_STUDIES
from causalprune_lib.evidence.studies.chaos.exponents import (
    EXPONENT_STUDIES,
    KnownExponents,
    WeightExponents,
)
from causalprune_lib.evidence.studies.chaos.granger_rates import GRANGER_STUDIES, GrangerRates
from causalprune_lib.evidence.studies.chaos.learning_rates import (
    CHAOS_STUDIES,
    LearningRateSweep,
    PerturbedWeights,
)
from causalprune_lib.evidence.studies.closeness.by_width import (
    CLOSENESS_STUDIES,
    ClosenessByWidth,
    UniformNetworks,
)
from causalprune_lib.evidence.studies.explanations.agreement import (
    EXPLANATION_STUDIES,
    ExplanationAgreement,
)
from causalprune_lib.evidence.studies.flat_minima.networks import FLAT_MINIMA_STUDIES
from causalprune_lib.evidence.studies.legcnet.further import FURTHER_STUDIES, FurtherStudy
from causalprune_lib.evidence.studies.legcnet.mnist import MNIST_STUDIES, MNISTTrial
from causalprune_lib.evidence.studies.legcnet.trials import LEGCNET_STUDIES, LEGCNetTrial
from causalprune_lib.evidence.studies.mnist_networks.judged import JUDGED_STUDIES, JudgedMNIST
from causalprune_lib.evidence.studies.pruning_curves import LotteryCurve, PruningCurve
from causalprune_lib.evidence.studies.recipes import Recipe

Study = Recipe | LearningRateSweep | PerturbedWeights | LEGCNetTrial
Study |= KnownExponents | WeightExponents | GrangerRates | FurtherStudy | MNISTTrial
Study |= UniformNetworks | ClosenessByWidth
Study |= ExplanationAgreement | JudgedMNIST

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
    "is-sgd-chaotic": CHAOS_STUDIES,  # seeds 0 to 4: five published trials
    "measuring-chaos": EXPONENT_STUDIES,  # the seed is one of ten published trials, from 0
    "granger-causality": GRANGER_STUDIES,
    "a-causal-model-of-gradient-descent": CAUSAL_MODEL_STUDIES,
    "causal-pruning": CAUSAL_PRUNING_STUDIES,
    "flat-minima": FLAT_MINIMA_STUDIES,
    "legcnet": LEGCNET_STUDIES,  # the seed is one of ten published trials, from 0
    "legcnet-ablation": FURTHER_STUDIES,  # likewise
    "legcnet-mnist": MNIST_STUDIES,
    "judged-networks": JUDGED_STUDIES,  # chapters 10 to 12
    "do-the-explanations-survive": EXPLANATION_STUDIES,  # the seed is one of ten published trials
    "how-close-is-close": CLOSENESS_STUDIES,
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
