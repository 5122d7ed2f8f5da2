"""Early stopping: on the validation split, with the best weights put back."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn.utils import prune
from toys import blobs, network, quiet, weights

from causalprune_lib.nets.models import build_model
from causalprune_lib.nets.tasks import TASKS
from causalprune_lib.nets.training import Training, evaluate


def test_patience_stops_and_puts_the_best_weights_back():
    x, y = blobs(60)
    val = blobs(60, seed=1)
    model = build_model("mlp", shape=(2,), n_classes=3, hidden=[30])
    twin = copy.deepcopy(model)
    history = quiet(model, x, y, epochs=400, lr=0.5, validation=val, patience=5)
    frame = history.frame
    assert history.stopped_early
    assert history.best_epoch == frame["epoch"][frame["val_loss"].idxmin()]
    assert len(frame) == history.best_epoch + 5
    quiet(twin, x, y, epochs=history.best_epoch, lr=0.5)
    assert torch.equal(weights(model), weights(twin))
    assert evaluate(model, *val).loss == frame["val_loss"].min()


def nothing_better(outputs, y):
    """A loss that never falls, so that the first epoch stays the best."""
    return outputs.sum() * 0 + 1


FLAT = replace(TASKS["classification"], loss=nothing_better)


def test_patience_counts_epochs_after_the_best_and_early_means_before_the_last():
    x, y = blobs()
    for epochs, early in ((50, True), (4, False)):
        history = quiet(network(), x, y, epochs=epochs, validation=(x, y), patience=3, task=FLAT)
        assert history.best_epoch == 1
        assert len(history.frame) == 4
        assert history.stopped_early is early


def test_best_weights_of_a_pruned_network_come_back_pruned():
    x, y = blobs()
    model = network()
    prune.random_unstructured(model[3], "weight", amount=10)
    quiet(model, x, y, epochs=5, validation=(x, y), patience=1, task=FLAT)
    assert int((model[3].weight == 0).sum()) == 10


def test_patience_without_validation_is_an_error():
    with pytest.raises(ValueError, match="patience needs validation"):
        quiet(network(), *blobs(), patience=3)


def scripted(*losses):
    """A task whose loss is the next of `losses` at every step."""
    coming = iter(losses)
    return replace(
        TASKS["classification"], loss=lambda outputs, y: outputs.sum() * 0 + next(coming)
    )


@pytest.mark.parametrize(
    ("losses", "epochs", "best"),
    [
        ([1.0, 0.9, 0.85, 0.849, 0.848, 0.847, 0.5], 6, 3),  # three falls, none above 0.01
        ([1.0, 0.995, 0.989, 0.984, 0.978, 0.973, 0.967], 7, 7),  # two falls together are
        ([1.0, 2.0, 2.0, 0.5, 0.6, 0.6, 0.6], 7, 4),
    ],
)
def test_with_a_tolerance_the_training_loss_must_fall_by_more(losses, epochs, best):
    x, y = blobs()
    options = {"epochs": 7, "batch_size": len(x), "patience": 3, "tolerance": 0.01}
    history = quiet(network(), x, y, **options, task=scripted(*losses))
    assert (len(history.frame), history.best_epoch) == (epochs, best)
    assert history.stopped_early is (epochs < 7)


def test_with_a_tolerance_validating_decides_nothing_and_the_last_weights_stay():
    x, y = blobs()
    rule = {"epochs": 60, "lr": 0.5, "patience": 2, "tolerance": 1e-2}
    model, twin, longer = network(), network(), network()
    history = quiet(model, x, y, **rule, validation=blobs(30, seed=1))
    assert history.stopped_early
    quiet(twin, x, y, **rule)
    quiet(longer, x, y, epochs=len(history.frame), lr=0.5)
    assert torch.equal(weights(model), weights(twin))
    assert torch.equal(weights(model), weights(longer))


def test_a_training_with_a_tolerance_needs_no_validation_and_a_patience():
    x, y = blobs()
    rule = Training(epochs=20, batch_size=60, patience=3, tolerance=0.0, task=FLAT)
    assert len(rule.train(network(), x, y).frame) == 4
    with pytest.raises(ValueError, match="tolerance needs patience"):
        quiet(network(), x, y, tolerance=0.1)


def test_every_epoch_is_told_with_the_weights_that_it_left():
    x, y = blobs()
    model, told = network(), []
    note = lambda epoch: told.append((epoch, evaluate(model, x, y).loss))  # noqa: E731
    history = quiet(model, x, y, epochs=4, validation=(x, y), on_epoch=note)
    assert told == list(zip(history.frame.epoch, history.frame.val_loss, strict=True))
