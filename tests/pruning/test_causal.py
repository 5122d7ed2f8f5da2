"""Algorithm 1: what is recorded, what is kept, what is rewound, and what stays zero."""

import copy
import itertools
import math
from dataclasses import replace

import pytest
import torch
from sklearn.base import clone
from torch import nn
from torch.nn.functional import cross_entropy
from toys import blobs, network

from causalprune_lib.causality.scores import CausalScores, released_support, solver_step_sizes
from causalprune_lib.nets.tasks import TASKS
from causalprune_lib.nets.training import Training, train
from causalprune_lib.pruning.causal import (
    CausalPruning,
    causal_unstructured,
    phase_seed,
    record,
    record_scores,
)
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model, masks_of
from causalprune_lib.pruning.scores import magnitude_scores, random_scores
from causalprune_lib.pruning.select import LayerCollapseWarning, masks_from_scores

ADAM = Training(epochs=1, batch_size=20, lr=5e-4, optimizer="adam")
SGD = Training(epochs=2, batch_size=20, lr=0.05)
QUICK = {"n_iter": 3, "pretrain": ADAM, "record": SGD, "posttrain": replace(ADAM, epochs=2)}
ONE = {**QUICK, "n_iter": 1}


def plain(state):
    return {k.replace("_orig", ""): v for k, v in state.items() if not k.endswith("_mask")}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Spied(Training):
    """A training that notes the network before and after."""

    seen: list = []  # noqa: RUF012

    def train(self, model, x, y, **options):
        before = copy.deepcopy(plain(model.state_dict())), masks_of(model), options.get("seed")
        history = super().train(model, x, y, **options)
        if self.epochs:  # not the check before the run
            self.seen.append((*before, copy.deepcopy(plain(model.state_dict()))))
        return history


def spied():
    Spied.seen.clear()
    return {
        name: Spied(**vars(training)) if isinstance(training, Training) else training
        for name, training in QUICK.items()
    }


def test_one_round_is_the_released_rule_on_the_recorded_steps():
    model, data = network(), blobs()
    options = {**ONE, "record": replace(SGD, lr=1e-3)}
    pruning = CausalPruning(amount=0.3, seed=3, **options).fit(model, data)
    # The same by hand: Adam, then plain SGD with every iterate and loss written down.
    twin = clone_model(model)
    common = {"batch_size": 20, "progress": False}
    train(twin, *data, epochs=1, optimizer="adam", lr=5e-4, seed=phase_seed(3, 0), **common)
    assert equal(twin.state_dict(), pruning.rewind_state_)
    weights, losses = [], []

    def note(x, y, loss):
        weights.append([twin[i].weight.detach().double().flatten() for i in (0, 3)])
        losses.append(loss)

    train(twin, *data, epochs=2, lr=1e-3, seed=phase_seed(3, 1), on_batch=note, **common)
    y = torch.tensor(losses).double().diff()
    sizes = solver_step_sizes(len(y))
    assert len(y) == 11 == pruning.rounds_["recorded"][0]
    x = [torch.stack([row[i] for row in weights]).diff(dim=0).square() for i in (0, 1)]
    sums = [(sizes * y) @ part for part in x]
    for part, name in zip(sums, ("0.weight", "3.weight"), strict=True):
        torch.testing.assert_close(
            pruning.scores_[name].flatten().double(), part.abs(), rtol=1e-3, atol=1e-14
        )
    alpha = 0.2 * float(min(part.abs().max() for part in sums) / sizes.sum())
    by_alpha = CausalPruning(alpha=alpha, seed=3, **options).fit(model, data)
    named = dict(zip(("0.weight", "3.weight"), sums, strict=True))
    for name, keep in released_support(named, total_step=float(sizes.sum()), alpha=alpha).items():
        assert torch.equal(by_alpha.masks_[name].flatten(), keep)
        assert 0 < keep.sum() < len(keep)


def test_every_round_starts_from_the_pretrained_weights_to_the_bit():
    model = network()
    before = copy.deepcopy(model.state_dict())
    pruning = CausalPruning(amount=0.7, **spied()).fit(model, blobs())
    starts, masks, seeds, ends = zip(*Spied.seen, strict=True)
    assert seeds == tuple(phase_seed(0, number) for number in range(5))
    assert equal(starts[0], before)
    for start, end in zip(starts[1:], ends[1:], strict=True):
        assert equal(start, ends[0])  # biases too
        assert not equal(end, start)
    assert equal(pruning.rewind_state_, ends[0])
    # Each round trains what the round before has left.
    assert masks[1].amount == 0
    assert list(masks[2:]) == pruning.masks_by_round_
    assert equal(model.state_dict(), before)
    assert masks_of(model).amount == 0
    phases = ["pretrain", *["record"] * 6, "posttrain", "posttrain"]
    assert pruning.history_["phase"].tolist() == phases


