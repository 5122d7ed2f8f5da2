"""`load_dataset` on what needs no download, the catalogue, and the errors."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import datasets as sklearn_datasets

import causalprune_lib.nets.data as module
from causalprune_lib.nets.data import BUNDLED, DATASETS, LEGCNET, dataset_info, load_dataset

NETS = Path(module.__file__).parent


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_datasets_are_whole_and_split_by_class(name):
    data = load_dataset(name, preprocessing="none", dtype=torch.float64)
    bunch = getattr(sklearn_datasets, f"load_{name}")()
    info = dataset_info(name)
    assert (len(data.x_train), len(data.x_test)) == (info.n_train, info.n_test)
    rows = torch.cat([data.x_train, data.x_test]).flatten(1).numpy()
    reference = bunch.data / (16 if name == "digits" else 1)
    assert np.array_equal(
        np.unique(rows, axis=0, return_counts=True)[1],
        np.unique(reference, axis=0, return_counts=True)[1],
    )
    labels = torch.cat([data.y_train, data.y_test])
    assert torch.equal(labels.bincount(), torch.from_numpy(bunch.target).bincount())
    expected = np.bincount(bunch.target) * 0.2
    assert np.abs(data.y_test.bincount().numpy() - expected).max() <= 1


@pytest.mark.parametrize("name", BUNDLED)
def test_standard_is_fitted_on_the_training_rows_kept(name):
    data = load_dataset(name, subset=60, seed=2, dtype=torch.float64)
    raw = load_dataset(name, subset=60, seed=2, preprocessing="none", dtype=torch.float64)
    dims = tuple(d for d in range(data.x_train.ndim) if d != 1)
    assert data.x_train.mean(dims).abs().max() < 1e-12
    assert torch.allclose(data.x_train.var(dims, correction=0), torch.ones(1).double())
    # One affine map for both parts: the test rows took no part in it.
    mean = raw.x_train.mean(dims, keepdim=True)
    std = raw.x_train.std(dims, keepdim=True, correction=0)
    assert torch.allclose(data.x_test, (raw.x_test - mean) / std)


def test_digits_keep_their_picture_and_fill_a_larger_one():
    small = load_dataset("digits", preprocessing="none")
    large = load_dataset("digits", preprocessing="none", size=28)
    assert small.shape == (1, 8, 8)
    assert large.shape == (1, 28, 28)
    assert (float(small.x_train.min()), float(small.x_train.max())) == (0.0, 1.0)
    reference = torch.nn.functional.interpolate(small.x_test, size=(28, 28), mode="bilinear")
    assert torch.equal(large.x_test, reference)


def test_types_and_shapes():
    data = load_dataset("digits", subset=(100, 50))
    assert (data.x_train.dtype, data.y_train.dtype) == (torch.float32, torch.int64)
    assert (len(data.x_train), len(data.y_train), len(data.x_test), len(data.y_test)) == (
        100,
        100,
        50,
        50,
    )
    assert data.class_names == tuple("0123456789")
    assert load_dataset("iris", dtype=torch.float64).x_test.dtype == torch.float64


def test_the_seed_chooses_the_subset_and_never_the_test_set():
    first = load_dataset("digits", subset=200, seed=5)
    again = load_dataset("digits", subset=200, seed=5)
    other = load_dataset("digits", subset=200, seed=6)
    assert torch.equal(first.x_train, again.x_train)
    assert torch.equal(first.y_test, other.y_test)
    raw = [load_dataset("digits", subset=200, seed=s, preprocessing="none") for s in (5, 6)]
    assert not torch.equal(raw[0].x_train, raw[1].x_train)
    assert torch.equal(raw[0].x_test, raw[1].x_test)


def test_a_subset_keeps_classes_in_proportion():
    data = load_dataset("wine", subset=(71, 18))
    assert data.y_train.bincount().tolist() == [24, 28, 19]  # 142 rows: 47, 57, 38
    assert data.y_test.bincount().tolist() == [6, 7, 5]  # 36 rows: 12, 14, 10


def test_loading_leaves_the_global_generators_alone():
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    load_dataset("digits", subset=100, seed=3).split_validation(0.2, seed=1)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_validation_split_is_disjoint_exact_and_stratified():
    data = load_dataset("digits", preprocessing="none")
    marked = dataclasses.replace(data, x_train=torch.arange(len(data.y_train)))
    x_train, y_train, x_val, y_val = marked.split_validation(0.1, seed=4)
    assert len(x_val) == round(0.1 * 1437)
    assert torch.equal(torch.cat([x_train, x_val]).sort().values, marked.x_train)
    assert torch.equal(data.y_train[x_val], y_val)
    assert torch.equal(data.y_train[x_train], y_train)
    assert (y_val.bincount() - 0.1 * data.y_train.bincount()).abs().max() < 1
    assert torch.equal(marked.split_validation(0.1, seed=4)[2], x_val)
    assert not torch.equal(marked.split_validation(0.1, seed=5)[2], x_val)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_validation_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match="fraction must be in"):
        load_dataset("iris").split_validation(fraction, seed=0)


def test_validation_needs_one_example_per_class():
    with pytest.raises(ValueError, match=r"fraction \* N must be at least 3, one per class; got 1"):
        load_dataset("iris").split_validation(0.01, seed=0)


def test_to_moves_every_tensor():
    data = load_dataset("iris").to("meta")
    tensors = (data.x_train, data.y_train, data.x_test, data.y_test)
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_summary_is_one_line_with_the_facts():
    data = load_dataset("iris", subset=30)
    line = data.summary()
    assert "\n" not in line
    for fact in ("iris: 30 training and 30 test", "3 classes", "'standard'", "CC BY 4.0"):
        assert fact in line
    assert len(repr(data)) < 500  # no tensors in it


@pytest.mark.parametrize("name", DATASETS)
def test_the_catalogue_is_consistent(name):
    info = dataset_info(name)
    assert info.kind == {0: "text", 1: "table", 3: "image"}[len(info.shape)]
    assert len(info.class_names) == (0 if name == "tiny_imagenet" else info.n_classes)
    assert len(set(info.class_names)) == len(info.class_names)
    assert info.licence
    assert ("25a1d8e" in info.source) == (name in LEGCNET)


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


def test_a_mirror_that_is_no_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CAUSALPRUNE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(NotADirectoryError, match="CAUSALPRUNE_DATA must name an existing folder"):
        load_dataset("cancer")
    assert len(load_dataset("iris").x_test) == 30  # bundled data never look there


def test_optional_libraries_are_imported_where_used():
    def at_the_top(path: Path) -> set[str]:
        body = ast.parse(path.read_text(encoding="utf-8")).body
        names = {
            alias.name for node in body if isinstance(node, ast.Import) for alias in node.names
        }
        names |= {node.module for node in body if isinstance(node, ast.ImportFrom)}
        return {name.partition(".")[0] for name in names}

    seen, queue = set(), ["data"]
    while queue:  # this file and every file of the room that it imports
        path = NETS / f"{queue.pop()}.py"
        seen.add(path.stem)
        queue += [
            node.module.rpartition(".")[2]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
            and node.module.startswith("causalprune_lib.nets.")
            and node.module.rpartition(".")[2] not in seen
        ]
        assert not at_the_top(path) & {"datasets", "sklearn", "pooch", "pandas", "pyarrow", "PIL"}
    assert {"data", "sources"} <= seen
