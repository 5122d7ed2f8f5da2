"""What counts as a step: closures, wrapped optimizers, failing and skipped steps, and the hooks."""

from __future__ import annotations

import pytest
import torch
from torch.optim import optimizer as torch_optimizer

from causalprune_lib.dynamics.recorder import TrajectoryRecorder


def same_bits(one, other) -> bool:
    """Equality that tells -0 from 0."""
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def test_a_closure_inside_the_step_as_lightning_calls_it(loop):
    model, losses = loop.network(), []
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with TrajectoryRecorder(model) as recorder:
        for x, y in loop.batches():

            def closure(x=x, y=y):
                loss = loop.loss(model, x, y)
                recorder.log(loss=loss)
                losses.append(loss.item())
                optimizer.zero_grad()
                loss.backward()
                return loss

            optimizer.step(closure)
    trajectory = recorder.trajectory()
    other = loop.network()
    assert same_bits(
        trajectory.weights, loop.walk(other, torch.optim.Adam(other.parameters(), lr=0.01))
    )
    assert trajectory.loss_before[1:].tolist() == losses


def test_lbfgs_makes_one_row_per_step_and_its_first_loss_is_the_one_before(loop):
    model, first = loop.network(), []
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    with TrajectoryRecorder(model, probe=loop.loss) as recorder:
        for x, y in loop.batches(3):
            first.append(loop.loss(model, x, y).item())

            def closure(x=x, y=y):
                recorder.batch(x, y)
                optimizer.zero_grad()
                loss = loop.loss(model, x, y)
                loss.backward()
                return loss

            optimizer.step(closure)
    trajectory = recorder.trajectory()
    assert len(trajectory) == 4
    assert trajectory.loss_before[1:].tolist() == first


class Wrapper(torch.optim.Optimizer):
    """An optimizer that moves weights by calling another one, as SAM and Lookahead do."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        super().__init__([p for g in inner.param_groups for p in g["params"]], {})
        self.inner = inner

    def step(self, closure=None):
        self.inner.step()
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.mul_(0.99)


def test_an_optimizer_that_wraps_another_makes_one_step(loop):
    model = loop.network()
    with TrajectoryRecorder(model) as recorder:
        seen = loop.walk(model, Wrapper(torch.optim.SGD(model.parameters(), lr=0.1)))
    assert same_bits(recorder.trajectory().weights, seen)


@pytest.mark.parametrize("same", [True, False], ids=["same optimizer", "another optimizer"])
def test_a_step_that_raises_and_is_caught_is_no_step(loop, same):
    model = loop.network()
    optimizer, other = (torch.optim.SGD(model.parameters(), lr=0.1) for _ in range(2))

    def closure(loss: float, fails: bool):
        recorder.log(loss=loss)
        if fails:
            raise ZeroDivisionError

    with TrajectoryRecorder(model) as recorder:
        with pytest.raises(ZeroDivisionError):
            optimizer.step(lambda: closure(1.0, fails=True))
        (optimizer if same else other).step(lambda: closure(2.0, fails=False))
        seen = loop.walk(model, optimizer if same else other)
    trajectory = recorder.trajectory()
    assert same_bits(trajectory.weights[1:], seen)
    assert trajectory.loss_before[1] == 2.0


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_a_gradient_scaler_skips_is_no_step(loop, fused):
    model = loop.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    losses = []
    with TrajectoryRecorder(model) as recorder:
        for t, (x, y) in enumerate(loop.batches()):
            loss = loop.loss(model, x, y) * (float("inf") if t in (0, 4) else 1.0)
            recorder.log(loss=loss)
            losses.append(loss.item())
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    trajectory = recorder.trajectory()
    assert len(trajectory) == loop.steps - 2 + 1
    assert (trajectory.increments() != 0).any(dim=1).all()
    made = [loss for t, loss in enumerate(losses) if t not in (0, 4)]
    assert trajectory.loss_before[1:].tolist() == made


def test_hooks_are_gone_after_the_block_and_after_an_error_in_it(loop):
    def hooks():
        return (
            len(torch_optimizer._global_optimizer_pre_hooks),
            len(torch_optimizer._global_optimizer_post_hooks),
        )

    before, model = hooks(), loop.network()
    recorder = TrajectoryRecorder(model)

    def run():
        with recorder:
            loop.walk(model, torch.optim.SGD(model.parameters(), lr=0.1), steps=2)
            assert hooks() != before
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        run()
    assert hooks() == before
    loop.walk(model, torch.optim.SGD(model.parameters(), lr=0.1))
    trajectory = recorder.trajectory()
    assert len(trajectory) == 3
    assert not trajectory.complete