def test_seeds_can_be_given_phase_by_phase():
    CausalPruning(amount=0.7, seed=lambda number: 100 + number, **spied()).fit(network(), blobs())
    assert [seed for _, _, seed, _ in Spied.seen] == [100, 101, 102, 103, 104]


@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_amounts_are_exact_and_masks_nested(cubic, scope):
    amounts = [1 - 0.4 ** (r / 3) for r in (1, 2, 3)]  # the schedule that 0.6 stands for
    if cubic:
        amounts = [0.6 * (1 - (1 - r / 3) ** 3) for r in (1, 2, 3)]
    options = {**QUICK, "scope": scope, "floor": 1, "amount": amounts if cubic else 0.6}
    pruning = CausalPruning(**options).fit(network(), blobs())
    for masks, amount in zip(pruning.masks_by_round_, amounts, strict=True):
        if scope == "global":
            assert masks.n_kept == 40 - round(amount * 40)
        else:
            kept = [16 - round(amount * 16), 24 - round(amount * 24)]
            assert masks.counts()["kept"].tolist() == kept
    for wide, narrow in itertools.pairwise(pruning.masks_by_round_):
        assert wide & narrow == narrow
    assert pruning.rounds_["kept"].tolist() == [m.n_kept for m in pruning.masks_by_round_]


def test_amounts_can_be_given_round_by_round_as_numbers_too():
    pruning = CausalPruning(amount=[5, 17], **QUICK).fit(network(), blobs())
    assert [40 - m.n_kept for m in pruning.masks_by_round_] == [5, 17]


def test_an_alpha_gives_nested_masks_whose_size_it_decides():
    kept = []
    scores = record_scores(network(), blobs(), SGD)
    for share in (0.002, 0.2):
        alpha = share * min(scores.alpha_max.values())
        pruning = CausalPruning(alpha=alpha, floor=2, **QUICK).fit(network(), blobs())
        for wide, narrow in itertools.pairwise(pruning.masks_by_round_):
            assert wide & narrow == narrow
        assert pruning.masks_.counts()["kept"].min() >= 2
        kept.append(pruning.masks_.n_kept)
    assert kept[0] > kept[1]


def test_a_ranking_of_ones_own_is_cut_in_the_same_loop():
    losses = []

    def magnitude(model, number, record):
        losses.append(record().losses)
        return magnitude_scores(model)

    def placebo(model, number, record):
        return record(losses=losses[number - 1]).scores["two_batch"].scores()

    ours = CausalPruning(amount=0.6, score=magnitude, **QUICK).fit(network(), blobs())
    twin = network()
    train(twin, *blobs(), **{**vars(ADAM), "patience": None}, seed=phase_seed(0, 0), progress=False)
    train(twin, *blobs(), epochs=2, batch_size=20, lr=0.05, seed=phase_seed(0, 1), progress=False)
    first = masks_from_scores(magnitude_scores(twin), 1 - 0.4 ** (1 / 3))
    assert ours.masks_by_round_[0] == first
    assert len(losses) == 3
    assert all(len(seen) == 12 for seen in losses)
    # With the losses that a run saw itself, the placebo is the released rule in its first round.
    again = CausalPruning(amount=0.6, score=placebo, **QUICK).fit(network(), blobs())
    released = CausalPruning(amount=0.6, **QUICK).fit(network(), blobs())
    assert again.masks_by_round_[0] == released.masks_by_round_[0]
    idle = CausalPruning(amount=0.6, score=lambda model, *_: magnitude_scores(model), **ONE)
    with pytest.raises(RuntimeError, match="must call record once a round; it did 0 times"):
        idle.fit(network(), blobs())


def test_pruned_weights_stay_zero_and_the_others_move():
    post = Training(epochs=2, batch_size=20, lr=0.01, optimizer="adam", weight_decay=0.1)
    pruning = CausalPruning(amount=0.6, **{**QUICK, "posttrain": post}).fit(network(), blobs())
    for name, keep in pruning.masks_.items():
        final = pruning.model_.get_submodule(name.split(".")[0]).weight.detach()
        assert (final[~keep] == 0).all()
        assert (final[keep] != pruning.rewind_state_[name][keep]).all()
    assert masks_of(pruning.model_) == pruning.masks_


