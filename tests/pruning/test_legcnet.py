"""LEGCNet on any module: the same numbers as the batched trainer, and a mask one can trust."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from causalprune_lib._random import seeded
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.nets.data import load_dataset
from causalprune_lib.nets.models import MLP
from causalprune_lib.nets.training import Training, evaluate, train
from causalprune_lib.pruning.legcnet import (
    LEGCNet,
    UnscoredError,
    legcnet_decision,
)
from causalprune_lib.pruning.masks import apply_masks, masks_of
from causalprune_lib.pruning.windows import cut_windows, windowed_exponents
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import train_networks

SIX = Training(epochs=6, batch_size=1, lr=0.05, shuffle=False)
QUICK = {"window": 30, "max_lag": 4, "training": SIX}


def examples(n=60, d=3, seed=0, dtype=torch.float32):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return x, (x[:, 0] + 0.3 * x[:, 1] > 0).long()


def network(seed=0, d=3):
    with seeded(seed):
        return MLP([d, 5, 2], activation="tanh")


def state(model):
    return copy.deepcopy(dict(model.state_dict()))


def test_a_module_gets_the_numbers_of_the_batched_trainer():
    networks = SigmoidNetworks.random((4, 6, 1), 2, seed=0, scale=0.5)
    x, y = examples(80, 4, dtype=torch.float64)
    other = examples(50, 4, seed=1, dtype=torch.float64)
    windows = cut_windows(5 * 80 + 1, window=40)
    run = train_networks(
        networks, x, y, lr=0.3, epochs=5, test=other, record=[1], judge_at=windows.ends.tolist()
    )
    training = Training(epochs=5, batch_size=1, lr=0.3, shuffle=False, task="squared_error")
    legcnet = LEGCNet(window=40, max_lag=3, training=training)
    legcnet.fit(networks.model(1), (x, y), error_on=other)
    np.testing.assert_allclose(legcnet.trajectory_.weights, run.weights[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(legcnet.error_, 1 - run.test_accuracy_at[1], atol=1e-12)
    exponents = windowed_exponents(run.weights[0], window=40).exponent
    assert ((legcnet.exponents_ - exponents).abs() < 2e-6).all()
    decision = legcnet_decision(exponents, 1 - run.test_accuracy_at[1], max_lag=3)
    assert torch.equal(legcnet.masks_.flat(), decision.keep)


def test_fit_trains_a_copy_and_leaves_the_model_and_the_generators_alone():
    model, data = network(), examples()
    before, generator = state(model), torch.random.get_rng_state()
    legcnet = LEGCNet(**QUICK).fit(model, data)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert not torch.equal(legcnet.model_.fc1.weight, model.fc1.weight)
    assert torch.equal(legcnet.trajectory_.at(0), legcnet.trajectory_.layout.flatten(model))


def test_a_tenth_of_the_epochs_reads_the_first_tenth_of_the_steps():
    model, data = network(), examples(100)
    full = LEGCNet(**QUICK | {"training": replace(SIX, epochs=10)}).fit(model, data)
    part = LEGCNet(**QUICK | {"training": replace(SIX, epochs=1)}).fit(model, data)
    assert len(full.trajectory_) == 1001
    assert len(part.trajectory_) == 101
    n = len(part.error_)
    assert n == 3  # 30 rows, 27 apart
    assert torch.equal(part.exponents_, full.exponents_[:n])
    np.testing.assert_array_equal(part.error_, full.error_[:n])


def test_the_fitted_shapes_and_names_fit_each_other():
    legcnet = LEGCNet(**QUICK).fit(network(), examples())
    w, p = legcnet.exponents_.shape
    windows = cut_windows(361, window=30)
    assert (w, p) == (windows.count, 25)
    assert legcnet.error_.shape == (w,)
    assert legcnet.decision_.pvalue.shape == (p,)
    assert list(legcnet.scores_) == list(legcnet.masks_) == ["fc1.weight", "fc2.weight"]
    assert legcnet.masks_.n_kept == int(legcnet.decision_.keep.sum())
    np.testing.assert_array_equal(legcnet.error_, legcnet.trajectory_.error[windows.ends])


def test_the_error_at_the_last_window_is_that_of_the_network_there():
    model, (x, y) = network(), examples(58)
    once = Training(epochs=1, batch_size=2, lr=0.05, shuffle=False)  # 29 steps
    legcnet = LEGCNet(window=30, training=once).fit(model, (x, y))
    assert legcnet.error_.tolist() == [evaluate(legcnet.model_, x, y).error_rate]


@pytest.mark.filterwarnings("ignore::causalprune_lib.pruning.select.LayerCollapseWarning")
def test_an_amount_takes_the_ranking_and_growing_amounts_are_nested():
    legcnet = LEGCNet(amount=7, **QUICK).fit(network(), examples())
    assert legcnet.masks_.n - legcnet.masks_.n_kept == 7
    assert (
        legcnet.decision_.scores[~legcnet.masks_.flat()].max()
        <= legcnet.decision_.scores[legcnet.masks_.flat()].min()
    )
    fewer, more = legcnet.masks_at(3), legcnet.masks_at(0.6)
    assert (fewer & more) == more
    per_layer = legcnet.masks_at(0.4, scope="layer").counts()
    assert (per_layer.weights - per_layer.kept).tolist() == [6, 4]


def test_a_short_training_reports_an_empty_decision_and_ranks_at_the_amount_asked_for():
    """13 windows: 14 lags need 44, and 3 fit."""
    legcnet = LEGCNet(**QUICK | {"max_lag": 14}).fit(network(), examples())
    assert len(legcnet.error_) == 13
    assert legcnet.masks_.amount == 0
    assert "14 lags need 44 windows. The decision is empty." in legcnet.decision_.summary()
    asked = legcnet.masks_at(5)
    assert asked.n - asked.n_kept == 5


def test_without_a_whole_window_nothing_is_ranked():
    legcnet = LEGCNet(training=replace(SIX, epochs=1)).fit(network(), examples())
    assert legcnet.exponents_.shape == (0, 25)
    assert legcnet.masks_.amount == 0
    with pytest.raises(UnscoredError, match=r"no score.*0 windows, lags 1\.\.14"):
        legcnet.masks_at(1)


@pytest.mark.parametrize("error_on", ["train", "test", "own"])
def test_the_error_is_taken_where_it_is_asked_for(error_on):
    data = load_dataset("iris", subset=60)
    with seeded(0):
        model = MLP([4, 5, 3], activation="tanh")
    own = (data.x_test[:7], data.y_test[:7])
    legcnet = LEGCNet(**QUICK).fit(model, data, error_on=own if error_on == "own" else error_on)
    assert len(legcnet.trajectory_) == 6 * 60 + 1
    n = {"train": 60, "test": len(data.x_test), "own": 7}[error_on]
    counts = legcnet.error_ * n
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9)


def test_the_first_windows_alone_can_be_read():
    legcnet = LEGCNet(**QUICK).fit(network(), examples())
    trajectory, error = legcnet.trajectory_, legcnet.error_
    first = LEGCNet(**QUICK).fit_trajectory(trajectory, error=error[:9])
    assert torch.equal(first.exponents_, legcnet.exponents_[:9])
    weights = torch.as_tensor(np.array(trajectory.weights))
    again = LEGCNet(**QUICK).fit_trajectory(weights, error=error, layout=trajectory.layout)
    assert again.masks_ == legcnet.masks_
    with pytest.raises(ValueError, match="needs a layout"):
        LEGCNet(**QUICK).fit_trajectory(weights, error=error)


def test_it_is_an_estimator_with_few_options_that_can_be_cloned():
    legcnet = LEGCNet(**QUICK)
    assert len(legcnet.get_params(deep=False)) <= 12
    twin = clone(legcnet).set_params(max_lag=3)
    assert (twin.max_lag, twin.training, legcnet.max_lag) == (3, SIX, 4)


def test_your_own_loop_gives_the_trajectory():
    """Batches of 12, Adam, errors logged at the windows' ends: 5 steps an epoch."""
    model, (x, y) = network(), examples()
    before = state(model)
    ends = set(cut_windows(401, window=30).ends.tolist())
    with TrajectoryRecorder(model) as recorder:
        steps = iter(range(1, 401))

        def log(*_):
            done = next(steps) - 1  # called before each step
            if done in ends:
                recorder.log(error=evaluate(model, x, y).error_rate)

        train(model, x, y, epochs=80, batch_size=12, optimizer="adam", on_batch=log, progress=False)
    legcnet = LEGCNet(window=30, max_lag=3).fit_trajectory(recorder.trajectory())
    assert legcnet.exponents_.shape[0] == cut_windows(401, window=30).count
    assert not hasattr(legcnet, "model_")
    model.load_state_dict(before)
    assert masks_of(apply_masks(model, legcnet.masks_)) == legcnet.masks_


