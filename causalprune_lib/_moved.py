"""Public names of version 0.1.0 that have left, for one release, and where they are now."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

STUDIES = "causalprune_studies"
MOVED = {  # old name -> (module, name there)
    "AlexNet": ("causalprune_lib.nets.models", "AlexNet"),
    "DATASETS": ("causalprune_lib.nets.data", "DATASETS"),
    "LeNet": ("causalprune_lib.nets.models", "LeNet"),
    "LotteryCurve": (f"{STUDIES}.ch01_pruning.study", "LotteryCurve"),
    "PruningCurve": (f"{STUDIES}.ch01_pruning.study", "PruningCurve"),
    "Recipe": (f"{STUDIES}.recipe", "Recipe"),
    "ResNet18": ("causalprune_lib.nets.models", "ResNet18"),
    "compare": (STUDIES, "compare"),
    "inverse_unstructured": ("causalprune_lib.pruning.scores", "inverse_unstructured"),
    "latency": ("causalprune_lib.diagnostics.cost", "latency"),
    "legcnet_unstructured": ("causalprune_lib._moved", "legcnet_unstructured"),
    "measured": (STUDIES, "measured"),
    "obd_unstructured": ("causalprune_lib.pruning.scores", "obd_unstructured"),
    "overlap_table": ("causalprune_lib.pruning.masks", "overlap_table"),
    "published": (STUDIES, "published"),
    "random_ticket": ("causalprune_lib.pruning.select", "random_masks_like"),
    "studies_of": (STUDIES, "studies_of"),
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


def legcnet_unstructured(model, amount=None, *, data, **options):
    """Prune `model` in place by LEGCNet; now `apply_masks(model, LEGCNet(...).fit(...).masks_)`."""
    from causalprune_lib.pruning.legcnet import LEGCNet
    from causalprune_lib.pruning.masks import apply_masks, masks_of

    legcnet = LEGCNet(**options).fit(model, data)
    masks = legcnet.masks_
    if amount is not None:
        masks = legcnet.masks_at(amount, within=masks_of(model))
    return apply_masks(model, masks)
