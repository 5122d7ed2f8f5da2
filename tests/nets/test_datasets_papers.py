"""The papers' data as published: sizes, counts, row order, scaling, and results that follow."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from causalprune_lib.nets.data import (
    INITIAL_WEIGHTS,
    LEGCNET,
    ImageSplit,
    dataset_info,
    load_dataset,
    load_legcnet_init,
    load_table,
)
from causalprune_lib.nets.sources import FILES, fetch, mirror_folder

pytestmark = pytest.mark.data

CLASS_SIZES = {
    "cancer": [444, 239],
    "titanic": [549 + 260, 342 + 158],
    "banknote": [762, 610],
    "vowel": [72, 89, 172, 151, 207, 180],
    "iris_csv": [50, 50, 50],
    "iris3f": [50, 50, 50],
}
PER_SAMPLE = ("cancer", "titanic", "banknote")


def released_order(rows: np.ndarray) -> np.ndarray:
    """The released code's own two lines, with the global generator put back afterwards."""
    state = np.random.get_state()
    np.random.seed(42)
    np.random.shuffle(rows)
    np.random.set_state(state)
    return rows


@pytest.mark.parametrize("name", LEGCNET)
@pytest.mark.parametrize("preprocessing", ["standard", "none", "as_released"])
def test_sizes_and_classes_are_as_published(name, preprocessing):
    data = load_dataset(name, preprocessing=preprocessing)
    info = dataset_info(name)
    assert data.x_train.shape == (info.n_train, *info.shape)
    assert data.x_test.shape == (info.n_test, *info.shape)
    assert torch.cat([data.y_train, data.y_test]).bincount().tolist() == CLASS_SIZES[name]
    assert data.source.endswith("read from the local mirror")
    assert data.preprocessing == preprocessing


@pytest.mark.parametrize(
    ("name", "file", "header", "columns"),
    [
        ("cancer", "binary_cancer.csv", None, range(9)),
        ("banknote", "binary_banknote.csv", None, range(4)),
        ("vowel", "vowel.csv", 0, range(3)),
        ("iris_csv", "Iris.csv", 0, [1, 2, 3, 4]),
        ("iris3f", "Iris.csv", 0, [1, 3, 4]),
    ],
)
def test_rows_are_in_the_released_order(name, file, header, columns):
    frame = pd.read_csv(mirror_folder() / "tabular" / file, header=header)
    rows = released_order(np.array(frame))
    data = load_dataset(name, preprocessing="none", dtype=torch.float64)
    x = torch.cat([data.x_train, data.x_test]).numpy()
    assert np.array_equal(x, rows[:, list(columns)].astype(float))
    labels = pd.Series(rows[:, -1]).rank(method="dense").to_numpy() - 1
    assert np.array_equal(torch.cat([data.y_train, data.y_test]).numpy(), labels)


def test_titanic_shuffles_its_training_rows_only_and_fills_three_cells():
    folder = mirror_folder() / "tabular"
    train = pd.read_csv(folder / "titanic_train.csv")
    test = pd.read_csv(folder / "titanic_test.csv")
    honest = load_dataset("titanic", preprocessing="none", dtype=torch.float64)
    order = released_order(np.arange(len(train)))
    assert np.array_equal(honest.y_train.numpy(), train["Survived"].to_numpy()[order])
    for x, frame in ((honest.x_train, train.iloc[order]), (honest.x_test, test)):
        for column, name in ((0, "Pclass"), (2, "SibSp"), (3, "Parch")):
            assert np.array_equal(x[:, column].numpy(), frame[name])
        assert np.array_equal(x[:, 1].numpy(), frame["Sex"] == "male")
    # 644 passengers embarked at S (code 0), 2 are missing and join them.
    assert honest.x_train[:, 5].long().bincount().tolist() == [646, 168, 77]
    place = int(np.flatnonzero(test["Fare"].isna())[0])
    assert honest.x_test[place, 4] == 8.05  # the most frequent fare of the training rows
    assert load_table("titanic", released=True).x_test[place, 4] == 7.75  # and of the test rows
    rest = np.arange(len(test)) != place
    assert np.array_equal(honest.x_test[rest, 4].numpy(), test["Fare"][rest])


@pytest.mark.parametrize("name", LEGCNET)
def test_the_honest_default_is_fitted_on_train(name):
    data = load_dataset(name, dtype=torch.float64)
    assert data.x_train.mean(0).abs().max() < 1e-12
    ones = torch.ones(data.x_train.shape[1], dtype=torch.float64)
    assert torch.allclose(data.x_train.std(0, correction=0), ones)
    assert data.x_test.mean(0).abs().max() > 1e-3  # the test rows were not centred themselves


@pytest.mark.parametrize("name", PER_SAMPLE)
def test_as_released_standardises_each_sample_across_its_features(name):
    data = load_dataset(name, preprocessing="as_released", dtype=torch.float64)
    raw = load_table(name, released=True)
    for x, before in ((data.x_train, raw.x_train), (data.x_test, raw.x_test)):
        assert x.mean(1).abs().max() < 1e-12
        flat = before.max(1) == before.min(1)  # a sample with equal features stays at 0
        assert np.allclose(x.std(1, correction=0).numpy(), np.where(flat, 0, 1))
        centred = before - before.mean(1, keepdims=True)
        scale = np.where(flat, 1, before.std(1))[:, None]
        assert np.allclose(x.numpy(), centred / scale)


