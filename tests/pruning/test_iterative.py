"""Rounds of pruning: schedules, nesting, rewinding to the bit, and the controls."""

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from causalprune_lib._random import seeded
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.iterative import (
    amount_schedule,
    lottery_ticket,
    rewind,
)
from causalprune_lib.pruning.masks import apply_masks, masks_of, remove_masks
from causalprune_lib.pruning.scores import magnitude_scores, random_scores
from causalprune_lib.pruning.select import masks_from_scores, random_masks_like


def network(seed=0):
    with seeded(seed):
        return nn.Sequential(
            nn.Linear(10, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 3, bias=True)
        )


class Trainer:
    """A training function that remembers what it was given."""

    def __init__(self, steps=8):
        self.steps, self.masks, self.starts = steps, [], []

    def __call__(self, model):
        self.masks.append(masks_of(model))
        self.starts.append(copy.deepcopy(model.state_dict()))
        generator = torch.Generator().manual_seed(len(self.masks))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=0.01)
        for _ in range(self.steps):
            x = torch.randn(32, 10, generator=generator)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), x[:, :3].argmax(1)).backward()
            optimizer.step()
        return f"run {len(self.masks)}"


def plain(state):
    return {k.replace("_orig", ""): v for k, v in state.items() if not k.endswith("_mask")}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@settings(max_examples=50, deadline=None)
@given(final=st.floats(0, 0.999), rounds=st.integers(1, 12))
def test_a_schedule_prunes_an_equal_fraction_of_what_remains(final, rounds):
    amounts = amount_schedule(final, rounds)
    assert len(amounts) == rounds
    assert amounts[-1] == final
    left = [1.0, *(1 - a for a in amounts)]
    ratios = [b / a for a, b in itertools.pairwise(left)]
    assert ratios == pytest.approx([(1 - final) ** (1 / rounds)] * rounds, rel=1e-9)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_rounds_are_nested_exact_and_rewound_to_the_bit(scope):
    model, trainer = network(), Trainer()
    trainer(model)  # a late start: the state to rewind to is not the initial one
    start = copy.deepcopy(model.state_dict())
    trainer(model)
    trainer.masks, trainer.starts = [], []
    amounts = amount_schedule(0.9, 4)
    rounds = lottery_ticket(model, trainer, amounts=amounts, rewind_to=start, scope=scope)
    n = 260
    assert [r.number for r in rounds] == [1, 2, 3, 4]
    assert [r.training for r in rounds] == ["run 1", "run 2", "run 3", "run 4"]
    for r, amount in zip(rounds, amounts, strict=True):
        if scope == "global":
            assert r.masks.n - r.masks.n_kept == round(amount * n)
        else:
            pruned = [200 - round(amount * 200), 60 - round(amount * 60)]
            assert r.masks.counts()["kept"].tolist() == pruned
        assert r.amount == r.masks.amount
    for wide, narrow in itertools.pairwise(rounds):
        assert wide.masks & narrow.masks == narrow.masks
    # Each later round trained the ticket of the round before, from the state given, to the bit:
    # biases, BatchNorm's parameters and its running statistics included.
    assert trainer.masks[1:] == [r.masks for r in rounds[:-1]]
    for state in (*trainer.starts[1:], model.state_dict()):
        assert equal(plain(state), start)
    assert masks_of(model) == rounds[-1].masks
    expected = start["0.weight"] * rounds[-1].masks["0.weight"]
    assert torch.equal(model[0].weight, expected)  # what the next forward pass starts from


def test_the_state_is_copied_so_a_live_state_dict_may_be_given():
    model = network()
    before = copy.deepcopy(model.state_dict())
    lottery_ticket(model, Trainer(), amounts=[0.5, 0.8], rewind_to=model.state_dict())
    assert equal(plain(model.state_dict()), before)


def test_ranking_is_of_the_trained_weights_and_of_the_survivors():
    model = network()
    seen = []

    def score(m):
        seen.append(ParameterLayout.of(m).flatten(m))
        return magnitude_scores(m)

    rounds = lottery_ticket(
        model, Trainer(), amounts=[0.4, 0.7], rewind_to=model.state_dict(), score_fn=score
    )
    for before, weights, r in zip((None, rounds[0].masks), seen, rounds, strict=True):
        alive = weights.bool() if before is None else before.flat()
        keep = r.masks.flat()
        assert weights[keep].abs().min() >= weights[alive & ~keep].abs().max()


def test_scores_of_pruned_weights_do_not_matter():
    # Scores that would revive everything, or that are not defined any more.
    model = network()
    masks = masks_from_scores(random_scores(model, seed=0), 0.5)
    apply_masks(model, masks)

    def score(m):
        values = random_scores(m, seed=1)
        return {k: v.masked_fill(~masks[k], float("nan")) for k, v in values.items()}

    (last,) = lottery_ticket(
        model, Trainer(1), amounts=[0.75], rewind_to=model.state_dict(), score_fn=score
    )
    assert last.masks & masks == last.masks
    assert last.masks.n_kept == 65