@pytest.mark.parametrize("rule", [{"alpha": 1e-6}, {"amount": 0.7}])
def test_weights_that_were_pruned_before_stay_pruned_under_weight_decay_and_floor(rule):
    model = network()
    first = masks_from_scores(random_scores(model, seed=1), 0.5, scope="layer")
    apply_masks(model, first)
    options = {**ONE, "record": replace(SGD, weight_decay=0.5), "floor": 4}
    masks = CausalPruning(**rule, **options).fit(model, blobs()).masks_
    assert masks & first == masks
    assert masks.counts()["kept"].min() >= 4


def test_the_seed_decides_everything_and_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    runs = [CausalPruning(amount=0.6, seed=s, **QUICK).fit(network(), blobs()) for s in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    assert runs[0].masks_ == runs[1].masks_
    assert equal(runs[0].model_.state_dict(), runs[1].model_.state_dict())
    assert not equal(runs[0].scores_, runs[2].scores_)


def test_the_two_changes_of_the_loss_differ_in_the_scores_and_not_in_the_training():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
        model = nn.Sequential(*layers)
    found = {}
    for changes in (["two_batch"], ["same_batch"], ["two_batch", "same_batch"]):
        twin = clone_model(model)
        made = record(twin, blobs(), SGD, changes=changes)
        found["+".join(changes)] = twin.state_dict(), made
    states = [state for state, _ in found.values()]
    assert equal(states[0], states[1])  # statistics and dropout included
    assert equal(states[0], states[2])
    both = found["two_batch+same_batch"][1].scores
    for change in ("two_batch", "same_batch"):
        alone = found[change][1].scores[change]
        assert equal(both[change].scores(), alone.scores())
        assert alone.n_recorded == {"two_batch": 11, "same_batch": 12}[change]
    assert not equal(both["two_batch"].scores(), both["same_batch"].scores())


def test_early_stopping_looks_at_the_validation_split_alone():
    x, y = blobs(120)
    # overshoots, so that the best epoch is not the last
    post = Training(epochs=30, batch_size=20, lr=3.0, patience=2)
    pruning = CausalPruning(amount=0.5, **{**QUICK, "posttrain": post})
    pruning.fit(network(), (x[:80], y[:80]), validation=(x[80:], y[80:]))
    after = pruning.history_.query("phase == 'posttrain'")
    assert after["val_loss"].notna().all()
    assert len(after) == after["epoch"].iloc[after["val_loss"].argmin()] + 2 < 30
    assert pruning.history_.query("phase == 'record'")["val_loss"].isna().all()


def test_masks_survive_a_file(tmp_path):
    pruning = CausalPruning(amount=0.6, **ONE).fit(network(), blobs())
    pruning.masks_.save(tmp_path / "masks.npz")
    assert Masks.load(tmp_path / "masks.npz") == pruning.masks_


@pytest.mark.parametrize("change", ["two_batch", "same_batch"])
def test_another_loss_is_the_one_that_is_recorded(change):
    twice = replace(TASKS["classification"], loss=lambda o, y: 2 * cross_entropy(o, y))
    one = record_scores(network(), blobs(), replace(SGD, lr=0.02), change=change)
    # Half the rate on twice the loss: the same steps, twice the changes of the loss.
    two = record_scores(network(), blobs(), replace(SGD, lr=0.01, task=twice), change=change)
    torch.testing.assert_close(two.sums["0.weight"], 2 * one.sums["0.weight"], rtol=2e-3, atol=1e-9)


def test_it_is_an_estimator_with_few_options_that_can_be_cloned():
    pruning = CausalPruning(amount=0.6, **QUICK)
    assert len(pruning.get_params(deep=False)) <= 12
    twin = clone(pruning).set_params(amount=0.5)
    assert (twin.amount, twin.record, pruning.amount) == (0.5, SGD, 0.6)


# ----- the entry in the manner of torch.nn.utils.prune


def test_the_entry_prunes_at_the_weights_that_the_model_has():
    model, data = network(), blobs()
    before = copy.deepcopy(model.state_dict())
    options = {"data": data, "training": SGD, "scope": "layer"}
    assert causal_unstructured(model, 0.5, **options) is model
    assert equal(plain(model.state_dict()), before)
    assert masks_of(model).counts()["kept"].tolist() == [8, 12]
    first = masks_of(model)
    causal_unstructured(model, 0.75, **options)  # of all weights, those pruned already included
    assert masks_of(model).counts()["kept"].tolist() == [4, 6]
    assert masks_of(model) & first == masks_of(model)
    assert (model[0].weight[~masks_of(model)["0.weight"]] == 0).all()


def test_one_recording_serves_many_amounts_and_an_alpha():
    model, data = network(), blobs()
    scores = record_scores(model, data, SGD)
    masks = []
    for amount in (0.2, 0.5, 7):
        pruned = causal_unstructured(clone_model(model), amount, importance_scores=scores)
        masks.append(masks_of(pruned))
        assert masks[-1] == masks_from_scores(scores.scores(), amount)
    alpha = 0.3 * min(scores.alpha_max.values())
    pruned = causal_unstructured(clone_model(model), alpha=alpha, importance_scores=scores)
    assert masks_of(pruned) == Masks(scores.support(alpha))
    like = causal_unstructured(
        clone_model(model), importance_scores=scores, scope="like", like=masks[1]
    )
    assert masks_of(like).counts().equals(masks[1].counts())


def test_an_alpha_that_empties_a_layer_warns_and_a_floor_saves_it():
    scores = record_scores(network(), blobs(), SGD)
    low = min(scores.alpha_max, key=scores.alpha_max.get)
    alpha = 1.01 * scores.alpha_max[low]
    with pytest.warns(LayerCollapseWarning, match=low):
        causal_unstructured(network(), alpha=alpha, importance_scores=scores)
    saved = causal_unstructured(network(), alpha=alpha, importance_scores=scores, floor=3)
    assert int(masks_of(saved)[low].sum()) == 3


# ----- input that cannot work


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "alpha or amount"),
        ({"alpha": 1e-9, "amount": 0.5}, "alpha or amount"),
        ({"alpha": 0.0}, "alpha must be a finite number > 0"),
        ({"alpha": 1e-9, "scope": "layer"}, "alpha is one line for all layers"),
        ({"alpha": math.nan}, "alpha must be a finite number > 0"),
        ({"amount": 1.0}, r"amount must be in \[0, 1\)"),
        ({"amount": 100}, r"amount must be in \[0, 1\)"),
        ({"amount": [0.5, 0.2]}, "at least the 20 weights that are pruned already"),
        ({"amount": 0.5, "scope": "layers"}, "Did you mean 'layer'"),
        ({"amount": 0.5, "score": "move"}, "score must be one of"),
        ({"amount": 0.5, "change": "samebatch"}, "Did you mean 'same_batch'"),
        ({"amount": 0.5, "n_iter": 0}, "n_iter"),
        ({"amount": 0.9, "floor": 0.5}, "at most 0.5"),
        ({"amount": 0.5, "record": replace(SGD, lr=-1.0)}, "lr"),
        ({"amount": 0.5, "posttrain": replace(ADAM, optimizer="adamw")}, "Did you mean 'adam'"),
        ({"amount": 0.5, "record": Training(1, 500)}, "at least 2 steps .* got 1"),
    ],
)
def test_what_cannot_work_fails_before_the_training(options, words, monkeypatch):
    steps = []
    monkeypatch.setattr(torch.optim.Adam, "step", lambda *a, **k: steps.append(1))  # pretraining
    with pytest.raises(ValueError, match=words):
        CausalPruning(**{**QUICK, **options}).fit(network(), blobs())
    assert steps == []


