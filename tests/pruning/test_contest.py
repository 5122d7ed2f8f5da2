"""Contest: matched counts, one start, one training, one judge for all masks of a network."""

from __future__ import annotations

import copy

import pandas as pd
import pytest
import torch
from toys import blobs, network

from causalprune_lib.nets.data import load_dataset
from causalprune_lib.nets.models import build_model
from causalprune_lib.nets.training import Training, evaluate
from causalprune_lib.pruning.contest import (
    RANDOM,
    UNIFORM,
    Contest,
    retraining,
    table,
)
from causalprune_lib.pruning.masks import apply_masks, clone_model, masks_of
from causalprune_lib.pruning.scores import magnitude_scores, random_scores
from causalprune_lib.pruning.select import masks_from_scores, random_masks_like

SHORT = Training(epochs=2, batch_size=20, lr=0.05)


def rankings(model):
    return {"magnitude": magnitude_scores(model), "other": random_scores(model, seed=5)}


def nothing(masks):
    """Plays without any training: how many weights each mask keeps."""
    return [{"kept": mask.n_kept} for mask in masks]


@pytest.mark.parametrize("at", ["magnitude", "other", UNIFORM])
def test_every_ranking_keeps_as_many_in_each_layer_as_the_allocation_says(at):
    model = network()
    contest = Contest(rankings(model), nothing, seed=3)
    counts = []
    for ranking in ("magnitude", "other", RANDOM):
        counts += [e.masks.counts() for e in contest.enter(ranking, 0.7, at=at, draws=3)]
    assert len(counts) == 5
    assert all(found.equals(counts[0]) for found in counts)
    scope = "layer" if at == UNIFORM else "global"
    scores = contest.rankings["magnitude" if at == UNIFORM else at]
    assert counts[0].equals(masks_from_scores(scores, 0.7, scope=scope).counts())


def test_random_masks_are_those_of_their_seed_and_differ_from_draw_to_draw():
    model = network()
    contest = Contest(rankings(model), nothing, seed=10)
    like = contest.allocation("other", 0.5)
    drawn = [entry.masks for entry in contest.enter(RANDOM, 0.5, at="other", draws=3)]
    assert drawn == [random_masks_like(like, seed=10 + draw) for draw in range(3)]
    assert drawn[0] != drawn[1]
    named = Contest({}, nothing, seed=lambda draw: 7 * draw)
    assert named.cut(RANDOM, like=like, draw=2) == random_masks_like(like, seed=14)


def test_a_floor_holds_in_every_allocation():
    model = network()
    contest = Contest(rankings(model), nothing, floor=2)
    for at in ("magnitude", "other"):
        entry = contest.enter("other", 0.9, at=at)[0]
        assert entry.masks.counts()["kept"].min() >= 2


def test_a_new_ranking_replaces_the_allocation_of_its_name():
    model = network()
    contest = Contest(rankings(model), nothing)
    before = contest.allocation("other", 0.5)
    contest.rank("other", magnitude_scores(model))
    assert contest.allocation("other", 0.5) != before
    assert contest.allocation("other", 0.5) == contest.allocation("magnitude", 0.5)


def test_all_start_alike_and_are_trained_alike():
    data, model = load_dataset("iris"), build_model("mlp", dataset="iris", hidden=[8])
    before = copy.deepcopy(model.state_dict())
    play = retraining(model, data, SHORT, seed=4)
    contest = Contest(rankings(model), play)
    contest.enter("magnitude", 0.5)
    contest.enter("magnitude", 0.5)
    first, second = (found for _, found in contest.run())
    assert first == second
    assert all(torch.equal(before[name], v) for name, v in model.state_dict().items())
    twin = apply_masks(clone_model(model), contest.entries[0].masks)
    cut = evaluate(twin, data.x_test, data.y_test).accuracy
    SHORT.train(twin, data.x_train, data.y_train, seed=4)
    after = evaluate(twin, data.x_test, data.y_test).accuracy
    assert first == {"accuracy_cut": cut, "accuracy": after}


