"""The three kinds of training in causal pruning: before, while recording, after.

As released: Adam with learning rate 5e-4 before and after, plain SGD with 1e-3 while recording,
batches of 512. Any other loop can take their place: a `train_fn(model, phase)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from causalprune_lib._random import seeded
from causalprune_lib._validation import check_choice, check_fraction
from causalprune_lib.causality.streaming import CausalScores
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.nets.evaluation import Loss
from causalprune_lib.nets.guards import device_and_dtype, refresh_pruned_weights
from causalprune_lib.nets.splits import complement, stratified_rows
from causalprune_lib.nets.training import History, train

Pair = tuple[torch.Tensor, torch.Tensor]
OPTIONS = ("optimizer", "lr", "momentum", "weight_decay")
RELEASED = {
    "pretrain": {"optimizer": "adam", "lr": 5e-4},
    "record": {"optimizer": "sgd", "lr": 1e-3},
    "posttrain": {"optimizer": "adam", "lr": 5e-4},
}


@dataclass(frozen=True, eq=False)
class Phase:
    """What a training loop is asked to do.

    Attributes
    ----------
    kind : {"pretrain", "record", "posttrain"}
    number : int
        Position in the run: 0 before, 1..N_iter while recording, N_iter + 1 after.
    epochs : int
    seed : int
        For the order of the batches. Torch's own generators are seeded with it already.
    data : (x, y) or None
        What `fit` was given to train on.
    validation : (x, y) or None
    loss : {"two_batch", "same_batch"}
        Which change of the loss is wanted while recording.
    scores : CausalScores or None
        While recording, open. Before each `optimizer.step()` call `scores.log(loss=loss)` for the
        two-batch loss, `scores.batch(x, y)` for the same-batch loss.
    """

    kind: str
    number: int
    epochs: int
    seed: int
    data: Pair | None = None
    validation: Pair | None = None
    loss: str = "two_batch"
    scores: CausalScores | None = None


TrainFn = Callable[[nn.Module, Phase], Any]


@dataclass(frozen=True, eq=False)
class Loop:
    """The library's own training loop for all three kinds, or the user's `train_fn`."""

    options: Mapping[str, Mapping[str, Any]]  # by kind, for `train`
    batch_size: int = 512
    criterion: Loss = cross_entropy
    patience: int | None = None
    train_fn: TrainFn | None = None
    progress: bool = True

    def run(self, model: nn.Module, phase: Phase) -> list[dict[str, Any]]:
        """Train `model` in place; rows of its history, by epoch."""
        if self.train_fn is not None:
            with seeded(phase.seed, device_and_dtype(model)[0]):
                history = self.train_fn(model, phase)
            refresh_pruned_weights(model)
        else:
            history = self._train(model, phase)
        rows = history.frame.to_dict("records") if isinstance(history, History) else []
        return [{"phase": phase.kind, "number": phase.number, **row} for row in rows]

    def check(self, model: nn.Module, data: Pair | None, validation: Pair | None) -> None:
        """Raise what `train` would raise about options and data, without any training."""
        if self.train_fn is not None:
            return
        for kind in RELEASED:
            self._train(model, Phase(kind, 0, 0, 0, data, validation))

    def _train(self, model: nn.Module, phase: Phase) -> History:
        on_batch = None
        if phase.scores is not None:
            on_batch = partial(_log, phase)
        recording = phase.kind == "record"
        return train(
            model,
            *phase.data,
            epochs=phase.epochs,
            batch_size=self.batch_size,
            seed=phase.seed,
            validation=None if recording else phase.validation,
            patience=self.patience if phase.kind == "posttrain" else None,
            loss=self.criterion,
            on_batch=on_batch,
            progress=self.progress,
            **self.options[phase.kind],
        )


def _log(phase: Phase, x: torch.Tensor, y: torch.Tensor, loss: float) -> None:
    if phase.loss == "two_batch":
        phase.scores.log(loss=loss)
    else:
        phase.scores.batch(x, y)


def merged(name: str, defaults: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict:
    """Options of `train`: the released ones, with those that are given in their place."""
    for option in given or {}:
        check_choice(f"option in {name}", option, OPTIONS)
    return {**defaults, **(given or {})}


def split(
    data: Dataset | Pair | None,
    validation: Pair | None,
    patience: int | None,
    fraction: float,
    seed: int,
) -> tuple[Pair | None, Pair | None]:
    """Examples to train on and to validate on; the latter from the former where `patience` asks."""
    if data is not None and not isinstance(data, Dataset):
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise TypeError(f"data must be a Dataset or a pair (x, y); got {type(data).__name__}.")
        data = tuple(data)
    if data is None or validation is not None or patience is None:
        pair = (data.x_train, data.y_train) if isinstance(data, Dataset) else data
        return pair, validation
    if isinstance(data, Dataset):
        parts = data.split_validation(fraction, seed=seed)
        return parts[:2], parts[2:]
    x, y = data
    n_val = round(check_fraction("validation_fraction", fraction, closed=False) * len(y))
    rows = stratified_rows(y.cpu().numpy(), n_val, seed=seed, name="validation_fraction * N")
    rest = torch.from_numpy(complement(rows, len(y))).to(y.device)
    rows = torch.from_numpy(rows).to(y.device)
    return (x[rest.to(x.device)], y[rest]), (x[rows.to(x.device)], y[rows])
