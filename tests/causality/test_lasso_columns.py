"""Columns that are not in memory give the fit of those that are, and are read in small pieces."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from causalprune_lib.causality import lasso as samples
from causalprune_lib.causality import solver as columns
from causalprune_lib.causality import solver as working_set
from causalprune_lib.causality.lasso import CausalLasso, SquaredIncrements, causal_samples
from causalprune_lib.causality.solver import ArrayColumns, RowBlocks
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.parameters import ParameterLayout


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A network of 40 -> 20 -> 3 recorded on disk over 60 steps."""
    make = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(40, 20), nn.Tanh(), nn.Linear(20, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    path = tmp_path_factory.mktemp("lasso") / "walk"

    def loss_of(model, x, y):
        return nn.functional.cross_entropy(model(x), y)

    with TrajectoryRecorder(model, path=path, probe=loss_of) as recorder:
        for _ in range(60):
            x = torch.randn(16, 40, generator=make)
            y = torch.randint(3, (16,), generator=make)
            recorder.batch(x, y)
            optimizer.zero_grad()
            loss_of(model, x, y).backward()
            optimizer.step()
    return path


@pytest.fixture
def small(monkeypatch):
    """Blocks of a few columns, and nothing held but the working set."""
    monkeypatch.setattr(columns, "BLOCK_BYTES", 10_000)
    monkeypatch.setattr(samples, "BLOCK_BYTES", 10_000)
    monkeypatch.setattr(working_set, "HELD_BYTES", 0)
    monkeypatch.setattr(working_set, "LEAST", 20)


def dense(trajectory, layer):
    """x (T, P) and y (T,) of the two-batch loss, by the definition in the paper."""
    weights = np.array(trajectory.weights[:, trajectory.layout.span(layer)], np.float64)
    x = (weights[1:] - weights[:-1]) ** 2
    losses = trajectory.loss_before[1:]
    return x[:-1], losses[1:] - losses[:-1]


OPTIONS = {"alpha_ratio": 0.05, "tol": 1e-12}


@pytest.mark.parametrize("layer", ["0.weight", "2.weight"])
@pytest.mark.parametrize("options", [{}, {"standardise": True, "fit_intercept": True}])
def test_a_recording_on_disk_gives_the_fit_of_its_array(recording, small, layer, options):
    trajectory = Trajectory.load(recording)
    x, y = dense(trajectory, layer)
    expected = CausalLasso(**OPTIONS, **options).fit(x, y)
    features, effect = causal_samples(trajectory, layer=layer)
    np.testing.assert_array_equal(effect, y)
    model = CausalLasso(**OPTIONS, **options).fit(features, effect)
    np.testing.assert_array_equal(model.support_, expected.support_)
    size = np.abs(expected.coef_).max()
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-5, atol=1e-8 * size)
    np.testing.assert_allclose(model.predict(features), expected.predict(x), rtol=1e-6, atol=1e-9)
    assert model.alpha_max_ == pytest.approx(expected.alpha_max_, rel=1e-12)


@pytest.mark.parametrize("sizes", [(58,), (1,) * 58, (30, 0, 28)])
def test_a_replay_gives_the_fit_of_its_array(recording, small, sizes):
    x, y = dense(Trajectory.load(recording), "0.weight")
    x, y = x[:58], y[:58]
    expected = CausalLasso(**OPTIONS).fit(x, y)
    bounds = np.cumsum((0, *sizes))
    calls = []

    def replay():
        calls.append(len(calls))
        for low, high in itertools.pairwise(bounds):
            yield torch.from_numpy(x[low:high])

    replayed = RowBlocks(replay, shape=x.shape)
    model = CausalLasso(**OPTIONS).fit(replayed, y)
    np.testing.assert_array_equal(model.support_, expected.support_)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-5)
    assert replayed.passes == len(calls) > 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_maps_are_read_as_they_are(tmp_path, small, dtype):
    rng = np.random.default_rng(0)
    x = (1e-6 * rng.normal(size=(30, 400)) ** 2).astype(dtype)
    y = rng.normal(size=30)
    on_disk = np.memmap(tmp_path / "x", dtype, "w+", shape=x.shape)
    on_disk[:] = x
    expected = CausalLasso(**OPTIONS).fit(x.astype(np.float64), y)
    for given in (on_disk, torch.from_numpy(x)):
        model = CausalLasso(**OPTIONS).fit(given, y)
        np.testing.assert_array_equal(model.support_, expected.support_)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6)


class Watched(RowBlocks):
    """Remembers how many columns were asked for at once."""

    widest = 0

    def gather(self, index):
        self.widest = max(self.widest, len(index))
        return super().gather(index)


