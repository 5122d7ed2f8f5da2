"""Streamed sums equal those of a recording, and the rule on them is the released solver's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from causalprune_lib.causality.scores import (
    CausalScores,
    alpha_max,
    released_sums,
    released_support,
    solver_step_sizes,
)
from causalprune_lib.causality.sgd_lasso import sgd_lasso
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.pruning.select import masks_from_scores

EPS = torch.finfo(torch.float32).eps
LOSSES = pytest.mark.parametrize("loss", ["two_batch", "same_batch"])


@pytest.fixture(scope="module")
def streamed(loop):
    """The scores of a run beside its recording, as x (T, P) and y (T,) by the definition."""

    def run(model=None, *, loss="two_batch", **options):
        model = loop.network() if model is None else model
        options = {**loop.options(loss), **options}
        recorder = TrajectoryRecorder(model, probe=loop.options(loss)["probe"])
        with CausalScores(model, **options) as scores, recorder:
            loop.train(model, scores, recorder, loss=loss)
        trajectory = recorder.trajectory()
        weights = torch.from_numpy(np.array(trajectory.weights)).double()
        x = weights.diff(dim=0).square()
        before, after = (
            torch.tensor(v[1:]) for v in (trajectory.loss_before, trajectory.loss_after)
        )
        return scores, *((x, after - before) if loss == "same_batch" else (x[:-1], before.diff()))

    return run


def close(scores, got: dict, terms: torch.Tensor) -> bool:
    """Equal to the sum over t of `terms` (T, P), to the rounding of T additions in float32."""
    error = (scores.layout.flatten(got).double() - terms.sum(0)).abs()
    return bool((error <= 2 * len(terms) * EPS * terms.abs().sum(0)).all())


@LOSSES
def test_streaming_equals_the_batch_of_all_steps(loop, streamed, loss):
    scores, x, y = streamed(loss=loss)
    w = solver_step_sizes(len(y))
    assert scores.n_recorded == len(y) == loop.steps - (loss == "two_batch")
    assert scores.n_unfinished == (loss == "two_batch")
    assert scores.n_dropped == scores.n_late == 0
    assert scores.total_step == pytest.approx(float(w.sum()), rel=1e-12)
    assert close(scores, scores.sums, (w * y)[:, None] * x)
    assert close(scores, scores.movement, x)
    assert all(bool((values != 0).all()) for values in scores.sums.values())
    assert torch.equal(scores.scores()["0.weight"], scores.sums["0.weight"].abs())
    assert torch.equal(scores.scores("movement")["0.weight"], scores.movement["0.weight"])


def test_the_mask_is_that_of_the_plain_function_on_the_recording(streamed):
    scores, x, y = streamed()
    w = solver_step_sizes(len(y))
    plain = scores.layout.unflatten(released_sums(x, y, step_sizes=w))
    for ratio in (0.03, 0.2, 0.7):
        alpha = ratio * min(scores.alpha_max.values())
        support = scores.support(alpha)
        kept = released_support(plain, total_step=float(w.sum()), alpha=alpha)
        for name in plain:
            clear = (plain[name].abs() / (alpha * float(w.sum())) - 1).abs() > 1e-4  # of rounding
            assert float(clear.double().mean()) > 0.8
            assert torch.equal(kept[name][clear], support[name][clear])


def test_the_ranking_over_all_layers_is_the_rule_at_one_alpha(streamed):
    scores, *_ = streamed()
    support = scores.support(0.4 * min(scores.alpha_max.values()))
    kept = sum(int(keep.sum()) for keep in support.values())
    masks = masks_from_scores(scores.scores(), scores.layout.size - kept, scope="global")
    assert all(torch.equal(masks[name], keep) for name, keep in support.items())


def test_a_logged_loss_that_is_not_finite_costs_two_updates_which_keep_their_step_sizes(loop):
    model, gone = loop.network(), [0, 3, 4, 9, 10]  # each ends one update and begins the next
    with (
        pytest.warns(UserWarning, match="5 of 11 updates are not in the sums") as seen,
        CausalScores(model, n_steps=loop.steps) as scores,
        TrajectoryRecorder(model) as recorder,
    ):
        loop.train(model, scores, recorder, spoil=(0, 4, 10))
    assert len(seen) == 1
    weights = torch.from_numpy(np.array(recorder.trajectory().weights)).double()
    y = torch.tensor(recorder.trajectory().loss_before[1:]).diff()
    kept = [t for t in range(11) if t not in gone]
    w, x = solver_step_sizes(11)[kept], weights.diff(dim=0).square()[kept]
    assert (scores.n_dropped, scores.n_recorded) == (5, 6)
    assert scores.total_step == pytest.approx(float(w.sum()))
    assert close(scores, scores.sums, (w * y[kept])[:, None] * x)
    assert close(scores, scores.movement, x)


def test_a_probed_loss_that_is_not_finite_costs_one_update(loop):
    model, calls = loop.network(), iter(range(10**6))

    def probe(model, x, y):  # calls 2t and 2t + 1 are before and after step t
        return math.nan if next(calls) // 2 in (0, 5) else loop.loss(model, x, y)

    with (
        pytest.warns(UserWarning, match=r"2 of 12 updates .*\(the probe gives it"),
        CausalScores(model, **{**loop.options("same_batch"), "probe": probe}) as scores,
    ):
        loop.train(model, scores, loss="same_batch")
    assert (scores.n_dropped, scores.n_recorded) == (2, 10)


def test_a_run_that_diverges_keeps_what_it_had(loop):
    """The weights go to NaN in step 6; the sums hold the steps before."""
    model, calls = loop.network(), []

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return gradient * math.nan if len(calls) == 7 else gradient

    model[0].weight.register_hook(spoil)
    with (
        pytest.warns(UserWarning, match="5 of 11 updates are not in the sums"),
        CausalScores(model, n_steps=loop.steps) as scores,
    ):
        loop.train(model, scores)
    assert scores.n_recorded == 6
    assert all(bool(values.isfinite().all()) for values in scores.sums.values())
    assert all(bool((values > 0).all()) for values in scores.movement.values())


def test_masked_weights_have_no_movement_and_no_score(loop, streamed):
    model = loop.network()
    prune.l1_unstructured(model[5], "weight", 0.5)
    scores, x, y = streamed(model)
    pruned = model[5].weight_mask == 0
    for read in (scores.movement, scores.scores(), scores.sums):
        assert bool(((read["5.weight"] == 0) == pruned).all())
    assert close(scores, scores.sums, (solver_step_sizes(len(y)) * y)[:, None] * x)


def test_steps_whose_squares_vanish_in_float32_are_summed_in_a_unit_of_their_own():
    model = nn.Linear(3, 1)
    nn.init.zeros_(model.weight)
    steps = torch.tensor([[1e-22, -3e-22, 7e-23]])
    with CausalScores(model, n_steps=5) as scores:
        for t in range(5):
            scores.log(loss=1e15 * t**2)
            with torch.no_grad():
                model.weight.add_(steps)
            scores.step()
    y = 1e15 * torch.arange(5.0).square().diff().double()
    expected = (solver_step_sizes(4) * y).sum() * steps.double().square()
    torch.testing.assert_close(scores.sums["weight"].double(), expected, rtol=1e-5, atol=0)


def test_double_weights_are_summed_in_double(loop, streamed):
    scores, x, y = streamed(loop.network().double())
    terms = (solver_step_sizes(len(y)) * y)[:, None] * x
    assert scores.sums["0.weight"].dtype == torch.float64
    error = (scores.layout.flatten(scores.sums) - terms.sum(0)).abs()
    assert bool((error <= 1e-14 * terms.abs().sum(0)).all())


def test_four_vectors_are_kept_and_nothing_else(streamed):
    scores, *_ = streamed()
    kept = [v for v in vars(scores).values() if isinstance(v, torch.Tensor) and v.dim()]
    kept = [v for v in kept if v is not scores._step_sizes]
    owned = {v.untyped_storage().data_ptr(): v.untyped_storage().nbytes() for v in kept}
    assert scores.nbytes == sum(owned.values()) == 4 * 4 * scores.layout.size


@pytest.mark.parametrize("loss", ["two_batch", "probed two_batch", "same_batch"])
def test_batch_norm_dropout_random_state_and_modes_are_untouched(loop, loss):
    plain, watched, calls = loop.network(), loop.network(), []

    def probe(model, x, y):
        assert not any(m.training for m in model.modules())
        calls.append(1)
        return loop.loss(model, x, y) + 0 * torch.rand(())

    options = {"n_steps": loop.steps, "loss": loss.split()[-1]}
    options |= {} if loss == "two_batch" else {"probe": probe}
    with CausalScores(watched, **options) as scores:
        fed = "two_batch" if loss == "two_batch" else "same_batch"  # a probe is fed with batches
        assert loop.train(watched, scores, loss=fed) == loop.train(plain)
    assert scores.n_recorded == loop.steps - (loss != "same_batch")
    assert len(calls) == {"two_batch": 0, "same_batch": 2}.get(loss, 1) * loop.steps
    mine, theirs = watched.state_dict(), plain.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert mine["1.num_batches_tracked"] == loop.steps
    assert [m.training for m in watched.modules()] == [m.training for m in plain.modules()]


def test_without_noise_a_step_of_size_zero_has_no_same_batch_change(loop):
    model = loop.network()
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    with CausalScores(model, **loop.options("same_batch")) as scores:
        loop.train(model, scores, loss="same_batch", optimizer=still)
    assert scores.n_recorded == loop.steps
    assert all(bool((s == 0).all()) for s in scores.sums.values())
    with pytest.raises(ValueError, match=r"alpha must be below alpha_max.*'0\.weight' with 0"):
        scores.support(1e-30)


@LOSSES
@pytest.mark.parametrize(
    ("more", "said"),
    [(-3, "3 updates came after the {} announced"), (2, "only {came} of the {} announced")],
)
def test_more_or_fewer_steps_than_announced(loop, loss, more, said):
    model, came = loop.network(), loop.steps - (loss == "two_batch")
    options = {**loop.options(loss), "n_steps": loop.steps + more}
    with (
        pytest.warns(UserWarning, match=said.format(came + more, came=came)),
        CausalScores(model, **options) as scores,
    ):
        loop.train(model, scores, loss=loss)
    assert (scores.n_recorded, scores.n_late) == (came + min(more, 0), max(-more, 0))


def test_the_last_of_several_losses_before_a_step_counts():
    """Gradient accumulation: two batches, then a step."""
    model = nn.Linear(8, 3)
    nn.init.zeros_(model.weight)
    with CausalScores(model, n_steps=6) as scores:
        for t in range(6):
            scores.log(loss=9.0)
            scores.log(loss=0.5**t)
            with torch.no_grad():
                model.weight.add_(0.5)
            scores.step()
    expected = 0.25 * (solver_step_sizes(5) * (0.5 ** torch.arange(6.0)).diff()).sum()
    found = scores.sums["weight"].double()
    torch.testing.assert_close(found, expected.expand(3, 8), rtol=1e-6, atol=0)


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_a_gradient_scaler_skips_is_none(loop, fused):
    model = loop.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    with CausalScores(model, n_steps=loop.steps - 2) as scores:
        for t, (x, y) in enumerate(loop.batches()):
            loss = loop.loss(model, x, y) * (math.inf if t in (0, 4) else 1.0)
            scores.log(loss=loss)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    assert (scores.n_recorded, scores.n_dropped) == (loop.steps - 3, 0)


def test_only_the_named_optimizer_counts(loop):
    model = loop.network()
    first, last = (torch.optim.SGD(model[i].parameters(), lr=0.1) for i in (0, 5))
    with CausalScores(model, n_steps=loop.steps, optimizer=last) as scores:
        for x, y in loop.batches():
            loss = loop.loss(model, x, y)
            loss.backward()
            scores.log(loss=loss)
            first.step()
            last.step()
    assert scores.n_recorded == loop.steps - 1


def test_an_error_in_the_block_passes_and_the_steps_stay(loop):
    model = loop.network()
    scores = CausalScores(model, n_steps=loop.steps)

    def stopped() -> None:
        with scores:
            loop.train(model, scores, steps=5)
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        stopped()
    loop.train(model)  # no longer heard
    assert scores.n_recorded == 4


# The released rule


def samples(seed: int = 0, scale: float = 1e-7, steps: int = 30, width: int = 40):
    """Squared increments as small as they are in training, and changes of a loss."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((steps, width)), 0.1 * rng.standard_normal(steps)
    return torch.from_numpy(scale * x**2), torch.from_numpy(y)


