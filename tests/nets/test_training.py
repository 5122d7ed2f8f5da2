"""`train`: its arithmetic, its seeds, its state and its history."""

import copy

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import prune
from toys import blobs, network, quiet, weights

from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.nets.models import MLP
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.training import Training, evaluate, train

# ----- the steps


@pytest.mark.parametrize(
    ("options", "make"),
    [
        ({"lr": 0.3}, lambda p: torch.optim.SGD(p, lr=0.3)),
        ({}, lambda p: torch.optim.SGD(p, lr=0.1)),
        (
            {"momentum": 0.9, "weight_decay": 0.01},
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
        ),
        ({"optimizer": "adam"}, lambda p: torch.optim.Adam(p, lr=0.001)),
        (
            {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.1},
            lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
        ),
    ],
)
def test_the_loop_is_the_one_a_reader_would_write(options, make):
    x, y = blobs(50)
    model = MLP([2, 5, 3])
    twin = copy.deepcopy(model)
    history = quiet(model, x, y, seed=4, epochs=3, **options)

    optimizer, generator, losses = make(twin.parameters()), torch.Generator().manual_seed(4), []
    for _ in range(3):
        order = torch.randperm(50, generator=generator)
        total = 0.0
        for rows in order.split(20):
            optimizer.zero_grad()
            loss = cross_entropy(twin(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / 50)
    assert torch.equal(weights(model), weights(twin))
    assert history.frame["train_loss"].tolist() == losses


def test_full_batch_descent_finds_the_optimum_of_a_convex_loss():
    x, y = blobs()
    model = nn.Linear(2, 3, bias=False)
    decay = 0.1
    quiet(model, x, y, epochs=300, batch_size=len(x), lr=0.5, weight_decay=decay)
    # Mean loss + decay / 2 * |w|^2 is scikit-learn's objective at C = 1 / (N decay).
    fit = LogisticRegression(C=1 / (len(x) * decay), fit_intercept=False, tol=1e-8)
    fit.fit(x.double().numpy(), y.numpy())
    np.testing.assert_allclose(model.weight.detach(), fit.coef_, atol=1e-5)


# ----- seeds and state


def test_the_same_seed_gives_the_same_weights_to_the_last_bit_dropout_included():
    x, y = blobs()
    results = []
    for noise, seed in ((1, 7), (2, 7), (3, 8)):
        model = network()
        torch.manual_seed(noise)  # what happened before must not matter
        history = quiet(model, x, y, seed=seed, momentum=0.9)
        results.append((weights(model), history.frame["train_loss"].tolist()))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert not torch.equal(results[0][0], results[2][0])


def test_the_global_generator_is_left_as_it_was():
    x, y = blobs()
    state = torch.get_rng_state()
    quiet(network(), x, y)
    assert torch.equal(torch.get_rng_state(), state)


def test_validating_changes_nothing_in_training():
    x, y = blobs()
    model, twin = network(), network()
    quiet(model, x, y)
    quiet(twin, x, y, validation=blobs(30, seed=1))
    assert torch.equal(weights(model), weights(twin))


def test_modes_of_every_part_are_put_back():
    x, y = blobs()
    model = network().train()
    model[2].eval()  # a part that its owner has frozen
    quiet(model, x, y)
    evaluate(model, x, y)
    assert [m.training for m in model.modules()] == [True, True, True, False, True]
    with pytest.raises(FloatingPointError):
        quiet(model, x, y, lr=1e30)
    assert [m.training for m in model.modules()] == [True, True, True, False, True]


def test_zero_epochs_change_nothing():
    x, y = blobs()
    model = network()
    before = weights(model)
    history = quiet(model, x, y, epochs=0)
    assert torch.equal(weights(model), before)
    assert len(history.frame) == 0
    assert not history.stopped_early


def test_frozen_parameters_stay():
    x, y = blobs()
    model = network()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    quiet(model, x, y, weight_decay=0.1)
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_pruned_weights_stay_zero_and_are_current_after_training(optimizer):
    x, y = blobs()
    model = network()
    quiet(model, x, y)  # so that pruning meets trained weights
    prune.l1_unstructured(model[0], "weight", amount=7)
    momentum = 0.9 if optimizer == "sgd" else 0.0
    quiet(model, x, y, optimizer=optimizer, momentum=momentum, weight_decay=0.1)
    layer = model[0]
    assert int((layer.weight == 0).sum()) == 7
    # torch.nn.utils.prune alone would leave the weight of one step ago here.
    assert torch.equal(layer.weight, layer.weight_orig * layer.weight_mask)


# ----- the history


def test_history_is_tidy():
    x, y = blobs()
    history = quiet(network(), x, y, epochs=3, validation=blobs(30, 1))
    names = ["epoch", "train_loss", "val_loss", "val_accuracy", "seconds"]
    assert list(history.frame) == names
    assert history.frame["epoch"].tolist() == [1, 2, 3]
    assert (history.frame["seconds"] > 0).all()


def test_without_validation_there_is_no_best_epoch():
    history = quiet(network(), *blobs())
    assert history.best_epoch is None
    assert history.frame[["val_loss", "val_accuracy"]].isna().all(axis=None)


def test_every_batch_is_announced_with_its_loss_before_its_step():
    x, y = blobs(50)
    model, seen = MLP([2, 4, 3]), []

    def check(x_batch, y_batch, loss):
        assert float(cross_entropy(model(x_batch), y_batch).detach()) == loss
        seen.append((len(x_batch), loss))

    history = quiet(model, x, y, epochs=1, on_batch=check)
    sizes, losses = zip(*seen, strict=True)
    assert sizes == (20, 20, 10)
    weighted = np.average(losses, weights=sizes)
    assert history.frame["train_loss"][0] == pytest.approx(weighted, rel=1e-12)


def test_a_trajectory_can_be_recorded_while_training():
    x, y = blobs(50)
    model = MLP([2, 4, 3])
    start, losses = ParameterLayout.of(model).flatten(model), []
    with TrajectoryRecorder(model) as recorder:

        def log(x_batch, y_batch, loss):
            recorder.log(loss=loss)
            losses.append(loss)

        quiet(model, x, y, epochs=2, on_batch=log)
    walk = recorder.trajectory()
    assert torch.equal(walk.at(0), start)
    assert torch.equal(walk.at(6), ParameterLayout.of(model).flatten(model))
    np.testing.assert_allclose(walk.loss_before[1:], losses, rtol=1e-6)


def test_validation_columns_are_those_of_evaluate():
    x, y = blobs()
    val = blobs(31, seed=1)
    model = network()
    history = quiet(model, x, y, validation=val)
    judged = evaluate(model, *val)
    assert history.frame["val_loss"].iloc[-1] == judged.loss
    assert history.frame["val_accuracy"].iloc[-1] == judged.accuracy


def test_without_shuffling_the_examples_come_as_they_stand():
    x, y = blobs(50)
    seen = []
    quiet(network(), x, y, epochs=2, shuffle=False, on_batch=lambda x, y, loss: seen.append(x))
    assert torch.equal(torch.cat(seen), torch.cat([x, x]))


def test_a_training_is_the_options_of_train():
    x, y = blobs()
    model, twin = network(), network()
    Training(epochs=2, batch_size=20, lr=0.05, momentum=0.5, patience=3).train(model, x, y, seed=1)
    quiet(twin, x, y, epochs=2, lr=0.05, momentum=0.5, seed=1)
    assert torch.equal(weights(model), weights(twin))
    assert Training(epochs=3, batch_size=20).n_steps(50) == 9


def test_the_bar_shows_the_batches(capsys):
    train(network(), *blobs(12), epochs=2, batch_size=6)
    assert "4/4" in capsys.readouterr().err
    quiet(network(), *blobs(12))
    assert capsys.readouterr().err == ""
