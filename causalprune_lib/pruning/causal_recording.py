"""A recorded training: the causal scores of a network, from where it is.

The scores are summed up while the network trains (`CausalScores`); no checkpoint is kept.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.causality.booking import FORMS, LOSSES, planned_sizes
from causalprune_lib.causality.streaming import CausalScores
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.nets.evaluation import Loss
from causalprune_lib.pruning.causal_training import (
    RELEASED,
    Loop,
    Pair,
    Phase,
    TrainFn,
    merged,
    split,
)
from causalprune_lib.pruning.masks import clone_model

KINDS = ("released", "movement", "correlation")


def record(
    model: nn.Module, loop: Loop, phase: Phase, **options: Any
) -> tuple[CausalScores, list[dict[str, Any]]]:
    """Train `model` in place under `CausalScores(model, **options)`; these and history's rows."""
    probe = partial(_probe, loop.criterion) if phase.loss == "same_batch" else None
    scores = CausalScores(model, loss=phase.loss, probe=probe, **options)
    with scores:
        rows = loop.run(model, replace(phase, scores=scores))
    return scores, rows


def _probe(criterion: Loss, model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return criterion(model(x), y)


def record_scores(
    model: nn.Module,
    data: Dataset | Pair | None,
    *,
    epochs: int = 10,
    loss: str = "two_batch",
    n_steps: int | None = None,
    batch_size: int = 512,
    criterion: Loss = cross_entropy,
    train_fn: TrainFn | None = None,
    seed: int = 0,
    progress: bool = False,
    form: str = "vanilla",
    correlation: bool = False,
    **options: Any,
) -> CausalScores:
    """Train a copy of `model` from where it is, and stream the causal scores of its weights.

    Parameters
    ----------
    model : nn.Module
        Is not changed. Weights masked on it stay zero in the copy.
    data : Dataset or (x, y)
    epochs, batch_size, criterion, seed, progress
        Of the training; `criterion(outputs, y)` is its loss function.
    loss : {"two_batch", "same_batch"}
        Which change of the loss; see `CausalScores`.
    n_steps : int, optional
        How many steps the optimizer will make; needed where a `train_fn` does not walk `epochs`
        times through `data` in batches of `batch_size`.
    train_fn : callable, optional
        A loop of your own, `train_fn(model, phase)`; see `Phase`.
    form, correlation
        As in `CausalScores`: its features where the recording has momentum, and whether
        `scores("correlation")` is wanted.
    **options
        `lr`, `optimizer`, `momentum`, `weight_decay` of `train`; as released lr=1e-3 and plain SGD.

    Returns
    -------
    CausalScores

    Examples
    --------
    >>> x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    >>> scores = record_scores(nn.Linear(2, 2), (x, (x[:, 0] > 0).long()), epochs=3, batch_size=8)
    >>> scores.scores("released")["weight"].shape
    torch.Size([2, 2])
    """
    settings = {**RELEASED, "record": merged("options", RELEASED["record"], options)}
    loop = Loop(settings, check_int("batch_size", batch_size), criterion, None, train_fn, progress)
    check_choice("loss", loss, LOSSES)
    check_choice("form", form, FORMS)
    pair, _ = split(data, None, None, 0.0, seed)
    phase = Phase("record", 1, check_int("epochs", epochs), seed, pair, loss=loss)
    n_steps = steps_of_round(
        pair,
        epochs=epochs,
        batch_size=batch_size,
        train_fn=train_fn,
        n_steps=n_steps,
        loss=loss,
        form=form,
    )
    kept = {"n_steps": n_steps, "form": form, "correlation": correlation}
    return record(clone_model(model), loop, phase, **kept)[0]


def steps_of_round(
    data: Pair | None,
    *,
    epochs: int,
    batch_size: int,
    train_fn: TrainFn | None,
    n_steps: int | None,
    loss: str,
    form: str,
) -> int:
    """How many steps a round makes, after a check that they are known and enough."""
    if data is None and (train_fn is None or n_steps is None):
        raise ValueError("data must be given, or a train_fn and n_steps; got None.")
    if n_steps is None:
        n_steps = epochs * math.ceil(len(data[0]) / batch_size)
    planned_sizes(None, n_steps, loss=loss, form=form)
    return n_steps
