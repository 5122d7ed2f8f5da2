"""Names of version 0.1.0 that left for one release: what they did, they do, with a warning."""

import pytest
import torch
from torch import nn

import causalprune_lib as cp

SCORES = {"weight": torch.tensor([[-5.0, 1.0]])}


def layer():
    model = nn.Linear(2, 1)
    model.weight.data = torch.tensor([[-3.0, 2.0]])
    return model


@pytest.mark.parametrize(
    ("name", "options", "kept", "advice"),
    [
        ("inverse_unstructured", {}, [[0, 1]], r"prune_by_scores\(model, inverse_scores"),
        ("inverse_unstructured", {"importance_scores": SCORES}, [[1, 0]], "inverse_scores"),
        ("obd_unstructured", {"movement": torch.tensor([1.0, 9.0])}, [[0, 1]], "obd_scores"),
    ],
)
def test_entries_that_left_prune_what_they_pruned(name, options, kept, advice):
    with pytest.warns(DeprecationWarning, match=advice):
        prune = getattr(cp, name)
    assert prune(layer(), 1, **options).weight_mask.tolist() == kept


def test_the_clock_of_one_model_is_a_row_of_that_of_many():
    with pytest.warns(DeprecationWarning, match="compare_latency"):
        measured = cp.latency(layer(), torch.zeros(1, 2), repeats=3)
    assert 0 < measured.q25 <= measured.median <= measured.q75
    assert measured.repeats == 3


def test_legcnet_of_one_call_prunes_the_model_it_is_given():
    data = cp.load_dataset("iris")
    model = cp.build_model("mlp", dataset=data, hidden=[6])
    training = cp.Training(epochs=6, batch_size=1, lr=0.02, shuffle=False)
    with pytest.warns(DeprecationWarning, match="LEGCNet"):
        prune = cp.legcnet_unstructured
    assert prune(model, 5, data=data, window=40, max_lag=4, training=training) is model
    masks = cp.masks_of(model)
    assert masks.n - masks.n_kept == 5
