"""Algorithm 1: what is recorded, what is kept, what is rewound, and what stays zero."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from toys import blobs, network

from causalprune_lib.causality.scores import released_support, solver_step_sizes
from causalprune_lib.nets.data import load_dataset
from causalprune_lib.nets.training import train
from causalprune_lib.pruning.causal import CausalPruning, cubic_schedule, phase_seed, record_scores
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model, masks_of
from causalprune_lib.pruning.scores import random_scores
from causalprune_lib.pruning.select import masks_from_scores

SHORT = {"n_pre": 1, "n_iter": 3, "n_prune": 2, "n_post": 2, "batch_size": 20, "progress": False}
QUICK = {**SHORT, "prune": {"lr": 0.05}}


def plain(state):
    return {k.replace("_orig", ""): v for k, v in state.items() if not k.endswith("_mask")}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Spy:
    """The library's loop, with a look at the network before and after each phase."""

    def __init__(self):
        self.phases, self.before, self.after, self.masks = [], [], [], []

    def __call__(self, model, phase):
        self.phases.append(phase)
        self.before.append(copy.deepcopy(plain(model.state_dict())))
        self.masks.append(masks_of(model))
        recording = phase.kind == "record"

        def on_batch(x, y, loss):
            if not recording:
                return
            if phase.loss == "two_batch":
                phase.scores.log(loss=loss)
            else:
                phase.scores.batch(x, y)

        history = train(
            model,
            *phase.data,
            epochs=phase.epochs,
            batch_size=20,
            seed=phase.seed,
            on_batch=on_batch,
            progress=False,
            **({"lr": 0.05} if recording else {"optimizer": "adam", "lr": 5e-4}),
        )
        self.after.append(copy.deepcopy(plain(model.state_dict())))
        return history


def test_one_round_is_the_released_rule_on_the_recorded_steps():
    model, data = network(), blobs()
    options = {**SHORT, "n_iter": 1}
    pruning = CausalPruning(alpha=0.2, relative=True, seed=3, **options).fit(model, data)
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
    for i, name in enumerate(("0.weight", "3.weight")):
        x = torch.stack([row[i] for row in weights]).diff(dim=0).square()
        sums = (sizes * y) @ x
        torch.testing.assert_close(
            pruning.scores_[name].flatten().double(), sums.abs(), rtol=1e-3, atol=1e-14
        )
        highest = float(sums.abs().max() / sizes.sum())
        assert pruning.alpha_max_[name] == pytest.approx(highest, rel=1e-3)
        keep = released_support(x, y, alpha=0.2 * highest, step_sizes=sizes)
        assert torch.equal(pruning.masks_[name].flatten(), keep)
        assert 0 < keep.sum() < len(keep)


def test_every_round_starts_from_the_pretrained_weights_to_the_bit():
    model, spy = network(), Spy()
    before = copy.deepcopy(model.state_dict())
    pruning = CausalPruning(amount=0.7, train_fn=spy, **QUICK).fit(model, blobs())
    assert [p.kind for p in spy.phases] == ["pretrain", *["record"] * 3, "posttrain"]
    assert [p.number for p in spy.phases] == [0, 1, 2, 3, 4]
    assert len({p.seed for p in spy.phases}) == 5
    assert equal(spy.before[0], before)
    assert not equal(spy.after[0], before)
    for start, end in zip(spy.before[1:], spy.after[1:], strict=True):
        assert equal(start, spy.after[0])  # biases too
        assert not equal(end, start)
    assert equal(pruning.rewind_state_, spy.after[0])
    # Each round trains what the round before has left.
    assert spy.masks[1].amount == 0
    assert spy.masks[2:] == pruning.masks_by_round_
    assert equal(model.state_dict(), before)
    assert masks_of(model).amount == 0


def test_a_loop_of_ones_own_gives_the_same_bits_as_the_library_s():
    theirs = CausalPruning(amount=0.7, train_fn=Spy(), **QUICK).fit(network(), blobs())
    ours = CausalPruning(amount=0.7, **QUICK).fit(network(), blobs())
    assert ours.masks_by_round_ == theirs.masks_by_round_
    assert equal(ours.scores_, theirs.scores_)
    assert equal(ours.model_.state_dict(), theirs.model_.state_dict())
    columns = ["phase", "number", "epoch", "train_loss"]
    assert ours.history_[columns].equals(theirs.history_[columns])
    assert len(ours.history_) == 1 + 3 * 2 + 2