def test_compare_puts_a_ranking_beside_its_controls():
    model = network()
    contest = Contest(rankings(model), nothing)
    found = contest.compare("other", amounts=[0.5, 0.8], n_random=3)
    at_half = found[found.amount == 0.5]
    assert at_half.groupby(["ranking", "allocation"]).size().to_dict() == {
        ("inverse", "other"): 1,
        ("magnitude", "magnitude"): 1,
        ("magnitude", "other"): 1,
        ("other", "other"): 1,
        ("random", "other"): 3,
    }
    assert found[found.ranking == "dense"].kept.tolist() == [40]
    assert set(at_half.kept) == {20}
    assert sorted(found[found.ranking == "random"].draw) == [0, 0, 1, 1, 2, 2]


def test_entries_are_played_in_their_order_and_the_dense_one_keeps_all():
    model = network()
    contest = Contest(rankings(model), nothing)
    contest.enter("other", 0.5)
    dense = contest.enter_dense(magnitude_scores(model), at="none")
    contest.enter("other", 0.5)
    assert [found["kept"] for _, found in contest.run()] == [20, 40, 20]
    assert (dense.ranking, dense.allocation) == ("dense", "none")


def test_a_regression_can_be_contested_and_any_training_and_judge():
    x, y = blobs(60)
    y = x.sum(1, keepdim=True)
    model = torch.nn.Sequential(torch.nn.Linear(2, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
    training = Training(epochs=30, batch_size=20, lr=0.1, task="regression")
    training.train(model, x, y)

    def judge(network):
        return {"r2": evaluate(network, x, y, task="regression").metric}

    play = retraining(model, (x, y), lambda m: training.train(m, x, y), judge=judge)
    contest = Contest({"magnitude": magnitude_scores(model)}, play)
    found = contest.compare("magnitude", amounts=[0.5])
    assert (found.r2 > found.r2_cut)[found.ranking != "dense"].all()
    assert found.r2.iloc[0] > 0.9
    assert isinstance(table(contest.run()), pd.DataFrame)


def test_what_does_not_fit_is_named():
    model = network()
    contest = Contest(rankings(model), nothing)
    with pytest.raises(ValueError, match="Did you mean 'magnitude'"):
        contest.enter("magnitudes", 0.5)
    with pytest.raises(ValueError, match="draws must be >= 1"):
        contest.enter(RANDOM, 0.5, at="other", draws=0)
    with pytest.raises(ValueError, match="judge must be given"):
        retraining(model, blobs(), SHORT)
    with pytest.raises(ValueError, match="seed must be >= 0"):
        Contest({}, nothing, seed=-1)
    assert masks_of(model).amount == 0


def test_a_ranking_called_as_a_control_is_and_a_network_pruned_already_are_refused():
    model = network()
    for name in ("random", "uniform", "dense", "inverse"):
        contest = Contest(rankings(model) | {name: magnitude_scores(model)}, nothing)
        with pytest.raises(ValueError, match=f"called as a control is; got .'{name}'"):
            contest.compare("other", amounts=[0.5])
    contest = Contest(rankings(model), nothing)
    again = [contest.compare(name, amounts=[0.5]).ranking.tolist() for name in ("other", "other")]
    assert again[0] == again[1]
    with pytest.raises(TypeError, match=r"training must be a Training, .*; got dict"):
        retraining(model, blobs(), {"epochs": 1})
    half = masks_from_scores(magnitude_scores(model), 0.5)
    play = retraining(apply_masks(clone_model(model), half), blobs(), SHORT, judge=lambda _: {})
    with pytest.raises(ValueError, match=r"in .* it is pruned already"):
        list(play([random_masks_like(half, seed=0)]))
    assert list(play([half])) == [{}]
