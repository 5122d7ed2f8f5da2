"""Early stopping: on the validation split, with the best weights put back."""

import pytest
import torch
from torch.nn.utils import prune
from toys import blobs, network, quiet, weights

from causalprune_lib.nets.models import build_model
from causalprune_lib.nets.training import evaluate


def test_patience_stops_and_puts_the_best_weights_back():
    x, y = blobs(60)
    val = blobs(60, seed=1)
    model, kept = build_model("mlp", shape=(2,), n_classes=3, hidden=[30]), []

    def keep(row):
        kept.append(weights(model).clone())

    history = quiet(model, x, y, epochs=400, lr=0.5, validation=val, patience=5, on_epoch=keep)
    frame = history.frame
    assert history.stopped_early
    assert history.best_epoch == frame["epoch"][frame["val_loss"].idxmin()]
    assert len(frame) == history.best_epoch + 5
    assert torch.equal(weights(model), kept[history.best_epoch - 1])
    assert not torch.equal(weights(model), kept[-1])
    assert evaluate(model, *val).loss == frame["val_loss"].min()


def test_min_delta_sets_what_counts_as_better():
    x, y = blobs()
    history = quiet(network(), x, y, epochs=50, validation=(x, y), patience=3, min_delta=1e9)
    # The first epoch beats infinity; no other is better by so much.
    assert history.best_epoch == 1
    assert len(history.frame) == 4


def test_patience_that_runs_out_with_the_epochs_is_not_early():
    x, y = blobs()
    history = quiet(network(), x, y, epochs=4, validation=(x, y), patience=3, min_delta=1e9)
    assert len(history.frame) == 4
    assert not history.stopped_early


def test_best_weights_of_a_pruned_network_come_back_pruned():
    x, y = blobs()
    model = network()
    prune.random_unstructured(model[3], "weight", amount=10)
    quiet(model, x, y, epochs=5, validation=(x, y), patience=1, min_delta=1e9)
    assert int((model[3].weight == 0).sum()) == 10


def test_patience_without_validation_is_an_error():
    with pytest.raises(ValueError, match="patience needs validation"):
        quiet(network(), *blobs(), patience=3)