@pytest.mark.parametrize("schedule", ["geometric", "cubic"])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_amounts_are_exact_and_masks_nested(schedule, scope):
    options = {**QUICK, "schedule": schedule, "scope": scope, "floor": 1}
    pruning = CausalPruning(amount=0.6, **options).fit(network(), blobs())
    amounts = {
        "geometric": [1 - 0.4 ** (r / 3) for r in (1, 2, 3)],
        "cubic": [0.6 * (1 - (1 - r / 3) ** 3) for r in (1, 2, 3)],
    }[schedule]
    for masks, amount in zip(pruning.masks_by_round_, amounts, strict=True):
        if scope == "global":
            assert masks.n_kept == 40 - round(amount * 40)
        else:
            kept = [16 - round(amount * 16), 24 - round(amount * 24)]
            assert masks.counts()["kept"].tolist() == kept
    for wide, narrow in itertools.pairwise(pruning.masks_by_round_):
        assert wide & narrow == narrow
    assert pruning.rounds_["kept"].tolist() == [m.n_kept for m in pruning.masks_by_round_]
    assert cubic_schedule(0.6, 3) == pytest.approx(
        [0.6 * (1 - (1 - r / 3) ** 3) for r in (1, 2, 3)]
    )


def test_an_alpha_gives_nested_masks_whose_size_it_decides():
    kept = []
    for alpha in (0.002, 0.2):
        options = {"alpha": alpha, "relative": True, "floor": 2}
        pruning = CausalPruning(**options, **QUICK).fit(network(), blobs())
        for wide, narrow in itertools.pairwise(pruning.masks_by_round_):
            assert wide & narrow == narrow
        kept.append(pruning.masks_.n_kept)
    assert kept[0] > kept[1]


def test_pruned_weights_stay_zero_and_the_others_move():
    post = {"lr": 0.01, "weight_decay": 0.1}
    pruning = CausalPruning(amount=0.6, post=post, **QUICK).fit(network(), blobs())
    for name, keep in pruning.masks_.items():
        final = pruning.model_.get_submodule(name.split(".")[0]).weight.detach()
        assert (final[~keep] == 0).all()
        assert (final[keep] != pruning.rewind_state_[name][keep]).all()
    assert masks_of(pruning.model_) == pruning.masks_


def test_weights_that_were_pruned_before_stay_pruned_under_weight_decay_and_floor():
    model = network()
    first = masks_from_scores(random_scores(model, seed=1), 0.5, scope="layer")
    apply_masks(model, first)
    decayed = {"lr": 0.05, "weight_decay": 0.5}
    options = {**SHORT, "prune": decayed, "n_iter": 1, "floor": 4}
    for rule in ({"alpha": 0.9, "relative": True}, {"amount": 0.7}):
        masks = CausalPruning(**rule, **options).fit(model, blobs()).masks_
        assert masks & first == masks
        assert masks.counts()["kept"].min() >= 4


def test_the_seed_decides_everything_and_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    runs = [
        CausalPruning(amount=0.6, seed=seed, **QUICK).fit(network(), blobs()) for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    assert runs[0].masks_ == runs[1].masks_
    assert equal(runs[0].model_.state_dict(), runs[1].model_.state_dict())
    assert not equal(runs[0].scores_, runs[2].scores_)


def test_the_two_losses_differ_in_the_scores_and_not_in_the_training():
    def normed():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
        )

    with torch.random.fork_rng():
        model = normed()
    runs, spies = [], []
    for loss in ("two_batch", "same_batch"):
        spies.append(Spy())
        run = CausalPruning(amount=0.5, loss=loss, train_fn=spies[-1], **{**QUICK, "n_iter": 1})
        runs.append(run.fit(model, blobs()))
    assert equal(spies[0].after[1], spies[1].after[1])  # statistics and dropout included
    assert not equal(runs[0].scores_, runs[1].scores_)
    assert [run.rounds_["recorded"][0] for run in runs] == [11, 12]
    ours = CausalPruning(amount=0.5, loss="same_batch", **{**QUICK, "n_iter": 1}).fit(
        model, blobs()
    )
    assert equal(ours.scores_, runs[1].scores_)


