"""Public names of version 0.1.0 that have left, for one release, and where they are now."""

from __future__ import annotations

import importlib
import warnings
from types import SimpleNamespace
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
    "inverse_unstructured": (__name__, "inverse_unstructured"),
    "latency": (__name__, "latency"),
    "legcnet_unstructured": (__name__, "legcnet_unstructured"),
    "loss_slice": (__name__, "loss_slice"),
    "measured": (STUDIES, "measured"),
    "obd_unstructured": (__name__, "obd_unstructured"),
    "overlap_table": (f"{STUDIES}.ch08_causal_pruning.controls", "overlap_table"),
    "published": (STUDIES, "published"),
    "random_ticket": ("causalprune_lib.pruning.select", "random_masks_like"),
    "studies_of": (STUDIES, "studies_of"),
}


def moved(name: str) -> Any:
    """What `name` stands for now, with a warning that says where it went."""
    module, new = MOVED[name]
    value = getattr(importlib.import_module(module), new)
    there = value.__doc__ if module == __name__ else f"import {new} from {module}."
    warnings.warn(
        f"causalprune_lib.{name} has moved: {there} The old name goes with the next release.",
        DeprecationWarning,
        stacklevel=3,
    )
    return value


def inverse_unstructured(model, amount=None, *, importance_scores=None, **options):
    """use prune_by_scores(model, inverse_scores(...), amount)."""
    from causalprune_lib.pruning import scores

    ranked = scores.magnitude_scores(model) if importance_scores is None else importance_scores
    return scores.prune_by_scores(model, scores.inverse_scores(ranked), amount, **options)


def latency(model, example, **options):
    """use compare_latency({"model": model}, example)."""
    from causalprune_lib.diagnostics.cost import compare_latency

    return SimpleNamespace(**compare_latency({"model": model}, example, **options).iloc[0])


def legcnet_unstructured(model, amount=None, *, data=None, importance_scores=None, **options):
    """use apply_masks(model, LEGCNet(...).fit(model, data).masks_)."""
    from causalprune_lib.pruning.legcnet import LEGCNet
    from causalprune_lib.pruning.masks import apply_masks, masks_of
    from causalprune_lib.pruning.scores import prune_by_scores

    if importance_scores is not None:
        return prune_by_scores(model, importance_scores, amount, nan="keep", **options)
    found = LEGCNet(**options).fit(model, data)
    masks = found.masks_ if amount is None else found.masks_at(amount, within=masks_of(model))
    return apply_masks(model, masks)


def loss_slice(model, loss, batches, *, direction=None, extent=1.0, points=51, seed=0):
    """use loss_surface; its `.loss[:, points // 2]` is the slice along the first direction."""
    import torch

    from causalprune_lib.diagnostics import hessian, landscape

    objective = hessian.Objective(model, loss, batches, seed=seed)
    if direction is None:
        direction = landscape.filter_normalised_directions(model, seed=seed)[0]
    alphas = torch.linspace(-extent, extent, points).double()
    with torch.inference_mode(), objective.at_rest():
        places = [objective.theta + a * direction.to(objective.theta) for a in alphas]
        losses = torch.tensor([objective.mean_loss(theta) for theta in places]).double()
    return SimpleNamespace(alphas=alphas, loss=losses, log_loss=losses.log1p())


def obd_unstructured(model, amount=None, *, movement, **options):
    """use prune_by_scores(model, obd_scores(model, movement), amount)."""
    from causalprune_lib.pruning import scores

    return scores.prune_by_scores(model, scores.obd_scores(model, movement), amount, **options)