@pytest.mark.parametrize("name", ["iris_csv", "iris3f", "vowel"])
def test_as_released_scales_each_feature_and_the_test_set_by_itself(name):
    data = load_dataset(name, preprocessing="as_released", dtype=torch.float64)
    for x in (data.x_train, data.x_test):
        if name == "vowel":
            assert torch.allclose(x.amin(0), torch.zeros(3).double())
            assert torch.allclose(x.amax(0), torch.ones(3).double())
        else:
            assert x.mean(0).abs().max() < 1e-12
            assert torch.allclose(x.std(0, correction=0), torch.ones(1).double())


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("cancer", [(6, 9), (6, 1), (1, 6), (1, 1)]),
        ("titanic", [(8, 6), (8, 1), (1, 8), (1, 1)]),
        ("banknote", [(8, 4), (8, 1), (1, 8), (1, 1)]),
        ("vowel", [(4, 3), (4, 1), (6, 4), (6, 1)]),
        ("iris_csv", [(6, 4), (6, 1), (3, 6), (3, 1)]),
        ("iris3f", [(6, 3), (6, 1), (3, 6), (3, 1)]),
    ],
)
def test_initial_weights_have_the_published_shapes(name, shapes):
    trials = load_legcnet_init(name)
    assert len(trials) == 5
    assert all([part.shape for part in trial] == shapes for trial in trials)
    assert all(part.dtype == np.float64 for trial in trials for part in trial)
    assert len(load_legcnet_init(name, trials=10)) == 10
    with pytest.raises(ValueError, match="trials must be at most 10; got 11"):
        load_legcnet_init(name, trials=11)


def test_every_known_file_of_the_mirror_has_its_hash():
    for key in FILES:
        assert fetch(key)[1] == "local mirror"
    assert {f"init/{name}.npy" for name in INITIAL_WEIGHTS.values()} <= FILES.keys()


def test_tinyshakespeare_is_one_text_cut_once():
    text = (mirror_folder() / "text" / "tinyshakespeare.txt").read_text(encoding="ascii")
    data = load_dataset("tinyshakespeare", progress=False)

    def spell(ids: torch.Tensor) -> str:
        return "".join(data.class_names[k] for k in ids.tolist())

    cut = len(text) * 9 // 10
    assert spell(data.x_train) == text[: cut - 1]
    assert spell(data.y_train) == text[1:cut]
    assert spell(data.x_test) == text[cut:-1]
    assert spell(data.y_test) == text[cut + 1 :]
    assert (data.preprocessing, data.n_classes, data.shape) == ("none", 65, ())
    part = load_dataset("tinyshakespeare", subset=(1000, 100), progress=False)
    assert torch.equal(part.x_train, data.x_train[:1000])
    assert torch.equal(part.y_test, data.y_test[:100])
    x_train, _, x_val, y_val = part.split_validation(0.2, seed=0)
    assert torch.equal(torch.cat([x_train, x_val]), part.x_train)
    assert torch.equal(y_val, part.y_train[800:])
    with pytest.raises(ValueError, match="must be at most 1003853"):
        load_dataset("tinyshakespeare", subset=2_000_000, progress=False)


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
def test_images_have_the_known_class_sizes(name, train, test):
    for part, expected in (("train", train), ("test", test)):
        split = ImageSplit(dataset_info(name), part, progress=False)
        assert np.bincount(split.labels).tolist() == expected
        assert len(split.class_names) == dataset_info(name).n_classes


def test_mnist_is_whole_with_its_well_known_mean_and_deviation():
    data = load_dataset("mnist", progress=False)
    assert data.x_train.shape == (60_000, 1, 28, 28)
    assert data.x_test.shape == (10_000, 1, 28, 28)
    assert "subset" not in data.source
    # Black and white after scaling with the mean 0.1307 and the deviation 0.3081 of all its pixels.
    assert float(data.x_train.min()) == pytest.approx((0 - 0.1307) / 0.3081, abs=5e-4)
    assert float(data.x_test.max()) == pytest.approx((1 - 0.1307) / 0.3081, abs=5e-4)
    assert abs(float(data.x_train.mean(dtype=torch.float64))) < 1e-6


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "tiny_imagenet"])
def test_subsets_of_images_are_balanced_and_say_where_they_come_from(name):
    k = dataset_info(name).n_classes
    data = load_dataset(name, subset=(3 * k, k), seed=1, progress=False)
    assert data.y_train.bincount().tolist() == [3] * k
    assert data.y_test.bincount().tolist() == [1] * k
    assert len(data.class_names) == k
    assert data.shape == dataset_info(name).shape
    assert ("a JPEG copy" in data.source) == (name == "cifar10")
    assert ("a subset of 20,000 of 100,000" in data.source) == (name == "tiny_imagenet")
    again = load_dataset(name, subset=(3 * k, k), seed=1, progress=False)
    assert torch.equal(again.x_train, data.x_train)
