"""Images: the mirror and the Hub, decoding, the cache, and what `.source` says of a copy."""

from __future__ import annotations

import datasets as hugging_face
import numpy as np
import pytest
import torch

from causalprune_lib.nets.data import dataset_info, load_dataset
from causalprune_lib.nets.images import HUB_SETS, ImageSplit

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
        path = mirror / "hub" / HUB_SETS["cifar10"].parquet(part)
        write_images(path, colours, "img", "JPEG")
    data = load_dataset("cifar10", subset=subset, progress=False)
    assert data.source.count("a JPEG copy, not the lossless original") == 2
    assert data.shape == (3, 32, 32)


def test_grey_images_among_colours_become_three_equal_channels(mirror, write_images):
    grey = np.random.default_rng(1).integers(0, 256, (20, 32, 32), dtype=np.uint8)
    for part in ("train", "test"):
        write_images(mirror / "hub" / HUB_SETS["cifar10"].parquet(part), grey, "img")
    x = load_dataset("cifar10", preprocessing="none", progress=False).x_train
    assert torch.equal(x[:, 0], x[:, 2])
    assert torch.equal((x[:, 1] * 255).round(), torch.from_numpy(grey).float())


def test_the_hub_and_the_mirror_give_the_same_and_never_share_a_cache(
    hub_from_folder, monkeypatch, no_mirror, capsys
):
    from_hub = load_dataset("mnist", progress=False)
    assert capsys.readouterr().err == ""  # not a bar, not a word
    assert "read from huggingface.co/datasets/ylecun/mnist at " in from_hub.source
    monkeypatch.setenv("CAUSALPRUNE_DATA", str(no_mirror))
    from_mirror = load_dataset("mnist", progress=False)
    assert "local mirror" in from_mirror.source
    for part in ("x_train", "y_train", "x_test", "y_test"):
        assert torch.equal(getattr(from_hub, part), getattr(from_mirror, part))
    folders = {path.name.split("-")[2] for path in no_mirror.parent.glob("cache/images/*")}
    assert folders == {"hub", "mirror"}


def test_what_was_decoded_from_the_hub_needs_no_network_again(hub_from_folder, monkeypatch):
    first = load_dataset("mnist", subset=(20, 10), progress=False)
    monkeypatch.setattr(hugging_face, "load_dataset_builder", None)
    again = load_dataset("mnist", subset=(20, 10), progress=False)
    assert torch.equal(again.x_train, first.x_train)
    assert len(load_dataset("mnist", progress=False).x_train) == 60


def test_settings_of_the_library_are_left_as_they_were(hub_from_folder):
    counting = hugging_face.config.HF_UPDATE_DOWNLOAD_COUNTS
    load_dataset("mnist", progress=False)
    assert not hugging_face.utils.are_progress_bars_disabled()
    assert counting == hugging_face.config.HF_UPDATE_DOWNLOAD_COUNTS


def stored_split(name: str, part: str) -> ImageSplit:
    info = dataset_info(name)
    published = info.n_train if part == "train" else info.n_test
    expected = {"shape": info.shape, "n_classes": info.n_classes, "published": published}
    return ImageSplit(name, part, **expected, progress=False)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        (
            "mnist",
            [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
            [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        ),
        ("fashion_mnist", [6000] * 10, [1000] * 10),
        ("cifar10", [5000] * 10, [1000] * 10),
        ("tiny_imagenet", [100] * 200, [10] * 200),  # the mirror's subset
    ],
)
def test_the_papers_images_have_the_known_class_sizes(name, train, test):
    for part, expected in (("train", train), ("test", test)):
        split = stored_split(name, part)
        assert np.bincount(split.labels).tolist() == expected
        assert len(split.class_names) == dataset_info(name).n_classes
        assert ("a JPEG copy" in split.remarks) == (name == "cifar10")
        assert ("a subset of " in split.remarks) == (name == "tiny_imagenet")


@pytest.mark.data
def test_mnist_has_its_well_known_mean_and_deviation():
    data = load_dataset("mnist", subset=(6000, 100), progress=False)
    # Black and white after scaling with the mean 0.1307 and the deviation 0.3081 of all its pixels.
    # One image's mean has the deviation 0.04, so that of 6,000 images has 5e-4; allow five of them.
    for value, pixel in ((data.x_train.min(), 0), (data.x_train.max(), 1)):
        assert float(value) == pytest.approx((pixel - 0.1307) / 0.3081, abs=5 * 5e-4 / 0.3081)
    assert abs(float(data.x_train.mean(dtype=torch.float64))) < 1e-6


@pytest.mark.data
@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "tiny_imagenet"])
def test_subsets_of_the_papers_images_are_balanced(name):
    k = dataset_info(name).n_classes
    data = load_dataset(name, subset=(2 * k, k), seed=1, progress=False)
    assert data.y_train.bincount().tolist() == [2] * k
    assert data.y_test.bincount().tolist() == [1] * k
    assert len(data.class_names) == k
    assert data.shape == dataset_info(name).shape
