"""`load_dataset` on what comes with the libraries: splits, subsets, scaling, and the catalogue."""

from __future__ import annotations

import ast
import dataclasses
import gzip
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import datasets as sklearn_datasets
from sklearn.preprocessing import StandardScaler

import causalprune_lib.nets.data as module
from causalprune_lib.nets.data import (
    DATASETS,
    LEGCNET,
    SKLEARN,
    byte_statistics,
    class_quotas,
    dataset_info,
    load_dataset,
    scale,
    stratified_rows,
)
from causalprune_lib.nets.sources import BUNDLED

NETS = Path(module.__file__).parent


@pytest.mark.parametrize("name", SKLEARN)
def test_datasets_of_scikit_learn_are_whole_and_split_by_class(name):
    data = load_dataset(name, preprocessing="none", dtype=torch.float64)
    bunch = getattr(sklearn_datasets, f"load_{name}")()
    info = dataset_info(name)
    assert (len(data.x_train), len(data.x_test)) == (info.n_train, info.n_test)
    rows = torch.cat([data.x_train, data.x_test]).flatten(1).numpy()
    reference = bunch.data / (16 if name == "digits" else 1)
    assert np.array_equal(
        rows[np.lexsort(rows.T)], reference[np.lexsort(reference.T)]
    )  # the same rows in another order
    labels = torch.cat([data.y_train, data.y_test])
    assert torch.equal(labels.bincount(), torch.from_numpy(bunch.target).bincount())
    expected = np.bincount(bunch.target) * 0.2
    assert np.abs(data.y_test.bincount().numpy() - expected).max() <= 1


@pytest.mark.parametrize("name", SKLEARN)
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
    small = load_dataset("digits", subset=(20, 20), preprocessing="none")
    large = load_dataset("digits", subset=(20, 20), preprocessing="none", size=28)
    assert small.shape == (1, 8, 8)
    assert large.shape == (1, 28, 28)
    assert (float(small.x_train.min()), float(small.x_train.max())) == (0.0, 1.0)
    reference = torch.nn.functional.interpolate(small.x_test, size=(28, 28), mode="bilinear")
    assert torch.equal(large.x_test, reference)


def test_types_and_shapes():
    data = load_dataset("digits", subset=(100, 50))
    assert (data.x_train.dtype, data.y_train.dtype) == (torch.float32, torch.int64)
    assert [len(x) for x in (data.x_train, data.y_train)] == [100, 100]
    assert [len(x) for x in (data.x_test, data.y_test)] == [50, 50]
    assert data.class_names == tuple("0123456789")
    assert load_dataset("iris", dtype=torch.float64).x_test.dtype == torch.float64


def test_the_seed_chooses_the_subset_and_never_the_test_set():
    first, again, other = (
        load_dataset("wine", subset=60, seed=seed, preprocessing="none") for seed in (5, 5, 6)
    )
    assert torch.equal(first.x_train, again.x_train)
    assert not torch.equal(first.x_train, other.x_train)
    assert torch.equal(first.x_test, other.x_test)


def test_a_subset_keeps_classes_in_proportion():
    data = load_dataset("wine", subset=(71, 18))
    assert data.y_train.bincount().tolist() == [24, 28, 19]  # 142 rows: 47, 57, 38
    assert data.y_test.bincount().tolist() == [6, 7, 5]  # 36 rows: 12, 14, 10


def test_loading_leaves_the_global_generators_alone():
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    load_dataset("cancer", subset=100, seed=3).split_validation(0.2, seed=1)
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
    assert len(info.shape) == (3 if info.is_image else 1)
    assert len(info.class_names) == (0 if name == "tiny_imagenet" else info.n_classes)
    assert len(set(info.class_names)) == len(info.class_names)
    assert info.licence
    assert ("25a1d8e" in info.source) == (name in LEGCNET)


def test_bundled_files_are_the_published_ones_and_their_readme_says_whose_they_are():
    readme = (BUNDLED / "README.md").read_text(encoding="utf-8")
    tables = dict(re.findall(r"\| `(\w+\.csv)\.gz` \|.*`(\w{64})` \|", readme))
    assert tables.keys() == {"binary_cancer.csv", "binary_banknote.csv", "Iris.csv"}
    for file, sha256 in tables.items():
        content = gzip.decompress((BUNDLED / f"{file}.gz").read_bytes())
        assert hashlib.sha256(content).hexdigest() == sha256
    for path in BUNDLED.glob("*.gz"):
        assert path.name in readme
        assert path.read_bytes()[4:8] == bytes(4)  # no time of writing
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 100_000
    assert "creativecommons.org/licenses/by/4.0" in readme
    for name in ("cancer", "banknote", "iris_csv", "iris3f"):
        assert dataset_info(name).licence.startswith("CC BY 4.0")


label_lists = st.lists(st.integers(0, 5), min_size=6, max_size=120)


@st.composite
def labels_and_n(draw):
    labels = np.array(draw(label_lists))
    return labels, draw(st.integers(len(np.unique(labels)), len(labels)))


@settings(max_examples=50, deadline=None)
@given(labels_and_n(), st.integers(0, 2**32 - 1))
def test_exact_count_sorted_distinct_rows_and_every_class(case, seed):
    labels, n = case
    rows = stratified_rows(labels, n, seed=seed)
    assert len(rows) == n
    assert np.all(np.diff(rows) > 0)
    assert rows[0] >= 0
    assert rows[-1] < len(labels)
    assert set(labels[rows]) == set(labels)
    assert np.array_equal(rows, stratified_rows(labels, n, seed=seed))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.data())
