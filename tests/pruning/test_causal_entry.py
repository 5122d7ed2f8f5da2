"""The `torch.nn.utils.prune`-style entry to causal pruning, and input that cannot work."""

import copy
import math

import pytest
import torch
from toys import blobs, network

from causalprune_lib.pruning.causal import CausalPruning, causal_unstructured, record_scores
from causalprune_lib.pruning.masks import Masks, clone_model, masks_of
from causalprune_lib.pruning.scores import random_scores
from causalprune_lib.pruning.select import LayerCollapseWarning, masks_from_scores

SHORT = {"n_pre": 1, "n_iter": 3, "n_prune": 2, "n_post": 2, "batch_size": 20, "progress": False}
QUICK = {**SHORT, "prune": {"lr": 0.05}}


def plain(state):
    return {k.replace("_orig", ""): v for k, v in state.items() if not k.endswith("_mask")}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_entry_prunes_at_the_weights_that_the_model_has():
    model, data = network(), blobs()
    options = {"data": data, "epochs": 2, "batch_size": 20, "lr": 0.05}
    before = copy.deepcopy(model.state_dict())
    assert causal_unstructured(model, 0.5, **options) is model
    assert equal(plain(model.state_dict()), before)
    assert masks_of(model).counts()["kept"].tolist() == [8, 12]
    causal_unstructured(model, 0.5, **options)  # of what is left
    assert masks_of(model).counts()["kept"].tolist() == [4, 6]
    assert (model[0].weight[~masks_of(model)["0.weight"]] == 0).all()


def test_one_recording_serves_many_amounts_and_an_alpha():
    model, data = network(), blobs()
    scores = record_scores(model, data, epochs=2, batch_size=20, lr=0.05, correlation=True)
    masks = []
    for amount in (0.2, 0.5, 7):
        pruned = causal_unstructured(clone_model(model), amount, importance_scores=scores)
        masks.append(masks_of(pruned))
        ranked = masks_from_scores(scores.scores("released"), amount, scope="layer")
        assert masks[-1] == ranked
    alpha = 0.3 * min(scores.alpha_max.values())
    pruned = causal_unstructured(clone_model(model), alpha=alpha, importance_scores=scores)
    assert masks_of(pruned) == Masks(scores.support(alpha))
    like = causal_unstructured(
        clone_model(model), importance_scores=scores, scope="like", like=masks[1], kind="movement"
    )
    assert masks_of(like).counts().equals(masks[1].counts())
    for kind in ("movement", "correlation"):
        pruned = causal_unstructured(clone_model(model), 0.5, importance_scores=scores, kind=kind)
        ranked = masks_from_scores(scores.scores(kind), 0.5, scope="layer")
        assert masks_of(pruned) == ranked


def test_a_layer_that_would_be_empty_is_an_error_with_alpha_and_a_warning_with_amount():
    options = {**QUICK, "n_iter": 1}
    top = CausalPruning(amount=0.5, **options).fit(network(), blobs()).alpha_max_
    low = min(top, key=top.get)
    with pytest.raises(ValueError, match=f"(?s)'{low}'.*floor"):
        CausalPruning(alpha=1.01 * top[low], **options).fit(network(), blobs())
    silent = network()
    silent[0].bias.data.fill_(-100.0)  # no unit is ever on
    with pytest.raises(ValueError, match=r"relative in layer '.\.weight'.*moved"):
        CausalPruning(alpha=0.5, relative=True, **options).fit(silent, blobs())
    saved = CausalPruning(alpha=1.01 * top[low], floor=3, **options).fit(network(), blobs())
    assert int(saved.masks_[low].sum()) == 3
    with pytest.warns(LayerCollapseWarning):
        causal_unstructured(
            network(), 0.8, scope="global", data=blobs(), epochs=2, batch_size=20, lr=0.05
        )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "alpha or amount"),
        ({"alpha": 1e-9, "amount": 0.5}, "alpha or amount"),
        ({"alpha": 0.0}, "alpha must be a finite number > 0"),
        ({"alpha": -1e-9}, "alpha must be a finite number > 0"),
        ({"alpha": math.nan}, "alpha must be a finite number > 0"),
        ({"alpha": {"0.weight": -1.0}}, r"alpha\['0.weight'\]"),
        ({"amount": 1.0}, r"\[0, 1\)"),
        ({"amount": 0.5, "schedule": "cubical"}, "Did you mean 'cubic'"),
        ({"amount": 0.5, "scope": "layers"}, "Did you mean 'layer'"),
        ({"amount": 0.5, "kind": "move"}, "kind"),
        ({"amount": 0.5, "loss": "samebatch"}, "Did you mean 'same_batch'"),
        ({"amount": 0.5, "n_iter": 0}, "n_iter"),
        ({"amount": 0.5, "prune": {"learning_rate": 1}}, "option in prune"),
        ({"amount": 0.9, "floor": 0.5, "scope": "global"}, "at most 0.5"),
        ({"amount": 0.5, "prune": {"lr": -1.0}}, "lr"),
        ({"amount": 0.5, "post": {"optimizer": "adamw"}}, "Did you mean 'adam'"),
        ({"amount": 0.5, "n_prune": 1, "batch_size": 500}, "n_steps must be >= 2; got 1"),
        ({"amount": 0.5, "patience": 3, "validation_fraction": 1.0}, "validation_fraction"),
        ({"amount": 0.5, "train_fn": len}, "n_steps"),
    ],
)
def test_what_cannot_work_fails_before_the_training(options, words, monkeypatch):
    steps = []
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda *a, **k: steps.append(1), raising=True
    )  # pretraining
    data = None if "train_fn" in options else blobs()
    with pytest.raises(ValueError, match=words):
        CausalPruning(**{**SHORT, **options}).fit(network(), data)
    assert steps == []


def test_the_entry_says_what_is_missing_or_too_much():
    scores = random_scores(network(), seed=0)
    for options, words in [
        ({"amount": 0.5}, "data must be given"),
        ({"data": blobs()}, "amount or alpha"),
        ({"data": blobs(), "amount": 0.5, "alpha": 1.0}, "alpha decides"),
    ]:
        with pytest.raises(ValueError, match=words):
            causal_unstructured(network(), **options)
    with pytest.raises(TypeError, match="nothing is recorded"):
        causal_unstructured(network(), 0.5, importance_scores=scores, epochs=3)
    with pytest.raises(TypeError, match="alpha needs CausalScores"):
        causal_unstructured(network(), alpha=0.5, importance_scores=scores)
    with pytest.raises(ValueError, match="lr"):
        record_scores(network(), blobs(), lr=0)
    with pytest.raises(TypeError, match="pair"):
        record_scores(network(), blobs()[0])