def test_missing_errors_and_missing_weights_are_named():
    model, (x, y) = network(), examples()
    with TrajectoryRecorder(model) as recorder:
        train(model, x, y, epochs=2, batch_size=1, progress=False)
    with pytest.raises(ValueError, match="step 29 has none"):
        LEGCNet(window=30).fit_trajectory(recorder.trajectory())
    windows = cut_windows(121, window=30)
    error = np.linspace(0.5, 0.1, windows.count)
    assert LEGCNet(window=30).fit_trajectory(recorder.trajectory(), error=error).masks_.amount == 0
    with TrajectoryRecorder(model, indices=[0, 1]) as part:
        train(model, x, y, epochs=2, batch_size=1, progress=False)
    with pytest.raises(ValueError, match="all 25 weights; got 2"):
        LEGCNet(window=30).fit_trajectory(part.trajectory(), error=error)


def test_the_counts_of_other_masks_can_be_taken_over():
    legcnet = LEGCNet(**QUICK).fit(network(), examples())
    like = legcnet.masks_at(0.5, scope="layer")
    found = legcnet.masks_at(None, scope="like", like=like)
    assert found.counts().kept.tolist() == like.counts().kept.tolist()


def test_pruned_weights_stay_zero_while_a_masked_copy_is_read_again():
    """A second round: masked weights have constant windows, no score, and stay pruned."""
    model, data = network(), examples()
    apply_masks(model, LEGCNet(amount=6, **QUICK).fit(model, data).masks_)
    first = masks_of(model)
    again = LEGCNet(**QUICK).fit(model, data)
    gone = ~first.flat()
    assert (again.trajectory_.weights[:, gone.numpy()] == 0).all()
    assert again.decision_.scores[gone].isnan().all()
    second = again.masks_at(8, within=first)
    assert second & first == second
    assert second.n_kept == first.n_kept - 2
    with pytest.raises(UnscoredError, match=r"leave the \d+ weights that have no score; got 25"):
        again.masks_at(25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "correct"}, "Did you mean 'corrected'"),
        ({"orientation": "prune_noncausal"}, "Did you mean 'prune_non_causal'"),
        ({"window": 1}, "window must be >= 2"),
        ({"overlap": 1}, "overlap must be in"),
        ({"max_lag": 0}, "max_lag must be >= 1"),
        ({"horizon": 0}, "horizon must be >= 1"),
        ({"amount": 2.0}, r"amount must be in \[0, 1\]"),
        ({"training": replace(SIX, epochs=-1)}, "training.epochs must be >= 1"),
        ({"training": replace(SIX, task="hinge")}, "task must be one of"),
        ({"alpha": -0.1}, "alpha must be in"),
    ],
)
def test_bad_options_are_named_before_any_training(options, message):
    model = network()
    with pytest.raises(ValueError, match=message):
        LEGCNet(**QUICK | options).fit(model, examples())