def rule(x, y, alpha):
    """Sums, the step sizes' sum and what is kept at `alpha`, a share of alpha_max."""
    w = solver_step_sizes(len(y))
    sums, total = {"x": released_sums(x, y, step_sizes=w)}, float(w.sum())
    alpha *= alpha_max(sums, total_step=total)["x"]
    return sums["x"], alpha, released_support(sums, total_step=total, alpha=alpha)["x"]


@pytest.mark.parametrize("ratio", [0.02, 0.3, 0.9, 0.999])
def test_the_rule_keeps_what_the_iterated_solver_keeps(ratio):
    x, y = samples()
    sums, alpha, kept = rule(x, y, ratio)
    gamma = torch.from_numpy(sgd_lasso(x, y, alpha=alpha).coef)
    assert 0 < int(kept.sum()) < x.shape[1]
    assert torch.equal(kept, gamma != 0)
    soft = sums.sign() * (sums.abs() - alpha * solver_step_sizes(len(y)).sum()).clamp(min=0)
    torch.testing.assert_close(gamma, soft, rtol=1e-6, atol=1e-7 * float(sums.abs().max()))


def test_the_rule_fails_where_predictions_leave_zero():
    """It is the closed form of a solver that has not moved, not of the lasso."""
    x, y = samples(scale=10.0)  # the learning rate times |x|^2 is about 1 now
    _, alpha, kept = rule(x, y, 0.3)
    assert kept.tolist() != (sgd_lasso(x, y, alpha=alpha).coef != 0).tolist()


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
    small, large = (rule(*samples(seed, steps=8), r)[2] for r in sorted([one, other]))
    assert bool((small | ~large).all())


