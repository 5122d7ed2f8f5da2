"""What counts as a step, which losses belong to it, and that measuring them leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import optimizer as torch_optimizer

from causalprune_lib.dynamics.listener import undisturbed
from causalprune_lib.dynamics.recorder import TrajectoryRecorder

STEPS = 6


def sgd(model: nn.Module, **options) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1, **options)


def loss_of(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(model(x), y)


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
    plain = loop.walk(other, torch.optim.Adam(other.parameters(), lr=0.01))
    assert loop.same_bits(trajectory.weights, plain)
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
        seen = loop.walk(model, Wrapper(sgd(model)))
    assert loop.same_bits(recorder.trajectory().weights, seen)


def test_two_optimizers_over_one_model_make_two_steps_or_one_on_request(loop):
    def optimizers(model):
        return [
            torch.optim.SGD(model[0].parameters(), lr=0.1),
            torch.optim.Adam(model[3].parameters(), lr=0.01),
        ]

    model = loop.network()
    with TrajectoryRecorder(model) as recorder:
        seen = loop.walk(model, *optimizers(model))
    assert loop.same_bits(recorder.trajectory().weights, seen)
    model = loop.network()
    pair = optimizers(model)
    with TrajectoryRecorder(model, optimizer=pair[1]) as recorder:
        again = loop.walk(model, *pair)
    assert loop.same_bits(again, seen)
    assert loop.same_bits(recorder.trajectory().weights, seen[::2])


def test_an_optimizer_that_holds_none_of_the_chosen_weights_makes_no_step(loop):
    model = loop.network()
    first, last = (torch.optim.SGD(model[k].parameters(), lr=0.1) for k in (0, 3))
    with TrajectoryRecorder(model, indices=[0, 1]) as recorder:
        loop.walk(model, first, last)
    assert len(recorder.trajectory()) == loop.steps + 1


@pytest.mark.parametrize("same", [True, False], ids=["same optimizer", "another optimizer"])
def test_a_step_that_raises_and_is_caught_is_no_step(loop, same):
    model = loop.network()
    optimizer, other = (sgd(model) for _ in range(2))

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
    assert loop.same_bits(trajectory.weights[1:], seen)
    assert trajectory.loss_before[1] == 2.0


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_a_gradient_scaler_skips_is_no_step(loop, fused):
    model = loop.network()
    optimizer, losses = sgd(model, fused=fused), []
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
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
            loop.walk(model, sgd(model), steps=2)
            assert hooks() != before
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        run()
    assert hooks() == before
    loop.walk(model, sgd(model))
    trajectory = recorder.trajectory()
    assert len(trajectory) == 3
    assert not trajectory.complete


def test_a_loop_without_an_optimizer_counts_its_own_steps(loop):
    model = loop.network()
    with TrajectoryRecorder(model) as recorder:
        model[0].weight.data.add_(1.0)
        recorder.log(loss=2.0)
        recorder.step()
    trajectory = recorder.trajectory()
    assert torch.equal(trajectory.at(1), loop.weights(model))
    assert trajectory.loss_before.tolist()[1:] == [2.0]


def train(model: nn.Module, data: list, recorder=None, *, announce: bool = False) -> list[float]:
    """A loop with momentum; the losses, and a random number that shows the generator's state."""
    optimizer, losses = sgd(model, momentum=0.9), []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for x, y in data:
            if announce:
                recorder.batch(x, y)
            optimizer.zero_grad()
            loss = loss_of(model, x, y)
            loss.backward()
            losses.append(loss.item())
            if recorder is not None and not announce:
                recorder.log(loss=loss)
            optimizer.step()
        return [*losses, torch.rand(()).item()]