def test_bad_data_are_named():
    model, (x, y) = network(), examples()
    with pytest.raises(ValueError, match="error_on='test' needs a Dataset"):
        LEGCNet().fit(model, (x, y), error_on="test")
    with pytest.raises(TypeError, match="training must be a Training; got dict"):
        LEGCNet(training={"lr": 0.1}).fit(model, (x, y))
    with pytest.raises(ValueError, match="x must be finite"):
        LEGCNet().fit(model, (x * torch.nan, y))
    with pytest.raises(ValueError, match=r"error_on\[1\]"):
        LEGCNet().fit(model, (x, y), error_on=(x, y + 7))
    with pytest.raises(ValueError, match="two class scores or more"):
        LEGCNet().fit(nn.Linear(3, 1), (x, y))
    with pytest.raises(
        ValueError, match=r"training\.task must be judged by accuracy; got 'regress"
    ):
        LEGCNet(training=replace(SIX, task="regression")).fit(model, (x, y))
    one_output = replace(SIX, task="squared_error")
    with pytest.raises(ValueError, match=r"must hold classes 0\.\.1"):
        LEGCNet(training=one_output).fit(nn.Linear(3, 1), (x, y * 2))
    hot = LEGCNet(**QUICK | {"training": replace(SIX, lr=1e30)})
    with pytest.raises(FloatingPointError, match="the training loss became"):
        hot.fit(nn.Sequential(nn.Linear(3, 2)), (1e20 * x, y))
