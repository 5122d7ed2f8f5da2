"""Prune neural networks by the chaos and the causality of their training, with the controls.

Data walks in one direction: a network is trained (`nets`), its trajectory is recorded
(`dynamics`), the reading becomes a mask (`pruning`), the sparse network is judged
(`diagnostics`), and the judgement becomes a row in a table (`evidence`).

The names below are the public ones. Each is imported from its file when it is first used, so that
`import causalprune_lib` costs next to nothing and no heavy library is loaded for one that is not
needed. `__init__.pyi` says the same to editors and type checkers; a test holds the two together.

>>> import causalprune_lib as cp
>>> cp.build_model("mlp", dataset="digits").__class__.__name__
'MLP'
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_ROOMS = ("nets", "dynamics", "causality", "pruning", "diagnostics", "evidence")

_PUBLIC = {  # file -> the names it offers
    # data and networks
    "nets.data": (
        "DATASETS",
        "Dataset",
        "dataset_info",
        "load_dataset",
    ),
    "nets.models": (
        "MLP",
        "LeNet",
        "AlexNet",
        "ResNet18",
        "build_model",
    ),
    "nets.training": (
        "evaluate",
        "train",
    ),
    "nets.parameters": ("ParameterLayout",),
    # what training does
    "dynamics.trajectory": ("Trajectory",),
    "dynamics.recorder": ("TrajectoryRecorder",),
    "dynamics.lyapunov": ("largest_lyapunov",),
    "dynamics.tangent": ("tangent_exponent",),
    "dynamics.twins": ("twin_trajectories",),
    # what it can be said to cause
    "causality.granger": ("granger_test",),
    "causality.decisions": ("causal_decision",),
    "causality.scores": ("CausalScores",),
    "causality.lasso": (
        "CausalLasso",
        "lasso_path",
    ),
    # from scores to masks, from masks to sparse networks
    "pruning.select": (
        "LayerCollapseWarning",
        "masks_from_scores",
    ),
    "pruning.masks": (
        "Masks",
        "apply_masks",
        "jaccard",
        "masks_of",
        "overlap_table",
        "remove_masks",
    ),
    "pruning.scores": (
        "inverse_scores",
        "inverse_unstructured",
        "magnitude_scores",
        "magnitude_unstructured",
        "obd_scores",
        "obd_unstructured",
        "random_scores",
        "random_unstructured",
    ),
    "pruning.iterative": (
        "lottery_ticket",
        "random_ticket",
    ),
    "pruning.legcnet": (
        "LEGCNet",
        "legcnet_unstructured",
    ),
    "pruning.causal": (
        "CausalPruning",
        "causal_unstructured",
    ),
    "pruning.structured": ("causal_structured",),
    # what a sparse network costs
    "diagnostics.cost": (
        "compare_latency",
        "latency",
        "model_cost",
        "sparse_linear_copy",
    ),
    # what a network is like: its minimum, its layers, its reasons, its distance to another
    "diagnostics.curvature": ("top_eigenvalues",),
    "diagnostics.landscape": (
        "loss_surface",
        "perturbation_flatness",
    ),
    "diagnostics.spectra": ("layer_spectra",),
    "diagnostics.attribution": (
        "shap_values",
        "rank_agreement",
    ),
    "diagnostics.closeness": (
        "removal_bound",
        "sup_distance",
    ),
    # experiments, tables, the look of plots
    "evidence.grid": ("run_grid",),
    "evidence.statistics": (
        "paired_difference",
        "summarise",
    ),
    "evidence.style": ("use_style",),
}
_HOME = {name: file for file, names in _PUBLIC.items() for name in names}

__all__ = [name for names in _PUBLIC.values() for name in names]


def __getattr__(name: str) -> object:
    """Import a public name from its file, or a room, when it is first used."""
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{_nearest(name)}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value  # found at once the next time
    return value


def __dir__() -> list[str]:
    """What completion offers."""
    return sorted({*globals(), *__all__, *_ROOMS})


def _nearest(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, [*__all__, *_ROOMS], n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