def test_training_with_a_probe_equals_training_without_bit_for_bit(noisy, batches):
    plain, watched, data = noisy(), noisy(), batches(STEPS, 16, (4,), 3)
    losses = train(plain, data)

    def probe(model, x, y):
        return loss_of(model, x, y) + 0 * torch.rand(())  # draws from the generator of training

    def state(model):
        grads = {f"{n}.grad": p.grad for n, p in model.named_parameters() if p.grad is not None}
        return {**model.state_dict(), **grads}

    with TrajectoryRecorder(watched, probe=probe) as recorder:
        assert train(watched, data, recorder, announce=True) == losses
    expected = state(plain)
    assert state(watched).keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in state(watched).items())
    modes = {name: module.training for name, module in watched.named_modules()}
    assert modes == {name: module.training for name, module in plain.named_modules()}
    assert modes["body.1"]
    assert not modes["frozen"]


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_logged_loss_belongs_to_its_step(noisy, batches, on_disk, tmp_path):
    model, data = noisy(), batches(STEPS, 16, (4,), 3)
    with TrajectoryRecorder(model, path=tmp_path / "run" if on_disk else None) as recorder:
        losses = train(model, data, recorder)
    trajectory = recorder.trajectory()
    assert trajectory.loss_before[1:].tolist() == losses[:-1]
    assert np.isnan(trajectory.loss_after).all()


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("inside", [False, True], ids=["loop", "closure"])
def test_the_probe_measures_one_batch_before_and_after_its_step(batches, inside, reuse):
    model, calls = nn.Sequential(nn.Linear(4, 3)), []
    optimizer = sgd(model)
    before, after = [], []

    def probe(model, x, y):
        calls.append(1)
        return loss_of(model, x, y)

    with TrajectoryRecorder(model, probe=probe, reuse_loss=reuse) as recorder:
        for x, y in batches(STEPS, 16, (4,), 3):

            def closure(x=x, y=y):
                recorder.batch(x, y)
                optimizer.zero_grad()
                loss = loss_of(model, x, y)
                loss.backward()
                if reuse:
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
    assert np.isnan(trajectory.loss_before[0])
    assert np.isnan(trajectory.loss_after[0])
    assert trajectory.loss_before[1:].tolist() == before
    assert trajectory.loss_after[1:].tolist() == after
    assert len(calls) == STEPS * (1 if reuse else 2)


def test_a_step_of_size_zero_changes_no_measured_loss(noisy, batches):
    """The running statistics move in training; the measured difference must not see that."""
    model = noisy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with TrajectoryRecorder(model, probe=loss_of) as recorder:
        for x, y in batches(STEPS, 16, (4,), 3):
            recorder.batch(x, y)
            loss_of(model, x, y).backward()
            optimizer.step()
    trajectory = recorder.trajectory()
    assert np.array_equal(trajectory.loss_before[1:], trajectory.loss_after[1:])
    assert model.body[1].num_batches_tracked == STEPS


def test_the_probe_rests_at_steps_that_are_not_recorded():
    model, calls = nn.Linear(2, 1), []
    with TrajectoryRecorder(model, every=3, probe=lambda m, t: calls.append(t) or t) as recorder:
        for t in range(1, 8):
            recorder.batch(t)
            recorder.step()
    assert calls == [3, 3, 6, 6]
    np.testing.assert_equal(recorder.trajectory().loss_before, [np.nan, 3.0, 6.0])


def test_a_first_loss_after_the_first_step_is_questioned():
    model = nn.Linear(2, 1)
    optimizer = sgd(model)
    with TrajectoryRecorder(model) as recorder:
        optimizer.step()
        with pytest.warns(UserWarning, match=r"log it before optimizer\.step\(\)"):
            recorder.log(loss=1.0)


@pytest.mark.parametrize("batch_statistics", [True, False])
def test_undisturbed_uses_the_statistics_that_it_says(noisy, batch_statistics):
    model, x = noisy(), torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
    model.body[1].running_mean += 3.0
    with undisturbed(model, batch_statistics=batch_statistics):
        seen = model(x)
    hidden = model.body[0](x)
    if batch_statistics:
        mean, variance = hidden.mean(0), hidden.var(0, unbiased=False)
    else:
        mean, variance = model.body[1].running_mean, model.body[1].running_var
    hidden = ((hidden - mean) / (variance + 1e-5).sqrt()).relu() / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(seen, model.head(hidden), atol=1e-5, rtol=1e-5)
    assert not seen.requires_grad
    with torch.autocast("cpu", torch.bfloat16), undisturbed(model):
        assert model(x).dtype == torch.float32


def test_undisturbed_restores_after_an_error(noisy):
    model = noisy()
    mean, state = model.body[1].running_mean, torch.get_rng_state()

    def look():
        with undisturbed(model):
            torch.rand(3)
            model.train()
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        look()
    assert model.body[1].running_mean is mean
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not model.frozen.training
    assert torch.is_grad_enabled()