def test_the_entry_says_what_is_missing_or_too_much():
    scores = random_scores(network(), seed=0)
    for options, words in [
        ({"amount": 0.5}, "data must be given"),
        ({"data": blobs()}, "amount or alpha"),
        ({"data": blobs(), "amount": 0.5, "alpha": 1.0}, "alpha decides"),
        ({"data": blobs(), "alpha": 1.0, "scope": "layer"}, "alpha is one line for all layers"),
        ({"data": blobs(), "amount": 0.5, "scope": "layers"}, "Did you mean 'layer'"),
    ]:
        with pytest.raises(ValueError, match=words):
            causal_unstructured(network(), **options)
    with pytest.raises(TypeError, match="nothing is recorded"):
        causal_unstructured(network(), 0.5, importance_scores=scores, data=blobs())
    with pytest.raises(TypeError, match="alpha needs CausalScores"):
        causal_unstructured(network(), alpha=0.5, importance_scores=scores)
    with pytest.raises(TypeError, match="pair"):
        record_scores(network(), blobs()[0])
    with pytest.raises(TypeError, match="record must be a Training; got dict"):
        CausalPruning(amount=0.5, **{**QUICK, "record": {"lr": 0.1}}).fit(network(), blobs())
    assert isinstance(record_scores(network(), blobs(), SGD), CausalScores)
