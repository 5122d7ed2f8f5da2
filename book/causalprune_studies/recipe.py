"""How the network of a study is made and trained, and on which data.

A study of pruning is a `Recipe` plus what is varied. The seed decides the initial weights, the
order of the batches and the random masks; the split into training and test data is always the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

from causalprune_lib.nets.data import Dataset, load_dataset
from causalprune_lib.nets.models import build_model
from causalprune_lib.nets.training import History, Training


@dataclass(frozen=True)
class Recipe:
    """How a network of a study is made and trained.

    Parameters
    ----------
    dataset : str
        As in `load_dataset`.
    model : str
        As in `build_model`.
    hidden : tuple of int
        Widths of the hidden layers, for an MLP.
    init : {"default", "fan_out"}
        Initial weights, as in `build_model`.
    subset : int or tuple of int, optional
        How many training examples (or training and test examples) to take, stratified.
    image_size : int, optional
        Side that images are resized to.
    epochs, batch_size, lr, momentum, optimizer
        As in `train`.
    on : str
        The device that computes.
    profile : str
        The size class that rows of this study are filed under.

    Examples
    --------
    >>> from causalprune_lib import evaluate
    >>> recipe = Recipe(dataset="iris", hidden=(8,), epochs=30, lr=0.1)
    >>> model = recipe.build(seed=0)
    >>> data = recipe.load()
    >>> _ = recipe.train(model, data, seed=0)
    >>> evaluate(model, data.x_test, data.y_test).accuracy > 0.8
    True
    """

    dataset: str = "digits"
    model: str = "mlp"
    hidden: tuple[int, ...] = (128, 64)
    init: str = "default"
    subset: int | tuple[int, int] | None = None
    image_size: int | None = None
    epochs: int = 20
    batch_size: int = 64
    lr: float = 0.05
    momentum: float = 0.9
    optimizer: str = "sgd"
    on: str = "cpu"
    profile: str = "quick"

    def load(self) -> Dataset:
        """The data, on the recipe's device; loaded once per process."""
        return _load(self.dataset, self.subset, self.image_size, self.on)

    def build(self, *, seed: int) -> nn.Module:
        """A network with the initial weights of `seed`."""
        options = {"hidden": self.hidden} if self.model == "mlp" else {}
        return build_model(
            self.model,
            dataset=self.dataset,
            image_size=self.image_size,
            init=self.init,
            seed=seed,
            **options,
        ).to(self.on)

    @property
    def training(self) -> Training:
        """The fields that `train` takes."""
        names = ("epochs", "batch_size", "lr", "momentum", "optimizer")
        return Training(**{name: getattr(self, name) for name in names})

    def train(self, model: nn.Module, data: Dataset, *, seed: int) -> History:
        """Train `model` in place."""
        return self.training.train(model, data.x_train, data.y_train, seed=seed)


@lru_cache(maxsize=2)
def _load(dataset: str, subset, image_size: int | None, device: str) -> Dataset:
    data = load_dataset(dataset, subset=subset, size=image_size, progress=False)
    return data if torch.device(device).type == "cpu" else data.to(device)
