"""The neighbour search against the definition: all pairs, one after another, in float64."""

from __future__ import annotations

import itertools

import pytest
import torch

from causalprune_lib.dynamics.neighbours import BLOCK, NeighbourSearch, search_bytes


def all_pairs(x, *, n_points, dim, lag, theiler, ties, skip_zero):
    """Index and squared distance of the nearest vector, from the full matrix of distances."""
    vectors = [x[c * lag : c * lag + n_points] for c in range(dim)]
    squared = (vectors[0][:, None] - vectors[0][None]) ** 2  # (M, M, B)
    for vector in vectors[1:]:
        squared = squared + (vector[:, None] - vector[None]) ** 2
    time = torch.arange(n_points)
    squared[(time[:, None] - time).abs() <= theiler] = torch.inf
    if skip_zero:
        squared[squared == 0] = torch.inf
    smallest = squared.amin(1)
    is_nearest = (squared == smallest[:, None]).to(torch.uint8)
    if ties == "first":
        return is_nearest.argmax(1), smallest
    return n_points - 1 - is_nearest.flip(1).argmax(1), smallest


def series(length: int, n_series: int, *, levels: int | None, seed: int = 0) -> torch.Tensor:
    """Uniform noise (W, B), rounded to `levels` values so that ties and repeats abound."""
    random = torch.Generator().manual_seed(seed)
    x = torch.rand(length, n_series, generator=random, dtype=torch.float64)
    return x if levels is None else (x * levels).round() / levels


@pytest.mark.parametrize("ties", ["first", "last"])
@pytest.mark.parametrize("skip_zero", [False, True])
@pytest.mark.parametrize("levels", [None, 4, 40])
def test_equals_all_pairs_ties_included(ties, skip_zero, levels):
    for dim, lag, theiler, length in itertools.product((1, 2, 4), (1, 3), (0, 1, 6), (20, 90)):
        settings = {"n_points": length - (dim - 1) * lag - 2, "dim": dim, "lag": lag}
        settings |= {"theiler": theiler, "ties": ties}
        x = series(length, 4, levels=levels)
        index, squared = NeighbourSearch(**settings)(x, skip_zero=skip_zero)
        right_index, right_squared = all_pairs(x, **settings, skip_zero=skip_zero)
        assert torch.equal(squared, right_squared), settings
        found = right_squared < torch.inf
        assert torch.equal(index[found], right_index[found]), settings


@pytest.mark.parametrize("ties", ["first", "last"])
def test_more_blocks_than_one_byte_counts(ties):
    n_points = 256 * BLOCK + 20
    settings = {"n_points": n_points, "dim": 1, "lag": 1, "theiler": 0, "ties": ties}
    x = series(n_points, 1, levels=None)
    x[-1] = x[0] + 1e-9  # nearest to each other, and the farthest apart in time
    index, squared = NeighbourSearch(**settings)(x)
    right_index, right_squared = all_pairs(x, **settings, skip_zero=False)
    assert torch.equal(squared, right_squared)
    assert torch.equal(index, right_index)
    assert index[0] == n_points - 1 > 255 * BLOCK


def test_batches_of_changing_size_do_not_see_each_other():
    search = NeighbourSearch(n_points=40, dim=2, lag=1, theiler=0)
    for n_series in (5, 2, 9, 1, 5):
        x = series(41, n_series, levels=6, seed=n_series)
        once = NeighbourSearch(n_points=40, dim=2, lag=1, theiler=0)(x)
        assert all(map(torch.equal, search(x), once))


@pytest.mark.parametrize("theiler", [0, 3])
def test_a_vector_without_any_neighbour_is_at_infinity(theiler):
    x = torch.ones(30, 2, dtype=torch.float64)
    search = NeighbourSearch(n_points=30, dim=1, lag=1, theiler=theiler, ties="last")
    index, squared = search(x, skip_zero=True)
    assert bool((squared == torch.inf).all())
    assert index.shape == (30, 2)


def test_the_promised_memory_covers_what_is_held():
    search = NeighbourSearch(n_points=194, dim=3, lag=2, theiler=1)
    search(series(198, 10, levels=None))
    held = search._buffer.__self__._held.values()
    assert sum(tensor.nbytes for tensor in held) <= 10 * search_bytes(194, 4)