def test_only_the_working_set_is_held(small):
    """P = 20,000 columns replayed, one row at a time; at most 4 x the support's size are held."""
    n_rows, n_columns = 25, 20_000

    def replay():
        rng = np.random.default_rng(3)
        for _ in range(n_rows):
            yield rng.normal(size=(1, n_columns))

    y = np.random.default_rng(4).normal(size=n_rows)
    watched = Watched(replay, shape=(n_rows, n_columns))
    model = CausalLasso(alpha_ratio=0.3, tol=1e-8).fit(watched, y)
    assert model.relative_gap_ <= 1e-8
    assert 0 < watched.widest <= working_set.GROWTH * n_rows


def test_blocks_cover_everything_once(recording, small):
    trajectory = Trajectory.load(recording)
    features = SquaredIncrements(trajectory, layer="0.weight", increments=np.array([3, 4, 7]))
    seen = np.zeros(features.shape)
    values = np.zeros(features.shape)
    widths = []
    for rows, part, block in features.blocks():
        seen[rows, part] += 1
        values[rows, part] = block
        widths.append(block.shape[1])
    assert (seen == 1).all()
    assert len(widths) > 1
    np.testing.assert_array_equal(values, list(features.rows()))
    np.testing.assert_array_equal(values, features.gather(np.arange(800)))
    expected = np.diff(np.array(trajectory.weights[:, :800], np.float64), axis=0)[[3, 4, 7]] ** 2
    np.testing.assert_array_equal(values, expected)


def test_same_batch_takes_the_loss_on_both_sides_of_a_step(recording):
    trajectory = Trajectory.load(recording)
    features, effect = causal_samples(trajectory, loss="same_batch")
    np.testing.assert_array_equal(effect, trajectory.loss_after[1:] - trajectory.loss_before[1:])
    assert features.shape == (60, trajectory.layout.size)


def walk(losses, steps=None):
    layout = ParameterLayout.of(nn.Linear(2, 1))
    weights = np.arange(2.0 * len(losses)).reshape(-1, 2) ** 2
    steps = np.arange(len(losses)) if steps is None else steps
    return Trajectory(steps, weights, layout, loss_before=losses)


def test_steps_with_a_nan_loss_are_left_out_on_both_sides():
    features, effect = causal_samples(walk([np.nan, 5.0, 4.0, np.nan, 2.0, 1.5, 1.25]))
    np.testing.assert_array_equal(features.increments, [0, 3, 4])
    np.testing.assert_array_equal(effect, [-1, -0.5, -0.25])
    assert features.shape == (3, 2)


def test_samples_need_every_step_and_losses():
    with pytest.raises(ValueError, match="every=1"):
        causal_samples(walk([np.nan, 3.0, 2.0, 1.0], steps=[0, 2, 4, 6]))
    with pytest.raises(ValueError, match="at least 2 steps; got 0 of 2"):
        causal_samples(walk([np.nan] * 4))
    with pytest.raises(ValueError, match="a recorder with a probe"):
        causal_samples(walk([np.nan, 3.0, 2.0, 1.0]), loss="same_batch")
    with pytest.raises(ValueError, match="Did you mean 'two_batch'"):
        causal_samples(walk([np.nan, 3.0, 2.0, 1.0]), loss="two_batches")


def test_weights_that_were_not_recorded_cannot_be_fitted():
    layout = ParameterLayout.of(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)))
    partial = Trajectory([0, 1, 2], np.ones((3, 2)), layout, index=[1, 4])
    assert SquaredIncrements(partial, layer="0.weight").index.tolist() == [1]
    assert SquaredIncrements(partial, layer="1.weight").shape == (2, 1)
    none = Trajectory([0, 1, 2], np.ones((3, 2)), layout, index=[1, 2])
    with pytest.raises(ValueError, match=r"hold weights of '1\.weight'"):
        SquaredIncrements(none, layer="1.weight")
    with pytest.raises(ValueError, match=r"increments must be increasing and in 0\.\.1"):
        SquaredIncrements(partial, increments=np.array([1, 2]))


def test_a_replay_that_changes_is_noticed():
    rng = np.random.default_rng(0)
    y = rng.normal(size=20)
    once = (rng.normal(size=(5, 60)) for _ in range(4))
    with pytest.raises(TypeError, match="gone through again; got generator"):
        RowBlocks(once, shape=(20, 60))
    another = RowBlocks(lambda: [rng.normal(size=(20, 60))], shape=(20, 60))
    with pytest.raises(RuntimeError, match="the same at every pass"):
        CausalLasso().fit(another, y)
    for blocks, said in (
        ([np.ones((19, 60))], "20 rows at every pass; got only 19"),
        ([np.ones((15, 60))] * 2, "20 rows at every pass; got more"),
        ([np.ones((20, 59))], r"shape \(any, 60\); got \(20, 59\)"),
    ):
        with pytest.raises(RuntimeError, match=said):
            CausalLasso().fit(RowBlocks(blocks, shape=(20, 60)), y)


def test_passes_are_counted():
    x = ArrayColumns(np.ones((2, 3), np.float32))
    list(x.blocks()), list(x.rows()), x.gather(np.array([1]))
    assert x.passes == 3
