"""ResNet50 on ImageNet, one round and two: the paper's comparison with CHITA, ready to be run.

Images are read from a folder in torchvision's layout, `train/CLASS/*.jpg` and `val/CLASS/*.jpg`, of
any size and number of classes, at `$CAUSALPRUNE_DATA/imagenet`. ImageNet may not be handed on:
https://image-net.org/download.php. Nothing of it has been measured here; on one H200 a run of the
`paper` profile takes days.

Paper: "A Granger-causal perspective on gradient descent with application to pruning", section 4;
He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2015.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from causalprune_lib._random import seeded
from causalprune_lib.causality.scores import CausalScores
from causalprune_lib.evidence.grid import Point
from causalprune_lib.pruning.iterative import amount_schedule
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model
from causalprune_lib.pruning.scores import magnitude_scores
from causalprune_lib.pruning.select import masks_from_scores, random_masks_like

SUFFIXES = {".jpg", ".jpeg", ".png"}
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels
BLOCKS = (3, 4, 6, 3)  # of each stage


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a way round them; four times as wide at the end."""

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for a, b, kernel, s in ((c_in, width, 1, 1), (width, width, 3, stride)):
            parts += [_conv(a, b, kernel, s), nn.BatchNorm2d(b), nn.ReLU()]
        parts += [_conv(width, 4 * width, 1, 1), nn.BatchNorm2d(4 * width)]
        self.body, self.shortcut = nn.Sequential(*parts), nn.Identity()
        if stride != 1 or c_in != 4 * width:
            norm = nn.BatchNorm2d(4 * width)
            self.shortcut = nn.Sequential(_conv(c_in, 4 * width, 1, stride), norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, c_in, H, W) to (N, 4 width, H / stride, W / stride)."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet50(n_classes: int, *, seed: int) -> nn.Module:
    """ResNet50: 25,557,032 parameters for 1,000 classes."""
    with seeded(seed):
        stem = (_conv(3, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        layers, c_in = list(stem), 64
        for stage, n in enumerate(BLOCKS):
            width = 64 * 2**stage
            for block in range(n):
                layers.append(Bottleneck(c_in, width, 2 if stage and not block else 1))
                c_in = 4 * width
        end = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, n_classes))
        return nn.Sequential(*layers, *end)


def _conv(c_in: int, c_out: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)


class ImageFolder(Dataset):
    """Images of `root/CLASS/`, square and normalised; cut and mirrored at random for training.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no class with an image in it.
    """

    def __init__(self, root: str | Path, *, size: int, augment: bool, seed: int = 0) -> None:
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(f"root must be a folder with a folder for each class: {root}")
        self.classes = sorted(child.name for child in root.iterdir() if child.is_dir())
        self.files = [
            (path, number)
            for number, name in enumerate(self.classes)
            for path in sorted((root / name).iterdir())
            if path.suffix.lower() in SUFFIXES
        ]
        empty = set(range(len(self.classes))) - {number for _, number in self.files}
        if not self.files or empty:
            found = ", ".join(self.classes[number] for number in sorted(empty)) or "no class"
            raise FileNotFoundError(
                f"each class of {root} must hold images ({', '.join(sorted(SUFFIXES))}); got none "
                f"in: {found}."
            )
        self.size, self.augment, self.seed, self.epoch = size, augment, seed, 0

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.files[index]
        with Image.open(path) as image:
            image = image.convert("RGB")
        # the cut follows from seed, epoch and image: as many workers as one likes
        dice = np.random.default_rng((self.seed, self.epoch, index))
        side = min(image.size)
        part = side * (dice.uniform(0.5, 1) if self.augment else 0.875)
        places = [(full - part) * (dice.random() if self.augment else 0.5) for full in image.size]
        box = (places[0], places[1], places[0] + part, places[1] + part)
        image = image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        if self.augment and dice.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)
        mean, spread = (torch.tensor(value).view(3, 1, 1) for value in (MEAN, SPREAD))
        return (pixels - mean) / spread, label


