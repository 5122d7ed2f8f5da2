"""Names, options, subsets and values that `load_dataset` and its helpers refuse, and how."""

import numpy as np
import pytest
import torch

from causalprune_lib.nets.data import dataset_info, load_dataset, scale, stratified_rows


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'fashion_mnist'"):
        load_dataset("fashion-mnist")
    with pytest.raises(ValueError, match="Did you mean 'cifar10'"):
        dataset_info("cifar-10")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preprocessing": "as_released"}, "must be one of 'standard', 'none'; got 'as_released'"),
        ({"subset": 121}, "must be at most 120, all there are; got 121"),
        ({"subset": (30, 31)}, "test examples of 'iris', must be at most 30"),
        ({"subset": 2}, "must be at least 3, one per class; got 2"),
        ({"subset": (1, 2, 3)}, "subset must be n_train or"),
        ({"size": 28}, "size must be None for 'iris'"),
        ({"seed": -1}, "seed must be >= 0"),
        ({"dtype": torch.int64}, "dtype must be torch.float32 or torch.float64"),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("iris", **options)


def test_a_mirror_that_is_no_folder_is_named_where_it_is_needed(monkeypatch, tmp_path):
    monkeypatch.setenv("CAUSALPRUNE_DATA", str(tmp_path / "nowhere"))
    for name in ("titanic", "mnist"):
        with pytest.raises(NotADirectoryError, match="CAUSALPRUNE_DATA must name an existing fold"):
            load_dataset(name)
    for name in ("iris", "cancer"):  # bundled data never look there
        load_dataset(name)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_validation_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match="fraction must be in"):
        load_dataset("iris").split_validation(fraction, seed=0)


def test_validation_needs_one_example_per_class():
    with pytest.raises(ValueError, match=r"fraction \* N must be at least 3, one per class; got 1"):
        load_dataset("iris").split_validation(0.01, seed=0)


@pytest.mark.parametrize(("n", "message"), [(5, "at most 4"), (1, "at least 2"), (0, ">= 1")])
def test_impossible_numbers_of_rows_are_named(n, message):
    with pytest.raises(ValueError, match=f"subset must be {message}"):
        stratified_rows(np.array([0, 0, 1, 1]), n, seed=0, name="subset")


def test_a_number_that_is_not_whole_is_refused():
    with pytest.raises(TypeError, match="subset must be a whole number"):
        stratified_rows(np.array([0, 1]), 1.5, seed=0, name="subset")


def test_nan_is_named_with_its_place():
    table = np.array([[1.0, 2.0], [np.nan, 3.0]])
    with pytest.raises(ValueError, match=r"The data of 'x' must be finite; got 1 NaN.*\(1, 0\)"):
        scale(table, table, standard=True, title="The data of 'x'")
