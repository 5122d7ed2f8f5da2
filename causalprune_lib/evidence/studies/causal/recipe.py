"""The phases of causal pruning, and one recorded phase with its placebo.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from causalprune_lib.causality.step_sizes import solver_step_sizes
from causalprune_lib.causality.streaming import CausalScores
from causalprune_lib.evidence.studies.causal.model import frozen_steps
from causalprune_lib.evidence.studies.recipes import OnBatch, Recipe
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.nets.evaluation import evaluate
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.training import History, train
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model
from causalprune_lib.pruning.scores import Scores

# Seeds of different purposes are kept apart: see `Recipe`.
RECORD, POST, RANDOM, SHUFFLE, OTHER = (10_000 * k for k in range(1, 6))


@dataclass(frozen=True)
class CausalRecipe(Recipe):
    """The phases of the causal pruning paper, as released, at a size of our own.

    Adam at `lr` trains before pruning for `epochs` (the paper's N_pre) and after it for
    `post_epochs` (N_post). SGD without momentum at `prune_lr` is recorded for `prune_epochs`
    (N_prune), then the weights go back to what they were. Batches are of `batch_size`, and of
    `post_batch_size` after pruning: few epochs with small batches make as many steps as more epochs
    with large ones, for less work.
    """

    model: str = "lenet"
    init: str = "fan_out"
    epochs: int = 10
    batch_size: int = 512
    lr: float = 5e-4
    momentum: float = 0.0
    optimizer: str = "adam"
    prune_epochs: int = 10
    prune_lr: float = 1e-3
    post_epochs: int = 4
    post_batch_size: int = 64

    def build(self, *, seed: int) -> nn.Module:
        """As in `Recipe`, with images in the memory order in which convolutions are fastest."""
        return super().build(seed=seed).to(memory_format=torch.channels_last)

    def cut(self, network: nn.Module, masks: Masks | None) -> nn.Module:
        """A copy of `network` under `masks`."""
        pruned = clone_model(network)
        return pruned if masks is None else apply_masks(pruned, masks)

    def post_train(
        self, network: nn.Module, data: Dataset, *, seed: int, on_batch: OnBatch | None = None
    ) -> History:
        """Train `network` in place as after pruning; `on_batch` as in `train`."""
        after = replace(self, epochs=self.post_epochs, batch_size=self.post_batch_size)
        return after.train(network, data, seed=seed + POST, on_batch=on_batch)

    def judged(
        self, network: nn.Module, masks: Masks | None, data: Dataset, *, seed: int
    ) -> dict[str, float]:
        """Metrics of a copy of `network` under `masks`, right after the cut and post-trained.

        `accuracy_cut` and `accuracy` on the test set, the latter of the last epoch, and
        `train_loss` of that epoch. With masks also `amount_pruned` and `kept_LAYER`, counts.
        """
        pruned = self.cut(network, masks)
        found = {"accuracy_cut": _accuracy(pruned, data)}
        history = self.post_train(pruned, data, seed=seed)
        found["accuracy"] = _accuracy(pruned, data)
        found["train_loss"] = history.frame.train_loss.iloc[-1]
        if masks is not None:
            found["amount_pruned"] = masks.amount
            counts = masks.counts()
            names = counts.layer.str.removesuffix(".weight")
            found |= {f"kept_{name}": n for name, n in zip(names, counts.kept, strict=True)}
        return found


@dataclass(frozen=True, eq=False)
class Recording:
    """What one recorded phase of training says about the weights.

    Attributes
    ----------
    two_batch : CausalScores
        With the change of the loss from one batch to the next, as described.
    same_batch : CausalScores or None
        With the change of the loss on one batch, over the same steps.
    losses : tuple of float
        (T,), of each batch just before its step.
    """

    two_batch: CausalScores
    same_batch: CausalScores | None
    losses: tuple[float, ...]


def record(
    recipe: CausalRecipe,
    network: nn.Module,
    data: Dataset,
    *,
    seed: int,
    same_batch: bool = False,
    losses: Sequence[float] | None = None,
) -> Recording:
    """Train `network` in place for one recorded phase, streaming its causal scores.

    The steps depend on `seed` alone. `losses` (T,) take the place of the losses seen: with those of
    `shuffled_losses` the scores are a placebo, of the same steps.
    """
    n_steps = recipe.prune_epochs * math.ceil(len(data.x_train) / recipe.batch_size)
    two_batch, same, seen = CausalScores(network, n_steps=n_steps), None, []
    with ExitStack() as streams:
        streams.enter_context(two_batch)
        if same_batch:
            same = CausalScores(
                network, loss="same_batch", n_steps=n_steps, probe=_loss, reuse_loss=True
            )
            streams.enter_context(same)

        def tell(x: torch.Tensor, y: torch.Tensor, loss: float) -> None:
            two_batch.log(loss=loss if losses is None else losses[len(seen)])
            if same is not None:
                same.batch(x, y)
                same.log(loss=loss)
            seen.append(loss)

        train(
            network,
            data.x_train,
            data.y_train,
            epochs=recipe.prune_epochs,
            batch_size=recipe.batch_size,
            lr=recipe.prune_lr,
            seed=seed,
            progress=False,
            on_batch=tell,
        )
    return Recording(two_batch, same, tuple(seen))


def frozen_scores(recipe: CausalRecipe, network: nn.Module, data: Dataset, *, seed: int) -> Scores:
    """The released scores with moves that are not made: see `frozen_steps`.

    |sum_t w_t dL_t x_tk| over as many steps, where x_tk is the squared move that batch t asks of
    weight k, and dL_t the difference of the losses of batches t + 1 and t, all at the same weights.
    """
    n_steps = recipe.prune_epochs * math.ceil(len(data.x_train) / recipe.batch_size)
    steps = frozen_steps(
        network, data, steps=n_steps, batch_size=recipe.batch_size, lr=recipe.prune_lr, seed=seed
    )
    squares, change = steps.fitted("two_batch")
    weighted = solver_step_sizes(n_steps)[:-1].numpy() * change
    sums = torch.from_numpy(np.abs(weighted.astype(squares.dtype) @ squares))
    own = ParameterLayout.of(network).tensors(network)
    scores = steps.layout.unflatten(sums)
    return {name: scores[name].to(weight.device) for name, weight in own.items()}


def shuffled_losses(losses: Sequence[float], *, seed: int) -> list[float]:
    """Losses (T,) whose T-1 changes are those of `losses` in another order, with the same start.

    The link in time between the change of the loss and the steps of the weights is cut, and nothing
    else: the changes have the same distribution, and the first and last loss are the same.

    Examples
    --------
    >>> shuffled_losses([3.0, 2.0, 2.5, 0.5], seed=1)
    [3.0, 2.0, 2.5, 0.5]
    """
    changes = np.random.default_rng(seed).permutation(np.diff(losses))
    return (losses[0] + np.concatenate([[0.0], np.cumsum(changes)])).tolist()


def _loss(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return cross_entropy(network(x), y)


def _accuracy(network: nn.Module, data: Dataset) -> float:
    return evaluate(network, data.x_test, data.y_test, batch_size=256).accuracy
