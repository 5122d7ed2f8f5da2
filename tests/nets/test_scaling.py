"""Scaling: fitted on the training part alone, exact statistics, no division by zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from causalprune_lib.nets.data import byte_statistics, scale


def random_images(n: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, 5, 4), dtype=np.uint8)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 1000))
def test_tables_agree_with_scikit_learn_fitted_on_train(n, d, seed):
    generator = np.random.default_rng(seed)
    train = generator.normal(3, 10 ** generator.uniform(-2, 2), (n, d))
    test = generator.normal(0, 1, (7, d))
    ours = scale(train, test, standard=True, dtype=torch.float64)
    reference = StandardScaler().fit(train)
    assert np.allclose(ours[0].numpy(), reference.transform(train), rtol=1e-9, atol=1e-9)
    assert np.allclose(ours[1].numpy(), reference.transform(test), rtol=1e-9, atol=1e-9)


def test_images_have_zero_mean_and_unit_deviation_per_channel_on_train_only():
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
    monkeypatch.setattr("causalprune_lib.nets.data.BLOCK", 100)
    for ours, reference in zip(byte_statistics(images), whole, strict=True):
        assert np.array_equal(ours, reference)


def test_without_scaling_bytes_become_zero_to_one():
    x = np.array([0, 51, 255], dtype=np.uint8).reshape(1, 1, 1, 3)
    assert torch.allclose(scale(x, x, standard=False)[0].flatten(), torch.tensor([0.0, 0.2, 1.0]))


def test_constant_features_and_channels_are_not_divided():
    table = np.array([[0.1, 1.0], [0.1, 3.0], [0.1, 5.0]])
    x_train, x_test = scale(table, table + 1, standard=True, dtype=torch.float64)
    assert torch.all(x_train[:, 0].abs() < 1e-15)
    assert torch.allclose(x_test[:, 0], torch.ones(3, dtype=torch.float64))
    images = np.full((4, 1, 2, 2), 7, dtype=np.uint8)
    x_train, _ = scale(images, images, standard=True)
    assert torch.all(x_train.abs() < 1e-7)


def test_resizing_agrees_with_torch_and_keeps_the_test_set_out_of_the_statistics():
    train, test = random_images(30), random_images(10, seed=2)
    x_train, _ = scale(train, test, standard=True, size=9)
    again, _ = scale(train, test * 0, standard=True, size=9)
    assert x_train.shape == (30, 3, 9, 9)
    assert torch.equal(x_train, again)
    plain, _ = scale(train, test, standard=False, size=9)
    reference = torch.nn.functional.interpolate(
        torch.from_numpy(train).float() / 255, size=(9, 9), mode="bilinear"
    )
    assert torch.equal(plain, reference)


def test_nan_is_named_with_its_place():
    table = np.array([[1.0, 2.0], [np.nan, 3.0]])
    with pytest.raises(ValueError, match=r"The data of 'x' must be finite; got 1 NaN.*\(1, 0\)"):
        scale(table, table, standard=True, title="The data of 'x'")


def test_the_input_is_left_as_it_was():
    table = np.array([[1.0, 2.0], [4.0, 3.0]])
    before = table.copy()
    scale(table, table, standard=True, dtype=torch.float64)
    assert np.array_equal(table, before)
