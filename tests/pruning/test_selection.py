"""`masks_from_scores`: exact counts, nesting, floors and matching counts, with ties everywhere."""

import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.select import lowest, masks_from_scores

pytestmark = pytest.mark.filterwarnings(
    "ignore::causalprune_lib.pruning.select.LayerCollapseWarning"
)
TIED = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.0, 1.0, np.inf])
SCORES = st.lists(st.lists(TIED, min_size=1, max_size=12), min_size=1, max_size=4).map(
    lambda layers: {f"layer{i}": torch.tensor(x) for i, x in enumerate(layers)}
)
AMOUNT = st.floats(0, 1)
FLOOR = st.one_of(st.integers(0, 4), st.floats(0, 0.5))
QUICK = settings(max_examples=80, deadline=None)


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
@given(scores=SCORES, amount=AMOUNT)
def test_global_counts_are_exact_under_ties_and_follow_the_stable_order(scores, amount):
    masks = masks_from_scores(scores, amount)
    k = round(amount * size(scores))
    assert masks.n - masks.n_kept == k
    assert masks_from_scores(scores, k) == masks
    assert masks.flat().tolist() == greedy(scores, k, [0] * len(scores))


@QUICK
@given(scores=SCORES, amount=AMOUNT, floor=FLOOR)
def test_layer_counts_are_exact_up_to_the_floor(scores, amount, floor):
    masks = masks_from_scores(scores, amount, scope="layer", floor=floor)
    for name, s in scores.items():
        expected = max(s.numel() - round(amount * s.numel()), least(floor, s.numel()))
        assert int(masks[name].sum()) == expected


@QUICK
@given(scores=SCORES, amount=AMOUNT, floor=FLOOR)
def test_global_floor_equals_the_greedy_walk_or_names_the_largest_amount(scores, amount, floor):
    floors = [least(floor, s.numel()) for s in scores.values()]
    k, n = round(amount * size(scores)), size(scores)
    if k <= n - sum(floors):
        masks = masks_from_scores(scores, amount, floor=floor)
        assert masks.flat().tolist() == greedy(scores, k, floors)
    else:
        with pytest.raises(ValueError, match="at most") as caught:
            masks_from_scores(scores, amount, floor=floor)
        largest = float(re.search(r"at most ([\d.e-]+) ", str(caught.value))[1])
        allowed = masks_from_scores(scores, largest, floor=floor)
        assert allowed.n - allowed.n_kept == n - sum(floors)


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
@given(scores=SCORES, data=st.data())
def test_like_takes_over_the_count_of_every_layer(scores, data):
    like = Masks(
        {
            name: torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
            for name, n in ((name, s.numel()) for name, s in scores.items())
        }
    )
    masks = masks_from_scores(scores, scope="like", like=like)
    assert masks.counts().equals(like.counts())
    for name, s in scores.items():  # and within a layer the best are kept
        if 0 < masks[name].sum() < s.numel():
            assert s[masks[name]].min() >= s[~masks[name]].max()


@QUICK
@given(scores=SCORES, first=AMOUNT, more=AMOUNT, floor=FLOOR, data=st.data())
def test_within_keeps_pruned_weights_pruned_and_the_total_exact(scores, first, more, floor, data):
    values = data.draw(st.lists(TIED, min_size=size(scores), max_size=size(scores)))
    second = dict(
        zip(scores, torch.tensor(values).split([s.numel() for s in scores.values()]), strict=True)
    )
    before = masks_from_scores(scores, first)
    remaining = masks_from_scores(second, more, within=before, amount_of="remaining")
    assert remaining & before == remaining
    assert remaining.n_kept == before.n_kept - round(more * before.n_kept)
    k = before.n - remaining.n_kept
    assert masks_from_scores(second, k, within=before) == remaining
    layers = masks_from_scores(
        second, more, within=before, amount_of="remaining", scope="layer", floor=floor
    )
    for name, s in scores.items():
        r = int(before[name].sum())
        expected = max(r - round(more * r), min(least(floor, s.numel()), r))
        assert int(layers[name].sum()) == expected
    like = masks_from_scores(second, scope="like", like=remaining, within=before)
    assert like & before == like
    assert like.counts().equals(remaining.counts())


@QUICK
@given(values=st.lists(TIED, min_size=1, max_size=30), data=st.data())
def test_lowest_is_the_head_of_a_stable_sort(values, data):
    k = data.draw(st.integers(0, len(values)))
    values = torch.tensor(values)
    head = torch.zeros(len(values), dtype=torch.bool)
    head[values.argsort(stable=True)[:k]] = True
    assert torch.equal(lowest(values, k), head)


def test_half_a_weight_is_rounded_to_even_as_in_torch():
    from torch.nn.utils.prune import _compute_nparams_toprune

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


def test_scores_with_a_graph_leave_no_graph_and_are_not_changed():
    score = torch.tensor([1.0, float("nan")], requires_grad=True)
    masks_from_scores({"w": score}, 0.5, nan="prune")
    assert score.isnan().tolist() == [False, True]
    assert score.grad is None