def test_a_callable_gives_the_state_of_each_round_and_none_does_not_rewind():
    model, trainer = network(), Trainer()
    fresh = {number: network(seed=number).state_dict() for number in (1, 2)}
    lottery_ticket(model, trainer, amounts=[0.5, 0.7], rewind_to=lambda number: fresh[number])
    assert equal(plain(trainer.starts[1]), fresh[1])
    assert equal(plain(model.state_dict()), fresh[2])
    model, trainer = network(), Trainer()
    (first, _) = lottery_ticket(model, trainer, amounts=[0.5, 0.7], rewind_to=None)
    layout = ParameterLayout.of(model)
    kept = first.masks.flat()
    start, resumed = (layout.flatten(plain(state)) for state in trainer.starts)
    assert (start[kept] != resumed[kept]).all()


@pytest.mark.filterwarnings("ignore::causalprune_lib.pruning.select.LayerCollapseWarning")
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), amount=st.floats(0, 1))
def test_a_random_ticket_has_the_counts_of_the_ticket(seed, amount):
    masks = masks_from_scores(magnitude_scores(network()), amount)
    ticket = random_masks_like(masks, seed=seed)
    assert ticket.counts().equals(masks.counts())
    assert random_masks_like(masks, seed=seed) == ticket
    if 0.2 < amount < 0.8:
        assert random_masks_like(masks, seed=seed + 1) != ticket


@pytest.mark.parametrize("masked_then", [False, True])
@pytest.mark.parametrize("masked_now", [False, True])
def test_rewind_works_whether_masked_then_or_now(masked_then, masked_now):
    model = network()
    masks = masks_from_scores(magnitude_scores(model), 0.5)
    if masked_then:
        apply_masks(model, masks)
    state = copy.deepcopy(model.state_dict())
    Trainer()(model)
    if masked_now:
        masks = masks & masks_from_scores(random_scores(model, seed=0), 0.5)
        apply_masks(model, masks)
    elif masked_then:
        remove_masks(model)
    parameters = dict(model.named_parameters())
    assert rewind(model, state) is model
    assert equal(plain(model.state_dict()), plain(state))
    assert all(p is parameters[name] for name, p in model.named_parameters())
    assert masks_of(model) == masks if masked_now else masks_of(model).amount == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"amounts": []}, "at least one amount"),
        ({"amounts": [0.8, 0.5]}, "at least the 208 weights that are pruned already; got 0.5"),
        ({"amounts": [0.5, 1.2]}, r"\[0, 1\]"),
        ({"amounts": [10, 300]}, "at most the 260 weights"),
        ({"amounts": [0.5, 0.9], "floor": 0.2}, r"at most 0\.8 \(208 of 260 weights\)"),
        ({"amounts": [100], "scope": "layer"}, "60 weights of layer '3.weight'"),
        ({"amounts": [0.5], "scope": "like"}, "scope"),
        ({"amounts": [0.2, 0.5], "masked": 0.3}, "at least the 78 weights"),
        ({"amounts": [0.5], "drop": "1.bias"}, "'1.bias', which is missing"),
        ({"amounts": [0.5], "add": "1.biass"}, "Did you mean '1.bias'"),
        ({"amounts": [0.5], "shape": "1.bias"}, "shape"),
        ({"amounts": [0.5], "double": "1.bias"}, r"torch\.float32, as in the model"),
    ],
)
def test_what_cannot_work_fails_before_any_training(options, words):
    model, trainer = network(), Trainer()
    state = copy.deepcopy(model.state_dict())
    if "masked" in options:
        amount = options.pop("masked")
        apply_masks(model, masks_from_scores(magnitude_scores(model), amount))
    if "drop" in options:
        del state[options.pop("drop")]
    if "add" in options:
        state[options.pop("add")] = torch.zeros(20)
    if "shape" in options:
        state[options.pop("shape")] = torch.zeros(19)
    if "double" in options:
        state[options.pop("double")] = torch.zeros(20).double()
    with pytest.raises(ValueError, match=words):
        lottery_ticket(model, trainer, rewind_to=state, **options)
    assert trainer.masks == []


def test_a_model_or_a_tensor_is_no_state():
    for wrong in (network(), torch.ones(3)):
        with pytest.raises(TypeError, match="state dict"):
            lottery_ticket(network(), Trainer(), amounts=[0.5], rewind_to=wrong)
    with pytest.raises(ValueError, match="final"):
        amount_schedule(1.0, 3)
    with pytest.raises(ValueError, match="rounds"):
        amount_schedule(0.5, 0)
