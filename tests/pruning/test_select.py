"""`masks_from_scores`: exact counts, nesting, floors and matching counts, with ties everywhere."""

import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.prune import _compute_nparams_toprune

from causalprune_lib._random import own_stream
from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.select import masks_from_scores, random_masks_like

pytestmark = pytest.mark.filterwarnings(
    "ignore::causalprune_lib.pruning.select.LayerCollapseWarning"
)
TIED = np.array([-np.inf, -1.0, -0.0, 0.0, 0.0, 1.0, np.inf])


def tied(sizes, seed):
    """Scores of layers of these sizes, drawn from few values."""
    rng = np.random.default_rng(seed)
    return {f"layer{i}": torch.from_numpy(rng.choice(TIED, n)) for i, n in enumerate(sizes)}


SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=4)
SEED = st.integers(0, 10**6)
SCORES = st.builds(tied, SIZES, SEED)
AMOUNT = st.floats(0, 1)
FLOOR = st.one_of(st.integers(0, 4), st.floats(0, 0.5))
QUICK = settings(max_examples=25, deadline=None)


def size(scores):
    return sum(s.numel() for s in scores.values())


def least(floor, n):
    return min(floor, n) if isinstance(floor, int) else int(np.ceil(round(floor * n, 6)))


def greedy(scores, k, floors):
    """The slow way: walk up the stable order, skip whatever would break a layer's floor."""
    flat = torch.cat(list(scores.values())).numpy()
    layer = np.repeat(np.arange(len(scores)), [s.numel() for s in scores.values()])
    kept = np.ones(len(flat), bool)
    for i in np.argsort(flat, kind="stable"):
        if k and kept[layer == layer[i]].sum() > floors[layer[i]]:
            kept[i], k = False, k - 1
    return kept.tolist()


@QUICK
@given(scores=SCORES, amount=AMOUNT, floor=FLOOR)
def test_global_masks_are_the_greedy_walk_or_the_largest_amount_is_named(scores, amount, floor):
    floors = [least(floor, s.numel()) for s in scores.values()]
    n = size(scores)
    k, most = round(amount * n), n - sum(floors)
    if k <= most:
        masks = masks_from_scores(scores, amount, floor=floor)
        assert masks.n - masks.n_kept == k
        assert masks_from_scores(scores, k, floor=floor) == masks
        assert masks.flat().tolist() == greedy(scores, k, floors)
    else:
        with pytest.raises(ValueError, match="at most") as caught:
            masks_from_scores(scores, amount, floor=floor)
        largest = float(re.search(r"at most ([\d.e-]+) ", str(caught.value))[1])
        allowed = masks_from_scores(scores, largest, floor=floor)
        assert allowed.n - allowed.n_kept == most
    plain = masks_from_scores(scores, amount)
    assert plain.flat().tolist() == greedy(scores, k, [0] * len(scores))


@QUICK
@given(scores=SCORES, amount=AMOUNT, floor=FLOOR)
def test_layer_counts_are_exact_up_to_the_floor(scores, amount, floor):
    masks = masks_from_scores(scores, amount, scope="layer", floor=floor)
    for name, s in scores.items():
        kept = max(s.numel() - round(amount * s.numel()), least(floor, s.numel()))
        assert masks[name].tolist() == greedy({name: s}, s.numel() - kept, [0])


@QUICK
@given(
    scores=SCORES,
    amounts=st.lists(AMOUNT, min_size=2, max_size=4).map(sorted),
    scope=st.sampled_from(["global", "layer"]),
    floor=FLOOR,
)
def test_masks_of_growing_amounts_are_nested_with_ties_and_floors(scores, amounts, scope, floor):
    floors = sum(least(floor, s.numel()) for s in scores.values())
    possible = 1 if scope == "layer" else (size(scores) - floors) / size(scores)
    masks = [masks_from_scores(scores, min(a, possible), scope=scope, floor=floor) for a in amounts]
    for wide, narrow in itertools.pairwise(masks):
        assert wide & narrow == narrow


