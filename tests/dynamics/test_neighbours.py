"""The neighbour search against the definition: all pairs, one after another, in float64."""

from __future__ import annotations

import itertools

import pytest
import torch

from causalprune_lib.dynamics.blocks import BLOCK, BlockSearch
from causalprune_lib.dynamics.buffers import KEPT_BYTES, Buffers, spare_buffers
from causalprune_lib.dynamics.neighbours import NeighbourSearch
from causalprune_lib.dynamics.ranks import RankedSearch


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


class RanksThenAll:
    """What `NeighbourSearch` does where ranks settle most vectors, here however many are left."""

    def __init__(self, **settings):
        self.ranked = RankedSearch(**settings, memory=Buffers())

    def __call__(self, x, *, skip_zero):
        index = torch.full((self.ranked.n_points, x.shape[1]), -1)
        squared = torch.full(index.shape, torch.nan, dtype=x.dtype)
        left = self.ranked(x, index, squared, skip_zero=skip_zero)
        self.ranked.compare_with_all(x, left, index, squared, skip_zero=skip_zero)
        return index, squared


SEARCHES = {
    "chosen": NeighbourSearch,
    "ranks": RanksThenAll,
    "blocks": lambda **settings: BlockSearch(**settings, memory=Buffers()),
}


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("ties", ["first", "last"])
@pytest.mark.parametrize("skip_zero", [False, True])
@pytest.mark.parametrize("levels", [None, 4, 40])
def test_equals_all_pairs_ties_included(search, ties, skip_zero, levels):
    for dim, lag, theiler, length in itertools.product((1, 2, 4), (1, 3), (0, 1, 6), (20, 90)):
        settings = {"n_points": length - (dim - 1) * lag - 2, "dim": dim, "lag": lag}
        settings |= {"theiler": theiler, "ties": ties}
        x = series(length, 4, levels=levels)
        index, squared = SEARCHES[search](**settings)(x, skip_zero=skip_zero)
        right_index, right_squared = all_pairs(x, **settings, skip_zero=skip_zero)
        assert torch.equal(squared, right_squared), settings
        found = right_squared < torch.inf
        assert torch.equal(index[found], right_index[found]), settings


@pytest.mark.parametrize("ties", ["first", "last"])
@pytest.mark.parametrize("n_points", [250, 300])  # with the Theiler window: around one byte
@pytest.mark.parametrize("kind", ["walk", "settled", "repeated"])
def test_walks_and_flat_stretches_equal_all_pairs(kind, n_points, ties):
    settings = {"n_points": n_points, "dim": 2, "lag": 1, "theiler": 5, "ties": ties}
    x = series(n_points + 1, 6, levels=None).cumsum(0)
    if kind == "settled":
        x[n_points // 3 :] = 1.0  # far more vectors of one rank than are looked at
    if kind == "repeated":
        x = x.round()
    search = NeighbourSearch(**settings)
    assert search.ranked.promising
    for skip_zero in (False, True):
        index, squared = search(x, skip_zero=skip_zero)
        right_index, right_squared = all_pairs(x, **settings, skip_zero=skip_zero)
        assert torch.equal(squared, right_squared)
        found = right_squared < torch.inf
        assert torch.equal(index[found], right_index[found])


def test_ranks_settle_nearly_all_vectors_of_a_walk():
    ranked = RankedSearch(n_points=194, dim=2, lag=1, theiler=1, ties="first", memory=Buffers())
    noise = torch.randn(195, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    index = torch.zeros(194, 50, dtype=torch.int64)
    squared = torch.zeros(194, 50, dtype=torch.float64)
    for x, most in ((noise, 0.15), (noise.cumsum(0), 0.08)):
        assert len(ranked(x, index, squared, skip_zero=False)) < most * index.numel()


@pytest.mark.parametrize("ties", ["first", "last"])
def test_more_blocks_than_one_byte_counts(ties):
    n_points = 256 * BLOCK + 20
    settings = {"n_points": n_points, "dim": 1, "lag": 1, "theiler": 0, "ties": ties}
    x = series(n_points, 1, levels=None)
    x[-1] = x[0] + 1e-9  # nearest to each other, and the farthest apart in time
    right_index, right_squared = all_pairs(x, **settings, skip_zero=False)
    for name in ("chosen", "blocks"):
        index, squared = SEARCHES[name](**settings)(x)
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


@pytest.mark.parametrize("dim", [2, 3])  # with ranks, and by blocks
@pytest.mark.parametrize("flat", [False, True])  # by blocks too, where ranks fail
def test_the_promised_memory_covers_what_is_held(dim, flat):
    memory = Buffers()
    search = NeighbourSearch(n_points=194, dim=dim, lag=2, theiler=1, memory=memory)
    x = series(198, 100, levels=None)
    search(torch.ones_like(x) if flat else x)
    assert search.ranked.promising == (dim == 2)
    beyond = 3 * 8 * 2**17 * 198 / 194  # what comparing with all takes, however many the series
    assert memory.nbytes <= 100 * search.bytes_per_series + beyond


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
