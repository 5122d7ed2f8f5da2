"""`CausalScores` and the released rule, used wrongly: errors say what is wrong."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from causalprune_lib.causality.scores import (
    CausalScores,
    released_sums,
    released_support,
    solver_step_sizes,
)


def test_the_memory_is_checked_before_anything_is_taken(loop, monkeypatch):
    monkeypatch.setattr("causalprune_lib._memory.available_memory", lambda: 10)
    with (
        pytest.raises(MemoryError, match=r"scores of 75 weights needs 1\.20 kB"),
        CausalScores(loop.network(), n_steps=3),
    ):
        pass


def test_a_block_without_steps_or_losses_says_so(loop):
    model = loop.network()
    with (
        pytest.warns(UserWarning, match="No optimizer step of this model was seen"),
        CausalScores(model, n_steps=loop.steps) as scores,
    ):
        pass
    with pytest.raises(RuntimeError, match=r"No update is recorded.*0 updates were dropped"):
        scores.support(1.0)
    with (
        pytest.warns(UserWarning, match=r"11 of 11 updates.*log\(loss=\.\.\.\) before each step"),
        CausalScores(model, n_steps=loop.steps) as scores,
    ):
        loop.train(model)
    for read in (scores.scores, lambda: scores.sums, lambda: scores.alpha_max):
        with pytest.raises(RuntimeError, match=r"No update is recorded.*11 updates were dropped"):
            read()


def test_a_model_that_changed_is_noticed(loop):
    model = loop.network()
    with CausalScores(model, n_steps=loop.steps) as scores:
        loop.train(model, scores)
    last, model[5] = model[5], nn.Linear(12, 2)
    with pytest.raises(ValueError, match=r"'5.weight' must have shape \(4, 12\); got \(2, 12\)"):
        scores.support(1e-9)
    model[5] = nn.Identity()
    with pytest.raises(ValueError, match=r"must have the parameter '5\.weight'"):
        _ = scores.sums
    model[5] = last
    assert scores.movement["5.weight"].shape == (4, 12)
    with CausalScores(model, n_steps=loop.steps) as scores:
        loop.train(model, scores)
        model[5] = nn.Linear(12, 4)
    with pytest.raises(ValueError, match=r"parameters of 5\.weight were replaced in the block"):
        scores.scores()


def test_weights_that_overflow_under_a_finite_loss_are_named():
    model = nn.Linear(8, 3)
    with CausalScores(model, n_steps=4) as scores:
        for t in range(4):
            scores.log(loss=float(t))
            with torch.no_grad():
                model.weight.add_(1e-3 if t == 0 else 1e30)
            scores.step()
    with pytest.raises(ValueError, match=r"sums of 'weight' hold NaN or infinity"):
        _ = scores.sums


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, TypeError, "required keyword-only argument: 'n_steps'"),
        ({"n_steps": 1}, ValueError, "n_steps must be >= 2; got 1"),
        ({"n_steps": 3, "loss": "twobatch"}, ValueError, "Did you mean 'two_batch'"),
        ({"n_steps": 3, "loss": "same_batch"}, ValueError, "loss='same_batch' needs probe="),
        ({"n_steps": 3, "reuse_loss": True}, ValueError, "reuse_loss needs loss='same_batch'"),
    ],
)
def test_bad_options(options, error, said):
    with pytest.raises(error, match=said):
        CausalScores(nn.Linear(2, 1), **options)


def test_wrong_use_is_named(loop):
    model = loop.network()
    with pytest.raises(RuntimeError, match="inside its with block"):
        CausalScores(model, n_steps=3).log(loss=1.0)
    with pytest.raises(RuntimeError, match="No update is recorded"):
        CausalScores(model, n_steps=3).scores()
    with CausalScores(model, n_steps=loop.steps) as scores:
        with pytest.raises(TypeError, match="loss must give one number"):
            scores.log(loss=torch.ones(2))
        loop.train(model, scores)
    with pytest.raises(RuntimeError, match="records once"):
        scores.__enter__()
    with pytest.raises(ValueError, match="Did you mean 'released'"):
        scores.scores("relased")
    with pytest.raises(ValueError, match=r"alpha must be a finite number > 0; got 0"):
        scores.support(0)


def test_a_first_loss_after_the_first_step_is_refused(loop):
    model = loop.network()

    def late() -> None:
        with CausalScores(model, n_steps=3) as scores:
            loop.train(model, steps=1)
            scores.log(loss=1.0)

    with pytest.raises(ValueError, match="the first one came after the first step"):
        late()


def test_the_rule_names_what_is_wrong():
    x, y, w = torch.rand(4, 3), torch.randn(4), torch.ones(4)
    with pytest.raises(ValueError, match="at least one recorded step; got none"):
        released_sums(x[:0], y[:0], step_sizes=w[:0])
    with pytest.raises(ValueError, match=r"y must have shape \(4\)"):
        released_sums(x, y[:3], step_sizes=w)
    with pytest.raises(ValueError, match=r"step_sizes must have shape \(4\)"):
        released_sums(x, y, step_sizes=w[:3])
    with pytest.raises(ValueError, match="step_sizes must be above 0"):
        released_sums(x, y, step_sizes=w * 0)
    with pytest.raises(ValueError, match=r"y must be finite"):
        released_sums(x, y * float("inf"), step_sizes=w)
    x[2, 1] = float("nan")
    with pytest.raises(ValueError, match=r"x must be finite.*\(2, 1\)"):
        released_sums(x, y, step_sizes=w)
    with pytest.raises(ValueError, match="n_steps must be >= 1"):
        solver_step_sizes(0)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        *(({"alpha": a}, ValueError, "alpha must be a finite") for a in (0, -1.0, torch.nan)),
        ({"alpha": "1"}, TypeError, "alpha must be"),
        ({"alpha": 0.5, "floor": 1.5}, ValueError, r"floor must be in \[0, 1\]"),
        ({"alpha": 0.5, "empty": "allowed"}, ValueError, "Did you mean 'allow'"),
    ],
)
def test_bad_options_of_the_rule(options, error, said):
    with pytest.raises(error, match=said):
        released_support({"conv": torch.ones(2), "fc": torch.ones(2)}, total_step=1.0, **options)
