"""How long a step of training takes, for each network and data set of table 2.

`python -m causalprune_studies run NAME --dry-run` reads it where nothing nearer was measured.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from causalprune_lib.nets.data import dataset_info
from causalprune_studies.ch08_causal_pruning.study import CausalRecipe


@dataclass(frozen=True)
class StepTime(CausalRecipe):
    """Seconds of training for each image, `seconds_per_image`, in batches of `batch_size`.

    Adam makes `steps` steps on random images, after as many that are not counted. On a CPU they are
    the seconds that the processor worked, over the number of threads: others may want it too.
    """

    steps: int = 2
    precision: str = "bfloat16"

    def run(self, seed: int) -> dict[str, float]:
        """Two epochs; the second one is timed."""
        on_cpu = torch.device(self.on).type == "cpu"
        clock = time.process_time if on_cpu else time.perf_counter
        ends: list[float] = []
        info, n = dataset_info(self.dataset), self.steps * self.batch_size
        size = (self.image_size,) * 2 if self.image_size else info.shape[1:]
        generator = torch.Generator().manual_seed(seed)
        x = torch.rand(n, info.shape[0], *size, generator=generator)
        y = torch.randint(info.n_classes, (n,), generator=generator)
        network = self.build(seed=seed)
        training = replace(self.training, epochs=2, precision=self.precision)
        x = x.to(self.on, memory_format=torch.channels_last)
        y, note = y.to(self.on), lambda epoch: ends.append(clock())
        training.train(network, x, y, seed=seed, on_epoch=note)
        threads = torch.get_num_threads() if on_cpu else 1
        return {"seconds_per_image": (ends[1] - ends[0]) / threads / n}


_PLACES = tuple(
    (model, dataset)
    for model in ("lenet", "alexnet", "resnet18")
    for dataset in ("cifar10", "fashion_mnist", "tiny_imagenet")
)
# A step of ResNet18 takes as long as its images; one of AlexNet has millions of weights to update.
_BATCH = {"lenet": 512, "alexnet": 512, "resnet18": 64}

STEP_STUDIES: dict[str, tuple[StepTime, ...]] = {
    "quick": (StepTime(dataset="digits", image_size=20, batch_size=64),),
    "full": tuple(
        StepTime(model=model, dataset=dataset, batch_size=_BATCH[model], steps=1, profile="full")
        for model, dataset in _PLACES
    ),
    "paper": tuple(
        StepTime(model=model, dataset=dataset, steps=10, profile="paper")
        for model, dataset in _PLACES
    ),
}
