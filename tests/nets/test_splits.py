"""Stratified choices: exact counts, every class in proportion, the same rows for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalprune_lib.nets.data import class_quotas, complement, stratified_rows

label_lists = st.lists(st.integers(0, 5), min_size=6, max_size=120)


@st.composite
def labels_and_n(draw):
    labels = np.array(draw(label_lists))
    return labels, draw(st.integers(len(np.unique(labels)), len(labels)))


@settings(max_examples=100, deadline=None)
@given(labels_and_n(), st.integers(0, 2**32 - 1))
def test_exact_count_sorted_distinct_rows_and_every_class(case, seed):
    labels, n = case
    rows = stratified_rows(labels, n, seed=seed)
    assert len(rows) == n
    assert np.all(np.diff(rows) > 0)
    assert rows[0] >= 0
    assert rows[-1] < len(labels)
    assert set(labels[rows]) == set(labels)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.data())
def test_quotas_are_the_largest_remainder_split(counts, data):
    counts = np.array(counts)
    n = data.draw(st.integers(len(counts), counts.sum()))
    quotas = class_quotas(counts, n)
    share = n * counts / counts.sum()
    assert quotas.sum() == n
    assert np.all((quotas >= 1) & (quotas <= counts))
    if share.min() >= 1:  # no class had to be lifted to one example
        assert np.all(np.abs(quotas - share) < 1)
        up = quotas > np.floor(share)
        fraction = share - np.floor(share)
        if up.any() and (~up).any():
            assert fraction[up].min() >= fraction[~up].max() - 1e-9


def test_equal_classes_give_equal_counts():
    labels = np.repeat(np.arange(10), 30)
    rows = stratified_rows(labels, 100, seed=3)
    assert np.array_equal(np.bincount(labels[rows]), np.full(10, 10))


def test_same_seed_same_rows_and_another_seed_other_rows():
    labels = np.arange(400) % 4
    first = stratified_rows(labels, 40, seed=7)
    assert np.array_equal(first, stratified_rows(labels, 40, seed=7))
    assert not np.array_equal(first, stratified_rows(labels, 40, seed=8))


def test_every_row_is_chosen_equally_often():
    labels = np.repeat([0, 1], [30, 10])
    times = np.zeros(40)
    for seed in range(2000):
        times[stratified_rows(labels, 8, seed=seed)] += 1
    # Each row is chosen with probability 8/40: mean 400, standard deviation 17.9 over 2000 draws.
    assert np.abs(times - 400).max() < 5 * 17.9


@pytest.mark.parametrize(("n", "message"), [(5, "at most 4"), (1, "at least 2"), (0, ">= 1")])
def test_impossible_numbers_are_named(n, message):
    with pytest.raises(ValueError, match=f"subset must be {message}"):
        stratified_rows(np.array([0, 0, 1, 1]), n, seed=0, name="subset")


def test_a_number_that_is_not_whole_is_refused():
    with pytest.raises(TypeError, match="subset must be a whole number"):
        stratified_rows(np.array([0, 1]), 1.5, seed=0, name="subset")


def test_complement_is_what_is_left():
    assert complement(np.array([1, 3]), 5).tolist() == [0, 2, 4]
