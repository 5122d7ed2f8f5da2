"""The further studies of the chapter "LEGCNet": settings, placebos, scaling and twins.

Their rows are in measured/legcnet-ablation.csv. The seed is one of ten published trials, from 0.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from causalprune_lib.evidence.studies.legcnet.ablation import LEGCNetAblation
from causalprune_lib.evidence.studies.legcnet.placebos import LEGCNetPlacebos
from causalprune_lib.evidence.studies.legcnet.scaled import LEGCNetScaled
from causalprune_lib.evidence.studies.legcnet.trials import DATASETS
from causalprune_lib.evidence.studies.legcnet.twins import LEGCNetTwins

FurtherStudy = LEGCNetAblation | LEGCNetPlacebos | LEGCNetScaled | LEGCNetTwins

FURTHER_STUDIES: dict[str, tuple[FurtherStudy, ...]] = {
    "quick": (
        LEGCNetAblation("iris_csv", n_random=2),
        LEGCNetPlacebos("iris_csv"),
        LEGCNetScaled("iris_csv", "PT", n_random=2),
        LEGCNetTwins("iris_csv", n_random=2),
    ),
    "full": tuple(
        study
        for dataset in DATASETS
        for study in (
            LEGCNetAblation(dataset, profile="full"),
            LEGCNetPlacebos(dataset, profile="full"),
            LEGCNetScaled(dataset, "FT", profile="full"),
            LEGCNetScaled(dataset, "PT", profile="full"),
            LEGCNetTwins(dataset, profile="full"),
        )
    ),
}