def test_an_absolute_alpha_makes_no_difference_between_layers_and_network():
    top = CausalPruning(amount=0.5, **QUICK).fit(network(), blobs()).alpha_max_
    alpha = 0.1 * min(top.values())
    runs = [
        CausalPruning(alpha=alpha, scope=scope, **{**QUICK, "n_iter": 1}).fit(network(), blobs())
        for scope in ("layer", "global")
    ]
    assert runs[0].masks_ == runs[1].masks_
    assert 0 < runs[0].masks_.amount < 1


def test_a_relative_alpha_is_a_share_of_each_layer_s_or_of_the_network_s_alpha_max():
    model, data = network(), blobs()
    options = {**QUICK, "n_iter": 1}
    layer = CausalPruning(alpha=0.3, relative=True, **options).fit(model, data)
    top = layer.alpha_max_
    explicit = CausalPruning(alpha={k: 0.3 * v for k, v in top.items()}, **options)
    assert explicit.fit(model, data).masks_ == layer.masks_
    whole = {"scope": "global", "floor": 1}
    network_wide = CausalPruning(alpha=0.3, relative=True, **whole, **options).fit(model, data)
    explicit = CausalPruning(alpha=0.3 * max(top.values()), **whole, **options)
    assert explicit.fit(model, data).masks_ == network_wide.masks_


def test_early_stopping_looks_at_a_part_of_the_training_examples_alone():
    data = load_dataset("iris")
    spy = Spy()
    with torch.random.fork_rng():
        model = nn.Linear(4, 3)
    options = {**QUICK, "patience": 2, "validation_fraction": 0.25}
    CausalPruning(amount=0.5, train_fn=spy, **options).fit(model, data)
    for phase in spy.phases:
        rows = torch.cat([phase.data[0], phase.validation[0]])
        assert len(phase.validation[0]) == 30
        key = lambda x: sorted(map(tuple, x.tolist()))  # noqa: E731
        assert key(rows) == key(data.x_train)
    pair = (data.x_train, data.y_train)
    post = {"optimizer": "sgd", "lr": 3.0}  # overshoots, so that the best epoch is not the last
    options |= {"n_post": 30, "post": post}
    pruning = CausalPruning(amount=0.5, **options).fit(model, pair)
    after = pruning.history_.query("phase == 'posttrain'")
    assert after["val_loss"].notna().all()
    assert len(after) == after["epoch"][after["val_loss"].idxmin()] + 2 < 30
    assert pruning.history_.query("phase == 'record'")["val_loss"].isna().all()
    given = CausalPruning(amount=0.5, train_fn=(spy := Spy()), **options)
    given.fit(model, pair, validation=(data.x_test, data.y_test))
    assert spy.phases[0].validation[0] is data.x_test
    assert len(spy.phases[0].data[0]) == len(data.x_train)


def test_masks_survive_a_file(tmp_path):
    pruning = CausalPruning(amount=0.6, **QUICK).fit(network(), blobs())
    pruning.masks_.save(tmp_path / "masks.npz")
    assert Masks.load(tmp_path / "masks.npz") == pruning.masks_


def test_another_loss_function_is_the_one_that_is_recorded():
    twice = lambda outputs, y: 2 * cross_entropy(outputs, y)  # noqa: E731
    model, data = network(), blobs()
    common = {"epochs": 2, "batch_size": 20}
    for loss in ("two_batch", "same_batch"):
        one = record_scores(model, data, lr=0.02, loss=loss, **common).sums["0.weight"]
        # Half the rate on twice the loss: the same steps, twice the changes of the loss.
        two = record_scores(model, data, lr=0.01, loss=loss, criterion=twice, **common)
        torch.testing.assert_close(two.sums["0.weight"], 2 * one, rtol=2e-3, atol=1e-9)