def test_quotas_are_the_largest_remainder_split(counts, data):
    counts = np.array(counts)
    n = data.draw(st.integers(len(counts), counts.sum()))
    quotas = class_quotas(counts, n)
    share = n * counts  # over the total, in whole numbers
    total = counts.sum()
    assert quotas.sum() == n
    assert np.all((quotas >= 1) & (quotas <= counts))
    if share.min() >= total:  # no class had to be lifted to one example
        assert np.all(np.abs(quotas * total - share) < total)
        up = quotas > share // total
        if up.any() and (~up).any():
            assert (share % total)[up].min() >= (share % total)[~up].max()


def test_every_row_is_chosen_equally_often():
    labels = np.repeat([0, 1], [30, 10])
    times = np.zeros(40)
    for seed in range(1000):
        times[stratified_rows(labels, 8, seed=seed)] += 1
    # Each row is chosen with probability 8/40: mean 200, standard deviation 12.7 over 1000 draws.
    assert np.abs(times - 200).max() < 5 * 12.7


def random_images(n: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, 5, 4), dtype=np.uint8)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 1000))
def test_scaled_tables_agree_with_scikit_learn_fitted_on_train(n, d, seed):
    generator = np.random.default_rng(seed)
    train = generator.normal(3, 10 ** generator.uniform(-2, 2), (n, d))
    test = generator.normal(0, 1, (7, d))
    before = train.copy()
    ours = scale(train, test, standard=True, dtype=torch.float64)
    reference = StandardScaler().fit(train)
    assert np.allclose(ours[0].numpy(), reference.transform(train), rtol=1e-9, atol=1e-9)
    assert np.allclose(ours[1].numpy(), reference.transform(test), rtol=1e-9, atol=1e-9)
    assert np.array_equal(train, before)  # the input is left as it was


def test_scaled_images_have_zero_mean_and_unit_deviation_per_channel_on_train_only():
    train, test = random_images(200), random_images(50, seed=1) // 2
    x_train, x_test = scale(train, test, standard=True)
    # float32 rounding: each value is off by at most 2e-7, and so is their mean.
    assert torch.allclose(x_train.double().mean((0, 2, 3)), torch.zeros(3).double(), atol=2e-7)
    deviation = x_train.double().std((0, 2, 3), correction=0)
    assert torch.allclose(deviation, torch.ones(3).double(), atol=1e-6)
    pixels = torch.from_numpy(train).double() / 255
    mean = pixels.mean((0, 2, 3)).reshape(-1, 1, 1)
    std = pixels.std((0, 2, 3), correction=0).reshape(-1, 1, 1)
    expected = (torch.from_numpy(test).double() / 255 - mean) / std
    assert torch.allclose(x_test.double(), expected, atol=1e-6)


def test_the_fast_path_of_bytes_agrees_with_the_path_of_floats():
    train, test = random_images(64), random_images(16, seed=1)
    as_bytes = scale(train, test, standard=True, dtype=torch.float64)
    as_floats = scale(train / 255, test / 255, standard=True, dtype=torch.float64)
    for ours, reference in zip(as_bytes, as_floats, strict=True):
        assert torch.allclose(ours, reference, atol=1e-12)


def test_statistics_of_bytes_do_not_depend_on_the_block(monkeypatch):
    images = random_images(50)
    whole = byte_statistics(images)
    monkeypatch.setattr(module, "BLOCK", 100)
    for ours, reference in zip(byte_statistics(images), whole, strict=True):
        assert np.array_equal(ours, reference)


def test_without_scaling_bytes_become_zero_to_one():
    x = np.array([0, 51, 255], dtype=np.uint8).reshape(1, 1, 1, 3)
    assert torch.allclose(scale(x, x, standard=False)[0].flatten(), torch.tensor([0.0, 0.2, 1.0]))


def test_constant_features_are_shifted_and_not_divided():
    table = np.array([[0.1, 1.0], [0.1, 3.0], [0.1, 5.0]])
    x_train, x_test = scale(table, table + 1, standard=True, dtype=torch.float64)
    assert torch.all(x_train[:, 0].abs() < 1e-15)
    assert torch.allclose(x_test[:, 0], torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("value", [0, 7, 63, 254])
@pytest.mark.parametrize("n", [3, 4, 49])  # the mean of n equal values need not be that value
def test_constant_channels_are_shifted_and_not_divided(n, value):
    images = np.full((n, 1, 3, 7), value, dtype=np.uint8)
    x_train, x_test = scale(images, images // 2, standard=True)
    assert torch.all(x_train.abs() < 1e-6)
    assert torch.allclose(x_test, torch.tensor((value // 2 - value) / 255), atol=1e-6)


def test_resizing_agrees_with_torch_and_keeps_the_test_set_out_of_the_statistics():
    train, test = random_images(30), random_images(10, seed=2)
    x_train, _ = scale(train, test, standard=True, size=9)
    again, _ = scale(train, test * 0, standard=True, size=9)
    assert x_train.shape == (30, 3, 9, 9)
    assert torch.equal(x_train, again)
    plain, _ = scale(train, test, standard=False, size=9)
    floats = torch.from_numpy(train).float() / 255
    reference = torch.nn.functional.interpolate(floats, size=(9, 9), mode="bilinear")
    assert torch.equal(plain, reference)


def test_optional_libraries_are_imported_where_used():
    for name in ("data", "images", "sources"):
        body = ast.parse((NETS / f"{name}.py").read_text(encoding="utf-8")).body
        names = {
            alias.name for node in body if isinstance(node, ast.Import) for alias in node.names
        }
        names |= {node.module for node in body if isinstance(node, ast.ImportFrom)}
        heavy = {"datasets", "sklearn", "pooch", "pandas", "pyarrow", "PIL"}
        assert not {name.partition(".")[0] for name in names} & heavy