def test_the_columns_are_independent_and_pieces_change_nothing(monkeypatch):
    x, y = samples()
    w = solver_step_sizes(len(y))
    whole = released_sums(x, y, step_sizes=w)
    monkeypatch.setattr("causalprune_lib.causality.scores.CHUNK", 90)  # three columns each
    torch.testing.assert_close(released_sums(x, y, step_sizes=w), whole, rtol=1e-12, atol=1e-20)
    single = released_sums(x[:, 5:6].float(), y.numpy(), step_sizes=w.numpy())
    torch.testing.assert_close(single, whole[5:6], rtol=1e-5, atol=0)


def test_alpha_max_is_the_edge():
    sums = {"a": torch.tensor([0.3, -0.7, 0.0]), "b": torch.tensor([[2.0]])}
    top = alpha_max(sums, total_step=0.1)
    for share, kept in ((0.999999, 1), (1.000001, 0)):
        for name, value in top.items():
            keep = released_support(sums, total_step=0.1, alpha=share * value, empty="allow")
            assert int(keep[name].sum()) == kept
    with pytest.raises(ValueError, match=r"alpha must be below alpha_max.*'a' with 7.*'b' with 20"):
        released_support(sums, total_step=0.1, alpha=20.1)
    with pytest.raises(ValueError, match=r"got 9 in 'a' with 7\. floor= keeps the best"):
        released_support(sums, total_step=0.1, alpha=9)


def test_a_floor_keeps_the_best_of_a_layer_and_touches_no_other():
    sums = {"a": torch.tensor([[0.3, -0.7], [0.0, 0.3]]), "b": torch.tensor([5.0, 6.0, 0.1])}
    kept = released_support(sums, total_step=1.0, alpha=1.0, floor=2)
    assert kept["a"].tolist() == [[False, True], [False, True]]  # of the two equal, the later
    assert kept["b"].tolist() == [True, True, False]
    for floor, n in ((9, 4), (0.25, 1)):
        assert int(released_support(sums, total_step=1.0, alpha=1.0, floor=floor)["a"].sum()) == n
