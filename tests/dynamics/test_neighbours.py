"""The neighbour search against the definition: all pairs, one after another, in float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causalprune_lib.dynamics import neighbours
from causalprune_lib.dynamics.neighbours import (
    AT_ONCE,
    KEPT_BYTES,
    MANY,
    SLAB,
    TILE_BYTES,
    Buffers,
    NeighbourSearch,
    in_chunks,
    spare_buffers,
)


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


def search_on_gpu(x, n_points, *, skip_zero, **options):
    """The search of a GPU, made on this machine's CPU."""
    return NeighbourSearch(n_points, **options)._compare_all(x, skip_zero)


def search(x, n_points, *, skip_zero, **options):
    return NeighbourSearch(n_points, **options)(x, skip_zero=skip_zero)


def check_equal(find, x, **options):
    """Index and squared distance of all that have a neighbour are those of the definition."""
    index, squared = find(x, **options)
    right_index, right_squared = all_pairs(x, **options)
    assert torch.equal(squared, right_squared), options
    found = right_squared < torch.inf
    assert torch.equal(index[found], right_index[found]), options


@pytest.mark.parametrize("find", [search, search_on_gpu])
@pytest.mark.parametrize("ties", ["first", "last"])
@pytest.mark.parametrize("skip_zero", [False, True])
@pytest.mark.parametrize("levels", [None, 4, 40])
def test_equals_all_pairs_ties_included(find, ties, skip_zero, levels):
    for dim, lag, theiler, length in itertools.product((1, 2, 4), (1, 3), (0, 1, 6), (20, 90)):
        options = {"n_points": length - (dim - 1) * lag - 2, "dim": dim, "lag": lag}
        options |= {"theiler": theiler, "ties": ties, "skip_zero": skip_zero}
        check_equal(find, series(length, 4, levels=levels), **options)


@pytest.mark.parametrize("ties", ["first", "last"])
@pytest.mark.parametrize("n_points", [250, 300])  # with the Theiler window: around one byte
@pytest.mark.parametrize("kind", ["walk", "settled", "repeated"])
def test_walks_and_flat_stretches_equal_all_pairs(kind, n_points, ties):
    options = {"n_points": n_points, "dim": 2, "lag": 1, "theiler": 5, "ties": ties}
    x = series(n_points + 1, 6, levels=None).cumsum(0)
    if kind == "settled":
        x[n_points // 3 :] = 1.0  # far more vectors of one rank than are looked at
    if kind == "repeated":
        x = x.round()
    for skip_zero in (False, True):
        check_equal(search, x, **options, skip_zero=skip_zero)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_settings_tiles_and_strides_equal_all_pairs(data):
    draw = data.draw
    dim, lag, theiler = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(0, 9))
    n_points, n_series = draw(st.integers(2, 70)), draw(st.integers(1, 9))
    options = {"n_points": n_points, "dim": dim, "lag": lag, "theiler": theiler}
    options["ties"] = draw(st.sampled_from(["first", "last"]))
    levels = draw(st.sampled_from([None, 1, 3, 30]))
    x = series(n_points + (dim - 1) * lag, n_series, levels=levels, seed=draw(st.integers(0, 99)))
    if draw(st.booleans()):
        x = x.cumsum(0)
    options["skip_zero"] = draw(st.booleans())
    # All vectors side by side, then one by one from the first or the third stride on.
    many, at_once = draw(st.sampled_from([0.0, 0.2, 0.9, 1.0])), draw(st.integers(1, 9))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "MANY", many)
        patch.setattr(neighbours, "TILE_BYTES", at_once * 8 * AT_ONCE * n_points)
        check_equal(search, x, **options)


def test_few_places_settle_nearly_all_vectors(monkeypatch):
    looks = []

    class Spy(neighbours._Tile):
        def _compare_few(self, left, reach, skip_zero):
            looks.append((reach, len(left)))
            super()._compare_few(left, reach, skip_zero)

    monkeypatch.setattr(neighbours, "_Tile", Spy)
    noise = torch.randn(195, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for x, most in ((noise, 3), (noise.cumsum(0), 1)):
        looks.clear()
        NeighbourSearch(194, dim=2, lag=1, theiler=1)(x)
        ((reach, n_left),) = looks
        assert reach <= most * AT_ONCE
        assert n_left <= MANY * 194 * 50


@pytest.mark.parametrize("find", [search, search_on_gpu])
@pytest.mark.parametrize("ties", ["first", "last"])
def test_the_farthest_apart_in_time_are_met(find, ties):
    n_points = 2 * SLAB + 20
    x = series(n_points, 1, levels=None)
    x[-1] = x[0] + 1e-9  # nearest to each other, and the farthest apart in time
    options = {"n_points": n_points, "dim": 1, "lag": 1, "theiler": 0, "ties": ties}
    check_equal(find, x, **options, skip_zero=False)
    assert find(x, **options, skip_zero=False)[0][0] == n_points - 1


def test_batches_of_changing_size_do_not_see_each_other():
    search = NeighbourSearch(40, dim=2, lag=1, theiler=0)
    for n_series in (5, 2, 9, 1, 5):
        x = series(41, n_series, levels=6, seed=n_series)
        once = NeighbourSearch(40, dim=2, lag=1, theiler=0)(x)
        assert all(map(torch.equal, search(x), once))


@pytest.mark.parametrize("theiler", [0, 3])
def test_a_vector_without_any_neighbour_is_at_infinity(theiler):
    x = torch.ones(30, 2, dtype=torch.float64)
    search = NeighbourSearch(30, dim=1, lag=1, theiler=theiler, ties="last")
    index, squared = search(x, skip_zero=True)
    assert bool((squared == torch.inf).all())
    assert index.shape == (30, 2)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("flat", [False, True])
def test_the_promised_memory_covers_what_is_held(dim, flat):
    memory = Buffers()
    search = NeighbourSearch(194, dim=dim, lag=2, theiler=1, memory=memory)
    x = series(198, 1000, levels=None)
    x = torch.ones_like(x) if flat else x
    search(x)
    tile = (6 + dim) * TILE_BYTES  # however many the series
    assert memory.nbytes <= 1000 * search.bytes_per_series(x.device) + tile


def test_spare_memory_is_used_again_and_bounded():
    like = torch.empty(0)
    with spare_buffers() as one, spare_buffers() as other:
        assert one is not other  # two at work at the same time
        one.get("x", like, 10)
    with spare_buffers() as again:
        assert again in (one, other)
        again.get("x", like, KEPT_BYTES // 8 + 1)
    with spare_buffers() as next_one:
        assert next_one is not again


def test_buffers_of_two_names_or_types_share_no_memory():
    memory, like = Buffers(), torch.empty(0)
    whole = memory.get("x", like, 4, dtype=torch.int64).fill_(7)
    memory.get("y", like, 4).fill_(1.0)
    assert memory.get("x", like, 2, dtype=torch.int64).tolist() == [7] * 2
    memory.get("x", like, 4).fill_(1.0)
    assert whole.tolist() == [7] * 4


def test_no_series_at_all_are_no_work():
    def work(spans):
        raise AssertionError(spans)

    for chunk_bytes in (None, 1):
        in_chunks(work, 0, bytes_each=8, chunk_bytes=chunk_bytes, device=torch.device("cpu"))
