"""Losses and error rates: which step they belong to, and that measuring them leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from causalprune_lib.dynamics.recorder import TrajectoryRecorder

STEPS = 6


def batches(steps: int = STEPS) -> list[tuple[torch.Tensor, torch.Tensor]]:
    noise = torch.Generator().manual_seed(1)
    return [
        (torch.randn(16, 4, generator=noise), torch.randint(3, (16,), generator=noise))
        for _ in range(steps)
    ]


def loss_of(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(model(x), y)


def train(model: nn.Module, recorder: TrajectoryRecorder | None = None, *, when: str = "") -> list:
    """A loop with momentum; gradients are kept between steps, so that a change to them shows."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for x, y in batches():
            if when == "batch":
                recorder.batch(x, y)
            optimizer.zero_grad()
            loss = loss_of(model, x, y)
            loss.backward()
            losses.append(loss.item())
            if when == "before":
                recorder.log(loss=loss)
            optimizer.step()
            if when == "after":
                recorder.log(loss=loss, step="last")
        losses.append(torch.rand(()).item())  # the random state that training leaves behind
    return losses


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    gradients = {f"{n}.grad": p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {**model.state_dict(), **gradients}


def test_training_with_probes_equals_training_without_bit_for_bit(noisy):
    plain, watched = noisy(), noisy()
    losses = train(plain)

    def probe(model, x, y):
        return loss_of(model, x, y) + 0 * torch.rand(())  # draws from the generator of training

    with TrajectoryRecorder(watched, probe=probe, error_probe=lambda m: 0.5) as recorder:
        assert train(watched, recorder, when="batch") == losses
    expected = state(plain)
    assert state(watched).keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in state(watched).items())
    modes = {name: module.training for name, module in watched.named_modules()}
    assert modes == {name: module.training for name, module in plain.named_modules()}
    assert modes["body.1"]
    assert not modes["frozen"]


