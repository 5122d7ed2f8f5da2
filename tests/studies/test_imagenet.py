"""ResNet50 on a folder of images: the comparison with CHITA runs, on 64 generated images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from causalprune_studies.ch08_causal_pruning.imagenet import ImageFolder, ImageNetRun, resnet50

RUN = ImageNetRun(
    amount=0.8,
    n_iter=2,
    image_size=32,
    epochs=1,
    prune_epochs=2,
    post_epochs=1,
    batch_size=48,
    workers=0,
    on="cpu",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """48 and 16 images of two classes, in torchvision's layout: dark and light."""
    root, dice = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for part, n in (("train", 24), ("val", 8)):
        for name, level in (("dark", 40), ("light", 200)):
            place = root / "imagenet" / part / name
            place.mkdir(parents=True)
            for i in range(n):
                pixels = dice.normal(level, 20, (40, 48, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{i}.png")
    return root


def test_the_network_has_the_parameters_of_resnet50():
    with torch.device("meta"):
        network = resnet50(1000, seed=0)
    assert sum(p.numel() for p in network.parameters()) == 25_557_032


def test_two_rounds_prune_what_was_asked_and_judge_all_rivals(folder, monkeypatch):
    monkeypatch.setenv("CAUSALPRUNE_DATA", str(folder))
    points = {p.coordinates["ranking"]: p.metrics for p in RUN.run(0)}
    assert list(points) == ["dense", "causal", "magnitude", "random"]
    for ranking in ("causal", "magnitude", "random"):
        assert points[ranking]["amount_pruned"] == pytest.approx(0.8, abs=1e-6)
    assert all(0 <= m["accuracy"] <= 1 for m in points.values())


def test_images_follow_from_the_seed_and_the_epoch(folder):
    root = folder / "imagenet" / "train"
    images = ImageFolder(root, size=32, augment=True, seed=1)
    (first, label), (again, _) = images[3], ImageFolder(root, size=32, augment=True, seed=1)[3]
    assert first.shape == (3, 32, 32)
    assert label == 0
    assert torch.equal(first, again)
    images.epoch = 1
    assert not torch.equal(first, images[3][0])
    plain = ImageFolder(root, size=32, augment=False)
    assert plain[0][0].mean() < 0 < plain[47][0].mean()  # dark and light


def test_a_folder_without_classes_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CAUSALPRUNE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"a folder for each class: .*train"):
        next(RUN.run(0))
    (tmp_path / "imagenet" / "train").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"each class of .*no class"):
        next(replace(RUN).run(0))
    (tmp_path / "imagenet" / "train" / "cat").mkdir()
    with pytest.raises(FileNotFoundError, match="got none in: cat"):
        next(RUN.run(0))
