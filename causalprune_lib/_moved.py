"""Public names of version 0.1.0 that have left, for one release, and where they are now."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

MOVED = {  # old name -> (module, name there)
    "LotteryCurve": ("causalprune_studies.ch01_pruning.study", "LotteryCurve"),
    "PruningCurve": ("causalprune_studies.ch01_pruning.study", "PruningCurve"),
    "Recipe": ("causalprune_studies.recipe", "Recipe"),
    "compare": ("causalprune_studies", "compare"),
    "measured": ("causalprune_studies", "measured"),
    "published": ("causalprune_studies", "published"),
    "studies_of": ("causalprune_studies", "studies_of"),
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