def test_the_probe_measures_one_batch_before_and_after_its_step():
    model = nn.Sequential(nn.Linear(4, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before, after = [], []
    with TrajectoryRecorder(model, probe=loss_of) as recorder:
        for x, y in batches():
            recorder.batch(x, y)
            optimizer.zero_grad()
            loss_of(model, x, y).backward()
            before.append(loss_of(model, x, y).item())
            optimizer.step()
            after.append(loss_of(model, x, y).item())
    trajectory = recorder.trajectory()
    assert np.isnan(trajectory.loss_before[0])
    assert np.isnan(trajectory.loss_after[0])
    assert trajectory.loss_before[1:].tolist() == before
    assert trajectory.loss_after[1:].tolist() == after


@pytest.mark.parametrize("inside", [False, True], ids=["loop", "closure"])
def test_a_reused_loss_saves_the_probe_before_the_step(inside):
    model, calls = nn.Sequential(nn.Linear(4, 3)), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before, after = [], []

    def probe(model, x, y):
        calls.append(1)
        return loss_of(model, x, y)

    with TrajectoryRecorder(model, probe=probe, reuse_loss=True) as recorder:
        for x, y in batches():

            def closure(x=x, y=y):
                recorder.batch(x, y)
                optimizer.zero_grad()
                loss = loss_of(model, x, y)
                loss.backward()
                recorder.log(loss=loss)
                before.append(loss.item())
                return loss

            if inside:
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
            after.append(loss_of(model, x, y).item())
    trajectory = recorder.trajectory()
    assert trajectory.loss_before[1:].tolist() == before
    assert trajectory.loss_after[1:].tolist() == after
    assert len(calls) == STEPS


def test_a_step_of_size_zero_changes_no_measured_loss(noisy):
    """The running statistics move in training; the measured difference must not see that."""
    model = noisy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with TrajectoryRecorder(model, probe=loss_of) as recorder:
        for x, y in batches():
            recorder.batch(x, y)
            loss_of(model, x, y).backward()
            optimizer.step()
    trajectory = recorder.trajectory()
    assert np.array_equal(trajectory.loss_before[1:], trajectory.loss_after[1:])
    assert model.body[1].num_batches_tracked == STEPS


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("on_disk", [False, True])
def test_a_logged_loss_belongs_to_its_step(noisy, when, on_disk, tmp_path):
    model = noisy()
    with TrajectoryRecorder(model, path=tmp_path / "run" if on_disk else None) as recorder:
        losses = train(model, recorder, when=when)
    trajectory = recorder.trajectory()
    assert trajectory.loss_before[1:].tolist() == losses[:-1]
    assert np.isnan(trajectory.loss_after).all()


def test_the_probe_rests_at_steps_that_are_not_recorded():
    model, calls = nn.Linear(2, 1), []
    with TrajectoryRecorder(model, every=3, probe=lambda m, t: calls.append(t) or t) as recorder:
        for t in range(1, 8):
            recorder.batch(t)
            recorder.step()
    assert calls == [3, 3, 6, 6]
    np.testing.assert_equal(recorder.trajectory().loss_before, [np.nan, 3.0, 6.0])


def test_what_is_logged_now_and_then_is_nan_elsewhere():
    model = nn.Linear(2, 1)
    with TrajectoryRecorder(model, every=2) as recorder:
        recorder.log(error=0.9)
        for t in range(1, 7):
            if t in (2, 3):
                recorder.log(loss=float(t))
            recorder.step()
            recorder.log(error=t / 10, loss_after=10.0 * t)
    trajectory = recorder.trajectory()
    nan = np.nan
    np.testing.assert_equal(trajectory.loss_before, [nan, 2.0, nan, nan])  # step 3 has no row
    np.testing.assert_equal(trajectory.loss_after, [nan, 20.0, 40.0, 60.0])
    np.testing.assert_equal(trajectory.error, [0.9, 0.2, 0.4, 0.6])


def test_the_error_probe_is_called_where_it_is_due_and_in_evaluation_mode(noisy):
    model, calls = noisy(), []

    def error(m: nn.Module) -> float:
        calls.append(m.training or m.body[1].running_mean is None)
        return len(calls) / 100

    with TrajectoryRecorder(model, every=2, error_probe=error, error_every=4) as recorder:
        for _ in range(9):
            recorder.step()
    np.testing.assert_equal(recorder.trajectory().error, [0.01, np.nan, 0.02, np.nan, 0.03])
    assert calls == [False] * 3


def test_a_first_loss_after_the_first_step_is_questioned():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TrajectoryRecorder(model) as recorder:
        optimizer.step()
        with pytest.warns(UserWarning, match='pass step="last"'):
            recorder.log(loss=1.0)


def test_wrong_use_is_named():
    model = nn.Linear(2, 1)
    with pytest.raises(ValueError, match=r"which must be one of.*'prunable'"):
        TrajectoryRecorder(model, which="prunabel")
    with pytest.raises(ValueError, match="error_every must be a multiple of every=2; got 3"):
        TrajectoryRecorder(model, every=2, error_probe=lambda m: 0.0, error_every=3)
    with pytest.raises(ValueError, match="error_every needs an error_probe"):
        TrajectoryRecorder(model, error_every=3)
    with pytest.raises(ValueError, match="reuse_loss needs a probe"):
        TrajectoryRecorder(model, reuse_loss=True)
    with pytest.raises(ValueError, match="every must be >= 1; got 0"):
        TrajectoryRecorder(model, every=0)
    with pytest.raises(ValueError, match=r"indices must lie in 0\.\.1"):
        TrajectoryRecorder(model, indices=[0, 2])
    with pytest.raises(ValueError, match="indices must increase"):
        TrajectoryRecorder(model, indices=[1, 0])
    with pytest.raises(TypeError, match=r"indices must be .* whole numbers"):
        TrajectoryRecorder(model, indices=[True, False])
    with pytest.raises(RuntimeError, match="inside its with block"):
        TrajectoryRecorder(model).log(loss=1.0)
    with pytest.raises(RuntimeError, match="Nothing is recorded yet"):
        TrajectoryRecorder(model).trajectory()
    with TrajectoryRecorder(model, probe=loss_of) as recorder:
        with pytest.raises(ValueError, match="loss must not be logged where a probe"):
            recorder.log(loss=1.0)
        with pytest.raises(RuntimeError, match=r"probe needs recorder.batch"):
            recorder.step()
    with TrajectoryRecorder(model) as recorder:
        recorder.step()
        with pytest.raises(RuntimeError, match="needs a probe"):
            recorder.batch(1)
        with pytest.raises(TypeError, match=r"loss must give one number; got tensor"):
            recorder.log(loss=torch.ones(2))
        with pytest.raises(ValueError, match=r"error must be in \[0, 1\]; got 31"):
            recorder.log(error=31)
        with pytest.raises(ValueError, match="Did you mean 'last'"):
            recorder.log(loss=1.0, step="lost")
    with pytest.raises(RuntimeError, match="records once"), recorder:
        pass
