"""The released rule: the solver's step sizes, its closed form, and masks at any alpha."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causalprune_lib.causality.scores import (
    alpha_max,
    keep_above,
    released_sums,
    released_support,
    solver_step_sizes,
)


def problem(steps: int = 30, width: int = 40, seed: int = 0):
    """Squared increments as small as they are in training, and changes of a loss."""
    noise = np.random.default_rng(seed)
    x = 1e-7 * noise.standard_normal((steps, width)) ** 2
    return torch.from_numpy(x), torch.from_numpy(0.1 * noise.standard_normal(steps))


def solve(x: np.ndarray, y: np.ndarray, alpha: float, passes: int = 3) -> np.ndarray:
    """Truncated gradient with cumulative penalty, one sample per update (Tsuruoka et al. 2009)."""
    gamma, received = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    owed, i = 0.0, 0
    for _ in range(passes):
        for row, target in zip(x, y, strict=True):
            i += 1
            lr = 0.01 / i**0.25
            owed += lr * alpha
            before = gamma + lr * (target - row @ gamma) * row
            gamma = np.where(
                before > 0,
                np.maximum(0, before - (owed + received)),
                np.minimum(0, before + (owed - received)),
            )
            received += gamma - before
    return gamma


@pytest.mark.parametrize("ratio", [0.02, 0.3, 0.9, 0.999])
def test_the_rule_keeps_what_the_iterated_solver_keeps(ratio):
    x, y = problem()
    w = solver_step_sizes(len(y))
    sums = released_sums(x, y, step_sizes=w)
    alpha = ratio * float(sums.abs().max() / w.sum())
    gamma = solve(x.numpy(), y.numpy(), alpha)
    kept = released_support(x, y, alpha=alpha, step_sizes=w)
    assert 0 < int(kept.sum()) < x.shape[1]
    assert kept.tolist() == (gamma != 0).tolist()
    soft = sums.sign() * (sums.abs() - alpha * w.sum()).clamp(min=0)
    np.testing.assert_allclose(gamma, soft, rtol=1e-6, atol=1e-7 * float(sums.abs().max()))


def test_the_rule_fails_where_predictions_leave_zero():
    """It is the closed form of a solver that has not moved, not of the lasso."""
    x, y = problem()
    x = x * 1e8  # lr * |x|^2 is about 1 now
    w = solver_step_sizes(len(y))
    alpha = 0.3 * float(released_sums(x, y, step_sizes=w).abs().max() / w.sum())
    kept = released_support(x, y, alpha=alpha, step_sizes=w)
    assert kept.tolist() != (solve(x.numpy(), y.numpy(), alpha) != 0).tolist()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 50), st.integers(1, 4), st.floats(0, 1))
def test_step_sizes_are_the_learning_rates_of_every_visit(steps, passes, power):
    rates = [[] for _ in range(steps)]
    for i in range(steps * passes):
        rates[i % steps].append(0.1 / (i + 1) ** power)
    w = solver_step_sizes(steps, passes=passes, base=0.1, power=power)
    np.testing.assert_allclose(w, [sum(r) for r in rates], rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_larger_alpha_keeps_a_part_of_what_a_smaller_one_keeps(seed, one, other):
    x, y = problem(steps=8, width=12, seed=seed)
    w = solver_step_sizes(8)
    top = alpha_max({"x": released_sums(x, y, step_sizes=w)}, total_step=float(w.sum()))["x"]
    small, large = (
        released_support(x, y, alpha=r * top, step_sizes=w) for r in sorted([one, other])
    )
    assert bool((small | ~large).all())


def test_the_columns_are_independent_and_blocks_change_nothing(monkeypatch):
    x, y = problem()
    w = solver_step_sizes(len(y))
    whole = released_sums(x, y, step_sizes=w)
    monkeypatch.setattr("causalprune_lib.causality.scores.CHUNK", 90)  # three columns each
    torch.testing.assert_close(released_sums(x, y, step_sizes=w), whole, rtol=1e-12, atol=0)
    single = released_sums(x[:, 5:6].float(), y.numpy(), step_sizes=w.numpy())
    torch.testing.assert_close(single, whole[5:6], rtol=1e-6, atol=0)


def test_alpha_max_is_the_edge():
    sums = {"a": torch.tensor([0.3, -0.7, 0.0]), "b": torch.tensor([[2.0]])}
    top = alpha_max(sums, total_step=0.1)
    below = keep_above(sums, total_step=0.1, alpha={n: 0.999999 * a for n, a in top.items()})
    assert [int(keep.sum()) for keep in below.values()] == [1, 1]
    with pytest.raises(ValueError, match=r"alpha must be below alpha_max.*in 'a' with 7.*'b' with"):
        keep_above(sums, total_step=0.1, alpha=top)
    with pytest.raises(ValueError, match=r"got 9 in 'a' with 7\. floor= keeps the best"):
        keep_above(sums, total_step=0.1, alpha=9)
    none = keep_above(sums, total_step=0.1, alpha=9, empty="allow")
    assert [int(keep.sum()) for keep in none.values()] == [0, 1]


def test_a_floor_keeps_the_best_of_a_layer_and_touches_no_other():
    sums = {"a": torch.tensor([[0.3, -0.7], [0.0, 0.3]]), "b": torch.tensor([5.0, 6.0, 0.1])}
    kept = keep_above(sums, total_step=1.0, alpha=1.0, floor=2)
    assert kept["a"].tolist() == [[False, True], [False, True]]  # of the two equal, the later
    assert kept["b"].tolist() == [True, True, False]
    assert int(keep_above(sums, total_step=1.0, alpha=1.0, floor=9)["a"].sum()) == 4
    assert int(keep_above(sums, total_step=1.0, alpha=1.0, floor=0.25)["a"].sum()) == 1


def test_wrong_input_is_named():
    x, y = problem(steps=4, width=3)
    w = torch.ones(4)
    for alpha in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"alpha must be a finite number > 0"):
            released_support(x, y, alpha=alpha, step_sizes=w)
    with pytest.raises(TypeError, match="alpha must be"):
        released_support(x, y, alpha="1", step_sizes=w)
    with pytest.raises(ValueError, match="at least one recorded step; got none"):
        released_support(x[:0], y[:0], alpha=1.0, step_sizes=w[:0])
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
    sums = {"conv": torch.ones(2), "fc": torch.ones(2)}
    with pytest.raises(ValueError, match="alpha must name every layer; missing"):
        keep_above(sums, total_step=1.0, alpha={"fc": 0.5})
    with pytest.raises(ValueError, match="Did you mean 'conv'"):
        keep_above(sums, total_step=1.0, alpha={"fc": 0.5, "conf": 0.5})
    with pytest.raises(ValueError, match=r"floor must be in \[0, 1\]"):
        keep_above(sums, total_step=1.0, alpha=0.5, floor=1.5)
    with pytest.raises(ValueError, match="Did you mean 'allow'"):
        keep_above(sums, total_step=1.0, alpha=0.5, empty="allowed")
    with pytest.raises(ValueError, match="n_steps must be >= 1"):
        solver_step_sizes(0)
