"""The neighbour search against the definition: all pairs, one after another, in float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causalprune_lib.dynamics import neighbours as ranks
from causalprune_lib.dynamics.neighbours import (
    GPU_BLOCK as BLOCK,
)
from causalprune_lib.dynamics.neighbours import (
    KEPT_BYTES,
    BlockSearch,
    Buffers,
    NeighbourSearch,
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


SEARCHES = {
    "chosen": NeighbourSearch,
    "blocks": lambda **options: BlockSearch(**options, memory=Buffers()),
}


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("ties", ["first", "last"])
@pytest.mark.parametrize("skip_zero", [False, True])
@pytest.mark.parametrize("levels", [None, 4, 40])
def test_equals_all_pairs_ties_included(search, ties, skip_zero, levels):
    for dim, lag, theiler, length in itertools.product((1, 2, 4), (1, 3), (0, 1, 6), (20, 90)):
        options = {"n_points": length - (dim - 1) * lag - 2, "dim": dim, "lag": lag}
        options |= {"theiler": theiler, "ties": ties}
        x = series(length, 4, levels=levels)
        index, squared = SEARCHES[search](**options)(x, skip_zero=skip_zero)
        right_index, right_squared = all_pairs(x, **options, skip_zero=skip_zero)
        assert torch.equal(squared, right_squared), options
        found = right_squared < torch.inf
        assert torch.equal(index[found], right_index[found]), options


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
    search = NeighbourSearch(**options)
    for skip_zero in (False, True):
        index, squared = search(x, skip_zero=skip_zero)
        right_index, right_squared = all_pairs(x, **options, skip_zero=skip_zero)
        assert torch.equal(squared, right_squared)
        found = right_squared < torch.inf
        assert torch.equal(index[found], right_index[found])


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
    skip_zero = draw(st.booleans())
    # All vectors side by side, then one by one from the first or the third stride on.
    many, at_once = draw(st.sampled_from([0.0, 0.2, 0.9, 1.0])), draw(st.integers(1, 9))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "MANY", many)
        patch.setattr(ranks, "TILE_BYTES", at_once * 8 * ranks.BLOCK * n_points)
        index, squared = NeighbourSearch(**options)(x, skip_zero=skip_zero)
    right_index, right_squared = all_pairs(x, **options, skip_zero=skip_zero)
    assert torch.equal(squared, right_squared)
    found = right_squared < torch.inf
    assert torch.equal(index[found], right_index[found])


def test_few_ranks_settle_nearly_all_vectors(monkeypatch):
    looks = []

    class Spy(ranks.Tile):
        def _compare_few(self, left, reach, skip_zero):
            looks.append((reach, len(left)))
            super()._compare_few(left, reach, skip_zero)

    monkeypatch.setattr(ranks, "Tile", Spy)
    noise = torch.randn(195, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for x, most in ((noise, 3), (noise.cumsum(0), 1)):
        looks.clear()
        NeighbourSearch(n_points=194, dim=2, lag=1, theiler=1)(x)
        ((reach, n_left),) = looks
        assert reach <= most * ranks.BLOCK
        assert n_left <= ranks.MANY * 194 * 50


@pytest.mark.parametrize("ties", ["first", "last"])
def test_the_farthest_apart_in_time_among_many_blocks(ties):
    n_points = 256 * BLOCK + 20
    options = {"n_points": n_points, "dim": 1, "lag": 1, "theiler": 0, "ties": ties}
    x = series(n_points, 1, levels=None)
    x[-1] = x[0] + 1e-9  # nearest to each other, and the farthest apart in time
    right_index, right_squared = all_pairs(x, **options, skip_zero=False)
    for name in ("chosen", "blocks"):
        index, squared = SEARCHES[name](**options)(x, skip_zero=False)
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


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("flat", [False, True])
def test_the_promised_memory_covers_what_is_held(dim, flat):
    memory, by_blocks = Buffers(), Buffers()
    options = {"n_points": 194, "dim": dim, "lag": 2, "theiler": 1}
    search = NeighbourSearch(**options, memory=memory)
    blocks = BlockSearch(**options, ties="first", memory=by_blocks)
    x = series(198, 1000, levels=None)
    x = torch.ones_like(x) if flat else x
    search(x)
    tile = (6 + dim) * ranks.TILE_BYTES  # however many the series
    assert memory.nbytes <= 1000 * search.bytes_per_series(x.device) + tile
    blocks(x[:, :100])
    assert by_blocks.nbytes <= 100 * blocks.bytes_per_series
    assert search.bytes_per_series(torch.device("cuda")) == blocks.bytes_per_series


def test_spare_memory_is_used_again_and_bounded():
    cpu, like = torch.device("cpu"), torch.empty(0)
    with spare_buffers(cpu) as one, spare_buffers(cpu) as other:
        assert one is not other  # two at work at the same time
        one.get("x", like, 10)
    with spare_buffers(cpu) as huge:
        huge.get("x", like, KEPT_BYTES // 8 + 1)
    with spare_buffers(cpu) as next_one:
        assert next_one is not huge


def test_buffers_of_two_types_or_parts_share_no_memory():
    memory, like = Buffers(), torch.empty(0)
    whole = memory.get("x", like, 4, dtype=torch.int64).fill_(7)
    memory.get("x", like, 4).fill_(1.0)
    memory.part("other").get("x", like, 4, dtype=torch.int64).fill_(2)
    assert whole.tolist() == [7] * 4
    assert memory.part("other") is memory.part("other")
    assert memory.nbytes == 3 * 32