@QUICK
@given(sizes=SIZES, first=AMOUNT, more=AMOUNT, floor=FLOOR, seed=SEED)
def test_within_counts_what_was_pruned_before_and_revives_nothing(sizes, first, more, floor, seed):
    scores, second = tied(sizes, seed), tied(sizes, seed + 1)
    before = masks_from_scores(scores, first)
    k = before.n - before.n_kept
    total = k + round(more * before.n_kept)
    after = masks_from_scores(second, total, within=before)
    assert after.n - after.n_kept == total
    assert masks_from_scores(second, total / before.n, within=before) == after
    assert after & before == after
    alive = before.flat()
    among = {"left": torch.cat([*second.values()])[alive]}
    assert after.flat()[alive].tolist() == greedy(among, total - k, [0])
    if k:
        with pytest.raises(ValueError, match=f"at least the {k} weights that are pruned already"):
            masks_from_scores(second, k - 1, within=before)
    even = masks_from_scores(scores, first, scope="layer")
    layers = masks_from_scores(second, max(first, more), scope="layer", floor=floor, within=even)
    for name, n in zip(scores, sizes, strict=True):
        left = int(even[name].sum())
        expected = max(n - round(max(first, more) * n), min(least(floor, n), left))
        assert int(layers[name].sum()) == expected
    like = masks_from_scores(second, scope="like", like=after, within=before)
    assert like & before == like
    assert like.counts().equals(after.counts())


@QUICK
@given(sizes=SIZES, seed=SEED)
def test_like_takes_over_the_count_of_every_layer_and_keeps_the_best(sizes, seed):
    scores = tied(sizes, seed)
    like = Masks({name: s > 0 for name, s in tied(sizes, seed + 1).items()})
    masks = masks_from_scores(scores, scope="like", like=like)
    assert masks.counts().equals(like.counts())
    for name, s in scores.items():
        assert masks[name].tolist() == greedy({name: s}, int((~like[name]).sum()), [0])
    random = random_masks_like(like, seed=seed)
    assert random.counts().equals(like.counts())
    drawn = torch.rand(like.n, generator=own_stream(seed, "random masks"))  # committed rows' stream
    assert random == masks_from_scores(like.layout.unflatten(drawn), scope="like", like=like)


def test_random_masks_like_others_depend_on_the_seed_alone():
    like = Masks({"a": torch.arange(40) < 10, "b": torch.arange(30) < 20})
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = random_masks_like(like, seed=1)
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is not touched
    torch.rand(3)
    assert random_masks_like(like, seed=1) == first
    assert random_masks_like(like, seed=2) != first != like


def test_half_a_weight_is_rounded_to_even_as_in_torch():
    for n in range(1, 40):
        scores = {"w": torch.arange(float(n))}
        for amount in (0.05, 0.25, 0.5, 0.75, 0.9):
            masks = masks_from_scores(scores, amount)
            assert masks.n - masks.n_kept == _compute_nparams_toprune(amount, n)


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64]
)
def test_scores_of_any_real_type_are_ranked(dtype):
    scores = {"w": torch.tensor([0, 1, 1, 0, 1]).to(dtype)}
    assert masks_from_scores(scores, 2)["w"].tolist() == [False, True, True, False, True]


def test_scores_of_mixed_types_and_large_integers_keep_their_order():
    scores = {"a": torch.tensor([2**30, 2**30 + 1]), "b": torch.tensor([2.0**30 + 0.5])}
    masks = masks_from_scores(scores, 2)
    assert masks.flat().tolist() == [False, True, False]


def test_infinite_scores_have_a_rank():
    scores = {"w": torch.tensor([torch.inf, 0.0, -torch.inf])}
    assert masks_from_scores(scores, 1)["w"].tolist() == [True, True, False]
    assert masks_from_scores(scores, 2)["w"].tolist() == [True, False, False]


def test_scores_with_a_graph_leave_no_graph_and_are_not_changed():
    score = torch.tensor([1.0, float("nan")], requires_grad=True)
    masks_from_scores({"w": score}, 0.5, nan="prune")
    assert score.isnan().tolist() == [False, True]
    assert score.grad is None
