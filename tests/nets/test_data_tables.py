"""The tables of the LEGCNet paper: as published, in the released order, split and scaled alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from causalprune_lib.nets.data import LEGCNET, dataset_info, load_dataset
from causalprune_lib.nets.sources import find_table, mirror_folder

CLASS_SIZES = {
    "cancer": [444, 239],
    "titanic": [549 + 260, 342 + 158],
    "banknote": [762, 610],
    "vowel": [72, 89, 172, 151, 207, 180],
    "iris_csv": [50, 50, 50],
    "iris3f": [50, 50, 50],
}
PER_SAMPLE = ("cancer", "titanic", "banknote")
FETCHED = ("titanic", "vowel")  # the others come with the library


def with_mark(names) -> list:
    """The names as parameters; those that must be fetched need the mirror."""
    return [
        pytest.param(name, marks=pytest.mark.data) if name in FETCHED else name for name in names
    ]


def raw(name: str, **options) -> tuple[np.ndarray, np.ndarray]:
    data = load_dataset(name, preprocessing="none", dtype=torch.float64, **options)
    return torch.cat([data.x_train, data.x_test]).numpy(), torch.cat(
        [data.y_train, data.y_test]
    ).numpy()


def released_order(rows: np.ndarray) -> np.ndarray:
    """The released code's own two lines, with the global generator put back afterwards."""
    state = np.random.get_state()
    np.random.seed(42)
    np.random.shuffle(rows)
    np.random.set_state(state)
    return rows


@pytest.mark.parametrize("name", ["cancer", "banknote", "iris_csv", "iris3f"])
def test_four_tables_need_no_mirror_no_cache_and_no_network(name, monkeypatch, tmp_path):
    monkeypatch.delenv("CAUSALPRUNE_DATA", raising=False)
    monkeypatch.setenv("CAUSALPRUNE_CACHE", str(tmp_path / "none"))
    monkeypatch.setattr("socket.socket.connect", None)
    data = load_dataset(name, preprocessing="as_released")
    assert data.source.endswith("read from the copy that comes with this library")
    assert data.licence.startswith("CC BY 4.0")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", with_mark(LEGCNET))
@pytest.mark.parametrize("preprocessing", ["standard", "none", "as_released"])
def test_sizes_and_classes_are_as_published(name, preprocessing):
    data = load_dataset(name, preprocessing=preprocessing)
    info = dataset_info(name)
    assert data.x_train.shape == (info.n_train, *info.shape)
    assert data.x_test.shape == (info.n_test, *info.shape)
    assert torch.cat([data.y_train, data.y_test]).bincount().tolist() == CLASS_SIZES[name]
    assert ("local mirror" in data.source) == (name in FETCHED)
    assert data.preprocessing == preprocessing


@pytest.mark.data
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
def test_rows_are_those_of_the_mirror_bit_for_bit_in_the_released_order(
    name, file, header, columns
):
    frame = pd.read_csv(mirror_folder() / "tabular" / file, header=header)
    rows = released_order(np.array(frame))
    x, y = raw(name)
    assert np.array_equal(x, rows[:, list(columns)].astype(float))
    assert np.array_equal(y, pd.Series(rows[:, -1]).rank(method="dense").to_numpy() - 1)


@pytest.mark.data
def test_titanic_shuffles_its_training_rows_only_and_fills_three_cells():
    train, test = (pd.read_csv(find_table(f"titanic_{part}.csv")[0]) for part in ("train", "test"))
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
    rest = np.arange(len(test)) != place
    assert np.array_equal(honest.x_test[rest, 4].numpy(), test["Fare"][rest])


@pytest.mark.parametrize("name", with_mark(LEGCNET))
def test_the_honest_default_is_fitted_on_train(name):
    data = load_dataset(name, dtype=torch.float64)
    assert data.x_train.mean(0).abs().max() < 1e-12
    ones = torch.ones(data.x_train.shape[1], dtype=torch.float64)
    assert torch.allclose(data.x_train.std(0, correction=0), ones)
    assert data.x_test.mean(0).abs().max() > 1e-3  # the test rows were not centred themselves


@pytest.mark.parametrize("name", with_mark(PER_SAMPLE))
def test_as_released_standardises_each_sample_across_its_features(name):
    data = load_dataset(name, preprocessing="as_released", dtype=torch.float64)
    before, _ = raw(name)
    if name == "titanic":  # as released, the missing fare is the most frequent one of the TEST rows
        test = pd.read_csv(find_table("titanic_test.csv")[0])
        before[len(data.x_train) + int(np.flatnonzero(test["Fare"].isna())[0]), 4] = 7.75
    x = torch.cat([data.x_train, data.x_test]).numpy()
    flat = before.max(1) == before.min(1)  # a sample with equal features stays at 0
    centred = before - before.mean(1, keepdims=True)
    assert np.allclose(x, centred / np.where(flat, 1, before.std(1))[:, None])
    assert np.abs(x.mean(1)).max() < 1e-12
    assert np.allclose(x.std(1), np.where(flat, 0, 1))


@pytest.mark.parametrize("name", with_mark(["iris_csv", "iris3f", "vowel"]))
def test_as_released_scales_each_feature_and_the_test_set_by_itself(name):
    data = load_dataset(name, preprocessing="as_released", dtype=torch.float64)
    for x in (data.x_train, data.x_test):
        if name == "vowel":
            assert torch.allclose(x.amin(0), torch.zeros(3).double())
            assert torch.allclose(x.amax(0), torch.ones(3).double())
        else:
            assert x.mean(0).abs().max() < 1e-12
            assert torch.allclose(x.std(0, correction=0), torch.ones(1).double())