@dataclass(frozen=True)
class ImageNetRun:
    """ResNet50 pruned by causal pruning in `n_iter` rounds, with rewinding, beside its controls.

    Gives points with the coordinate `ranking`: "dense", "causal", "magnitude" (one threshold) and
    "random" (at causal's counts per layer), with `accuracy` and `accuracy_cut` on `val/`, top-1
    after the last epoch and right after the cut, and `amount_pruned`.
    """

    amount: float = 0.8
    n_iter: int = 1
    image_size: int = 224
    epochs: int = 10
    prune_epochs: int = 10
    post_epochs: int = 200
    batch_size: int = 512
    lr: float = 5e-4
    prune_lr: float = 1e-3
    workers: int = 8
    on: str = "cuda"
    profile: str = "paper"

    def run(self, seed: int) -> Iterator[Point]:
        """Train; record, prune and rewind; then train each network on."""
        folder = Path(os.environ.get("CAUSALPRUNE_DATA", ".")) / "imagenet"
        train = ImageFolder(folder / "train", size=self.image_size, augment=True, seed=seed)
        val = ImageFolder(folder / "val", size=self.image_size, augment=False)
        if val.classes != train.classes:
            raise ValueError(f"val/ must have the classes of train/; got {val.classes}.")
        network = resnet50(len(train.classes), seed=seed).to(self.on)
        network = network.to(memory_format=torch.channels_last)
        self._train(network, train, self.epochs, seed=seed)
        masks = self._causal_masks(network, train, seed)
        rivals = {
            "dense": None,
            "causal": masks,
            "magnitude": masks_from_scores(
                magnitude_scores(network), masks.n - masks.n_kept, floor=1
            ),
            "random": random_masks_like(masks, seed=seed),
        }
        for ranking, mask in rivals.items():
            pruned = clone_model(network)
            if mask is not None:
                apply_masks(pruned, mask)
            found = {"accuracy_cut": self._accuracy(pruned, val)}
            self._train(pruned, train, self.post_epochs, seed=seed + 1)
            found["accuracy"] = self._accuracy(pruned, val)
            found["amount_pruned"] = 0.0 if mask is None else mask.amount
            yield Point(found, ranking=ranking)

    def _causal_masks(self, network: nn.Module, train: ImageFolder, seed: int) -> Masks:
        """Each round records a copy of the trained network under the masks of the one before."""
        masks = None
        for number, amount in enumerate(amount_schedule(self.amount, self.n_iter)):
            twin = clone_model(network)
            if masks is not None:
                apply_masks(twin, masks)
            steps = self.prune_epochs * -(-len(train) // self.batch_size)
            with CausalScores(twin, n_steps=steps) as scores:
                self._train(twin, train, self.prune_epochs, seed=seed + 2 + number, scores=scores)
            masks = masks_from_scores(scores.scores(), amount, floor=1, within=masks)
        return masks

    def _train(
        self,
        network: nn.Module,
        train: ImageFolder,
        epochs: int,
        *,
        seed: int,
        scores: CausalScores | None = None,
    ) -> None:
        """Adam, or plain SGD while it is recorded; the forward pass in bfloat16 on a GPU."""
        make = torch.optim.Adam if scores is None else torch.optim.SGD
        optimizer = make(network.parameters(), lr=self.lr if scores is None else self.prune_lr)
        order = torch.Generator().manual_seed(seed)
        network.train()
        for train.epoch in range(epochs):
            for x, y in self._batches(train, shuffle=order):
                loss = cross_entropy(self._forward(network, x), y)
                optimizer.zero_grad()
                loss.backward()
                if scores is not None:
                    scores.log(loss=loss)
                optimizer.step()

    def _forward(self, network: nn.Module, x: torch.Tensor) -> torch.Tensor:
        fast = torch.autocast(torch.device(self.on).type, torch.bfloat16, enabled=self.on != "cpu")
        with fast:
            return network(x).float()

    def _batches(
        self, images: ImageFolder, *, shuffle: torch.Generator | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        options = {"shuffle": shuffle is not None, "generator": shuffle}
        loader = DataLoader(images, self.batch_size, num_workers=self.workers, **options)
        for x, y in loader:
            yield x.to(self.on, memory_format=torch.channels_last), y.to(self.on)

    @torch.no_grad()
    def _accuracy(self, network: nn.Module, val: ImageFolder) -> float:
        network.eval()
        hits = sum(
            int((self._forward(network, x).argmax(1) == y).sum()) for x, y in self._batches(val)
        )
        return hits / len(val)


IMAGENET_STUDIES = {  # no page draws on it, and there is no smaller ImageNet
    "paper": tuple(ImageNetRun(amount=amount, n_iter=n) for amount in (0.8, 0.95) for n in (1, 2)),
}
