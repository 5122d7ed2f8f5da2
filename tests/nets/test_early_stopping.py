"""Early stopping: on the validation split, with the best weights put back."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn.utils import prune
from toys import blobs, network, quiet, weights

from causalprune_lib.nets.models import build_model
from causalprune_lib.nets.tasks import TASKS
from causalprune_lib.nets.training import evaluate


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
