"""Images: decoding, the cache, subsets, and what `.source` says of a copy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from causalprune_lib.nets import sources as hub
from causalprune_lib.nets.data import dataset_info, load_dataset

N_TRAIN, N_TEST = 60, 20


def load_bytes(**options) -> np.ndarray:
    data = load_dataset("mnist", preprocessing="none", progress=False, **options)
    return (data.x_train * 255).round().to(torch.uint8)[:, 0].numpy()


def test_pixels_and_labels_come_out_as_they_went_in(mirror, pixels):
    data = load_dataset("mnist", preprocessing="none", dtype=torch.float64, progress=False)
    for part, x in (("train", data.x_train), ("test", data.x_test)):
        assert np.allclose(x[:, 0].numpy(), pixels[part] / 255, rtol=0, atol=1e-15)
    assert torch.equal(data.y_train, torch.arange(N_TRAIN) % 10)
    assert data.class_names == dataset_info("mnist").class_names


def test_everything_is_decoded_once(mirror, decoded):
    first = load_dataset("mnist", progress=False)
    assert len(decoded) == N_TRAIN + N_TEST
    second = load_dataset("mnist", progress=False)
    assert len(decoded) == N_TRAIN + N_TEST
    assert torch.equal(first.x_train, second.x_train)
    assert torch.equal(first.y_test, second.y_test)
    assert first.source == second.source


def test_a_small_subset_is_decoded_alone_and_equals_the_same_rows_of_all(mirror, decoded):
    small = load_bytes(subset=(20, 10), seed=3)
    assert len(decoded) == 30
    assert not list(mirror.parent.glob("cache/images/**/*.npy"))
    load_dataset("mnist", progress=False)
    assert np.array_equal(load_bytes(subset=(20, 10), seed=3), small)


def test_a_progress_bar_is_shown_the_first_time_only(mirror, capsys):
    load_dataset("mnist")
    assert "mnist: decoding train images" in capsys.readouterr().err
    load_dataset("mnist")
    assert capsys.readouterr().err == ""


def test_the_source_says_what_is_special_about_this_copy(mirror):
    source = load_dataset("mnist", progress=False).source
    assert "huggingface.co/datasets/ylecun/mnist" in source
    assert "the local mirror (train-00000-of-00001.parquet, sha256 " in source
    assert "a subset of 60 of 60,000" in source
    assert "JPEG" not in source


@pytest.mark.parametrize("subset", [None, (20, 10)])
def test_a_jpeg_copy_of_a_lossless_dataset_says_so(mirror, write_images, subset):
    colours = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    for part in ("train", "test"):
        path = mirror / "hub" / hub.HUB_SETS["cifar10"].parquet(part)
        write_images(path, colours, "img", "JPEG")
    data = load_dataset("cifar10", subset=subset, progress=False)
    assert data.source.count("a JPEG copy, not the lossless original") == 2
    assert data.shape == (3, 32, 32)


def test_grey_images_among_colours_become_three_equal_channels(mirror, write_images):
    grey = np.random.default_rng(1).integers(0, 256, (20, 32, 32), dtype=np.uint8)
    for part in ("train", "test"):
        write_images(mirror / "hub" / hub.HUB_SETS["cifar10"].parquet(part), grey, "img")
    x = load_dataset("cifar10", preprocessing="none", progress=False).x_train
    assert torch.equal(x[:, 0], x[:, 2])
    assert torch.equal((x[:, 1] * 255).round(), torch.from_numpy(grey).float())
