"""Figures 3 to 5 for the networks of table 2, pruned in rounds and trained to the end, as specs.

What chapter 9 measures on networks of a smaller size is measured here on those of `PaperTable2`.
Training goes through what that keeps: where table 2 has been run by the same commit on the same
machine, no network is trained again.

Paper: "A Granger-causal perspective on gradient descent with application to pruning", section 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

from causalprune_lib.dynamics.tangent import Batch
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset
from causalprune_lib.pruning.masks import clone_model, remove_masks
from causalprune_studies.ch08_causal_pruning.paper import FULL, QUICK, PaperTable2
from causalprune_studies.ch09_flat_minima.study import NETWORKS, PRUNED, FlatMinima, Trained

METHODS = (("dense", "none"), *PRUNED.values())  # of `NETWORKS`


@dataclass(frozen=True)
class Table2Minima(FlatMinima):
    """`FlatMinima` of networks that were pruned in rounds, each in two spaces.

    The networks are those of `PaperTable2` with the same fields; with `amount` the last round
    prunes that much in all. Curvature and landscape are those of images that were trained on. On
    the way nothing is measured. Beside the points of `FlatMinima`, `increase...` and `rise...` of a
    pruned network stand again with the `space` "all", where its pruned weights move too.
    """

    post_epochs: int = 200
    post_batch_size: int = 512
    precision: str = "bfloat16"  # of the trainings; what is measured afterwards is in float32
    n_iter: int = 10
    fraction: float = 0.275
    amount: float | None = None
    examples: int = 2000
    early: tuple[int, ...] = ()
    checkpoints: tuple[int, ...] = ()

    def table2(self, ranking: str, allocation: str) -> PaperTable2:
        """The spec of one of the networks."""
        shared = {field.name for field in fields(self)} & {f.name for f in fields(PaperTable2)}
        same = {name: getattr(self, name) for name in shared}
        return PaperTable2(**same, ranking=ranking, allocation=allocation)

    @property
    def most_epochs(self) -> int:
        """Epochs of all trainings; what is measured afterwards comes on top."""
        return sum(self.table2(*method).most_epochs for method in METHODS)

    def load(self) -> Dataset:
        """The data without the validation images."""
        return self.table2("dense", "none").split()[0]

    def trained(self, data: Dataset, *, seed: int) -> Iterator[tuple[str, Trained]]:
        """Each of `NETWORKS` with its name, one after the other."""
        per_epoch = math.ceil(len(data.x_train) / self.post_batch_size)
        for name, method in zip(NETWORKS, METHODS, strict=True):
            network, metrics = self.table2(*method).finished(seed)
            steps = int(metrics["post_epochs_run"]) * per_epoch
            yield name, Trained(network, {steps: network}, metrics["train_loss"])

    def _points(
        self, name: str, trained: Trained, data: Dataset, batches: list[Batch], seed: int
    ) -> Iterator[Point]:
        yield from super()._points(name, trained, data, batches, seed)
        if name != "dense":
            free, where = remove_masks(clone_model(trained.network)), {"space": "all"}
            for point in self._shaken(name, free, batches):
                yield Point(point.metrics, **point.coordinates, **where)
            yield from self._landscape(name, free, batches, seed, **where)


_SMALL = {"examples": 100, "k": 2, "trace_probes": 3, "lanczos_steps": 10, "shakes": 3, "side": 3}
_RESNET = {"model": "resnet18", "twin": ("layer1.0.conv1", "layer1.0.conv2")}

TABLE2_MINIMA_STUDIES: dict[str, tuple[Table2Minima, ...]] = {
    "quick": (Table2Minima(**QUICK, **_SMALL),),
    "full": (
        Table2Minima(**FULL, examples=500),
        Table2Minima(**FULL | {"dataset": "fashion_mnist"}, fraction=0.1, examples=500),
    ),
    "paper": (
        Table2Minima(dataset="cifar10", profile="paper"),
        Table2Minima(dataset="fashion_mnist", fraction=0.1, profile="paper"),
        Table2Minima(dataset="cifar10", fraction=0.215, profile="paper", **_RESNET),
        Table2Minima(dataset="tiny_imagenet", profile="paper"),
    ),
}
