"""Public names of version 0.1.0 that have left, for one release, and where they are now."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

STUDIES = "causalprune_studies"
MOVED = {  # old name -> (module, name there)
    "AlexNet": ("causalprune_lib.nets.models", "AlexNet"),
    "DATASETS": ("causalprune_lib.nets.data", "DATASETS"),
    "LayerCollapseWarning": ("causalprune_lib.pruning.select", "LayerCollapseWarning"),
    "LeNet": ("causalprune_lib.nets.models", "LeNet"),
    "LotteryCurve": (f"{STUDIES}.ch01_pruning.study", "LotteryCurve"),
    "PruningCurve": (f"{STUDIES}.ch01_pruning.study", "PruningCurve"),
    "Recipe": (f"{STUDIES}.recipe", "Recipe"),
    "ResNet18": ("causalprune_lib.nets.models", "ResNet18"),
    "compare": (STUDIES, "compare"),
    "latency": ("causalprune_lib.diagnostics.cost", "latency"),
    "measured": (STUDIES, "measured"),
    "overlap_table": ("causalprune_lib.pruning.masks", "overlap_table"),
    "published": (STUDIES, "published"),
    "random_ticket": ("causalprune_lib.pruning.iterative", "random_ticket"),
    "sparse_linear_copy": ("causalprune_lib.diagnostics.cost", "sparse_linear_copy"),
    "studies_of": (STUDIES, "studies_of"),
}
# No longer there in another form: by what one call does the same.
REPLACED = {
    "inverse_unstructured": "prune_by_scores(model, inverse_scores(scores), amount)",
    "legcnet_unstructured": "apply_masks(model, LEGCNet(...).fit(model, data).masks_)",
    "loss_slice": "loss_surface, with one direction",
    "obd_unstructured": "prune_by_scores(model, obd_scores(model, squares), amount)",
}


def moved(name: str) -> Any:
    """What `name` stands for now, with a warning that says where it went."""
    module, new = MOVED[name]
    warnings.warn(
        f"causalprune_lib.{name} has moved: import {new} from {module}. The old name goes with the "
        "next release.",
        DeprecationWarning,
        stacklevel=3,
    )
    return getattr(importlib.import_module(module), new)
