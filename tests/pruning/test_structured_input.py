"""Filters that cannot be taken out: the error says why."""

import builtins

import pytest
import torch
from torch import nn
from toys import blobs, network

from causalprune_lib.nets.models import build_model
from causalprune_lib.nets.training import Training
from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.scores import magnitude_scores
from causalprune_lib.pruning.structured import causal_structured, filter_masks, remove_filters


def sigmoid():
    return build_model("mlp", shape=(5,), n_classes=3, hidden=[7, 6], activation="sigmoid")


def test_what_cannot_be_cut_says_why():
    model, x = sigmoid(), torch.zeros(1, 5)
    scores = magnitude_scores(model)
    masks = filter_masks(model, scores, 0.5, example=x)
    with pytest.raises(ValueError, match=r"(?s)left in layer 'fc1\.weight'.*floor=1"):
        causal_structured(model, 1.0, example=x, importance_scores=scores)
    with pytest.raises(ValueError, match=r"'fc1\.weight'.*highest score .*floor=1"):
        filter_masks(model, scores, example=x, threshold=1e9)
    with pytest.raises(ValueError, match="example must fit"):
        causal_structured(model, 0.5, example=torch.zeros(1, 4), importance_scores=scores)
    with pytest.raises(ValueError, match="Did you mean 'fc1'"):
        causal_structured(model, 0.5, example=x, importance_scores=scores, ignore=["fc_1"])
    with pytest.raises(ValueError, match="with none"):
        causal_structured(model, 0.5, example=x, importance_scores=scores, ignore=["fc1", "fc2"])
    with pytest.raises(ValueError, match=r"'fc2\.weight' is missing"):
        causal_structured(
            model, 0.5, example=x, importance_scores={"fc1.weight": scores["fc1.weight"]}
        )
    with pytest.raises(ValueError, match="shape"):
        causal_structured(
            model, 0.5, example=x, importance_scores={**scores, "fc2.weight": torch.ones(6, 6)}
        )
    with pytest.raises(ValueError, match="data must be given"):
        causal_structured(model, 0.5, example=x)
    with pytest.raises(TypeError, match="nothing is recorded"):
        causal_structured(model, 0.5, example=x, importance_scores=scores, data=blobs())
    with pytest.raises(TypeError, match="nothing is recorded; got alpha"):
        causal_structured(model, example=x, importance_scores=scores, alpha=1.0)
    short = {"training": Training(epochs=1, batch_size=20), "data": blobs()}
    with pytest.raises(ValueError, match=r"alpha decides how much is pruned; got amount=0\.5"):
        causal_structured(network(), 0.5, alpha=1.0, example=x[:, :2], **short)
    with pytest.raises(ValueError, match="alpha must be a finite number > 0"):
        causal_structured(network(), alpha=-1.0, example=x[:, :2], **short)
    with pytest.raises(ValueError, match="n_steps must be >= 2; got 1"):
        causal_structured(
            network(), 0.5, example=x[:, :2], data=blobs(), training=Training(1, batch_size=200)
        )
    loose = Masks({**masks.keep, "fc1.bias": torch.ones(7, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"whole filters.*'fc1\.bias' they keep 7 numbers where 3"):
        remove_filters(model, loose, example=x)
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2))
    tied[1].weight = tied[0].weight
    with pytest.raises(ValueError, match="share"):
        filter_masks(tied, magnitude_scores(tied), 1, example=torch.zeros(1, 3))


def test_without_torch_pruning_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("torch_pruning"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match="pip install torch-pruning"):
        filter_masks(sigmoid(), magnitude_scores(sigmoid()), 0.5, example=torch.zeros(1, 5))
