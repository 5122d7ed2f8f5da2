"""Streamed sums equal those of a recording, whatever happens to single steps on the way."""

from __future__ import annotations

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from causalprune_lib.causality.scores import (
    CausalScores,
    momentum_features,
    released_support,
    solver_step_sizes,
)
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.pruning.select import masks_from_scores

STEPS = 40
FLOAT32 = 1e-6  # of the sum of absolute terms, for float32 sums of some tens of terms


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(12, 4)
        )


def batches(steps: int = STEPS):
    noise = torch.Generator().manual_seed(1)
    for _ in range(steps):
        yield torch.randn(8, 1, 4, 4, generator=noise), torch.randint(4, (8,), generator=noise)


def loss_of(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(model(x), y)


def train(model, scores, recorder=None, *, spoil=(), lr=0.05, momentum=0.0, steps=STEPS) -> list:
    """Train and stream, and record if asked to; the losses of steps in `spoil` come out as inf."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for t, (x, y) in enumerate(batches(steps)):
            if scores.loss == "same_batch":
                scores.batch(x, y)
                if recorder is not None:
                    recorder.batch(x, y)
            optimizer.zero_grad()
            loss = loss_of(model, x, y)
            loss.backward()
            losses.append(math.inf if t in spoil else loss.item())
            if scores.loss == "two_batch":
                scores.log(loss=losses[-1])
                if recorder is not None:
                    recorder.log(loss=losses[-1])
            optimizer.step()
    return losses


def streamed(model=None, *, loss="two_batch", spoil=(), record=True, **options):
    """The scores of a run, and its recording."""
    model = network() if model is None else model
    momentum = 0.9 if "form" in options else 0.0
    probe = loss_of if loss == "same_batch" else None
    if "step_sizes" not in options:
        options.setdefault("n_steps", STEPS)
    recorder = TrajectoryRecorder(model, probe=probe)
    with CausalScores(model, loss=loss, probe=probe, **options) as scores, recorder:
        train(model, scores, recorder, spoil=spoil, momentum=momentum)
    return scores, recorder.trajectory()


def samples(trajectory, loss: str) -> tuple[torch.Tensor, torch.Tensor]:
    """x (T, P) and y (T,) in float64, straight from the definition."""
    weights = torch.from_numpy(np.array(trajectory.weights)).double()
    x = (weights[1:] - weights[:-1]).square()
    before, after = (torch.tensor(v[1:]) for v in (trajectory.loss_before, trajectory.loss_after))
    if loss == "same_batch":
        return x, after - before
    return x[:-1], before[1:] - before[:-1]


def close(got: torch.Tensor, want: torch.Tensor, size: torch.Tensor) -> bool:
    """Equal to `FLOAT32` of the sum of absolute terms, weight by weight."""
    return bool(((got.double() - want).abs() <= FLOAT32 * size).all())


def flat(scores: CausalScores, what: dict) -> torch.Tensor:
    return scores.layout.flatten(what)


@pytest.mark.parametrize("loss", ["two_batch", "same_batch"])
@pytest.mark.parametrize("sizes", ["solver", "constant"])
def test_streaming_equals_the_batch_of_all_steps(loss, sizes):
    options = {"step_sizes": "constant"} if sizes == "constant" else {}
    scores, trajectory = streamed(loss=loss, **options)
    x, y = samples(trajectory, loss)
    w = torch.ones(len(y)) if sizes == "constant" else solver_step_sizes(len(y))
    assert scores.n_recorded == len(y) == STEPS - (loss == "two_batch")
    assert scores.n_unfinished == (loss == "two_batch")
    assert scores.n_dropped == scores.n_late == 0
    assert scores.total_step == pytest.approx(float(w.sum()), rel=1e-12)
    terms = (w * y)[:, None] * x
    assert close(flat(scores, scores.sums), terms.sum(0), terms.abs().sum(0))
    assert close(flat(scores, scores.movement), x.sum(0), x.sum(0))
    assert close(flat(scores, scores.squared_norms), (x**2).sum(0), (x**2).sum(0))
    assert bool((flat(scores, scores.sums) != 0).any())


@pytest.mark.parametrize("loss", ["two_batch", "same_batch"])
def test_the_mask_is_that_of_the_plain_function_on_the_recording(loss):
    scores, trajectory = streamed(loss=loss)
    x, y = samples(trajectory, loss)
    w = solver_step_sizes(len(y))
    for ratio in (0.03, 0.2, 0.7):
        alphas = {name: ratio * top for name, top in scores.alpha_max.items()}
        support = scores.support(alphas)
        for name, alpha in alphas.items():
            part = x[:, scores.layout.span(name)]
            kept = released_support(part, y, alpha=alpha, step_sizes=w)
            sums = scores.sums[name].flatten().double().abs()
            clear = (sums / (alpha * float(w.sum())) - 1).abs() > 1e-4  # else rounding decides
            assert bool(clear.float().mean() > 0.9)
            assert torch.equal(kept[clear], support[name].flatten()[clear])
            assert scores.alpha_ratio(alphas)[name] == pytest.approx(ratio)


@pytest.mark.parametrize("loss", ["two_batch", "same_batch"])
@pytest.mark.parametrize("form", ["vanilla", "momentum", "momentum_paper"])
def test_replay_of_the_recording_gives_the_same_bits(loss, form):
    options = {} if form == "vanilla" else {"form": form}
    scores, trajectory = streamed(loss=loss, **options)
    probe = loss_of if loss == "same_batch" else None
    again = CausalScores(network(7), loss=loss, n_steps=STEPS, probe=probe, form=form)
    assert again.replay(trajectory) is again
    assert again.n_recorded == scores.n_recorded
    assert again.total_step == scores.total_step
    for feature, sums in scores.feature_sums().items():
        for name, values in sums.items():
            assert torch.equal(again.feature_sums()[feature][name], values)
    assert torch.equal(flat(again, again.movement), flat(scores, scores.movement))


def test_a_placebo_with_shuffled_losses_has_the_same_movement_and_other_sums():
    scores, trajectory = streamed()
    shuffled = trajectory.loss_before.copy()
    shuffled[1:] = np.random.default_rng(0).permutation(shuffled[1:])
    placebo = CausalScores(network(), n_steps=STEPS)
    placebo.replay(dataclasses.replace(trajectory, loss_before=shuffled))
    assert torch.equal(flat(placebo, placebo.movement), flat(scores, scores.movement))
    assert not torch.allclose(flat(placebo, placebo.sums), flat(scores, scores.sums), rtol=0.1)


@pytest.mark.parametrize(("form", "features"), [("momentum", 2), ("momentum_paper", 3)])
@pytest.mark.parametrize("loss", ["two_batch", "same_batch"])
def test_momentum_sums_equal_those_of_the_features(form, features, loss):
    scores, trajectory = streamed(loss=loss, form=form)
    which = "derived" if features == 2 else "paper"
    weights = torch.from_numpy(np.array(trajectory.weights)).double()
    x = momentum_features(weights.diff(dim=0), form=which)
    _, y = samples(trajectory, loss)
    y = y[1:]
    x = x[: len(y)]
    w = solver_step_sizes(len(y))
    terms = (w * y)[:, None, None] * x
    assert scores.n_recorded == len(y)
    found = scores.feature_sums()
    assert list(found) == (["square", "cross"] if features == 2 else ["square", "lagged", "cross"])
    for f, sums in enumerate(found.values()):
        assert close(flat(scores, sums), terms[:, f].sum(0), terms[:, f].abs().sum(0))
    top = terms.sum(0).abs().amax(0)
    assert close(flat(scores, scores.scores()), top, terms.abs().sum((0, 1)))
    alpha = 0.5 * min(scores.alpha_max.values())
    kept = flat(scores, scores.support(alpha))
    one_passes = (terms.sum(0).abs() > alpha * float(w.sum())).any(0)
    assert float((kept == one_passes).double().mean()) > 0.98


@pytest.mark.parametrize("loss", ["two_batch", "same_batch"])
def test_a_step_without_a_finite_loss_is_dropped_counted_and_reported_once(loss):
    spoil = (0, 9, 30)
    if loss == "two_batch":
        gone = [0, 8, 9, 29, 30]  # each such loss ends one update and begins the next
        with pytest.warns(UserWarning, match="5 of 39 updates are not in the sums") as seen:
            scores, trajectory = streamed(spoil=spoil)
    else:
        gone = list(spoil)
        calls = iter(range(10**6))

        def probe(model, x, y):  # calls 2t and 2t + 1 are before and after step t
            return math.nan if next(calls) // 2 in spoil else loss_of(model, x, y)

        model = network()
        recorder = TrajectoryRecorder(model, probe=loss_of)
        with (
            pytest.warns(UserWarning, match="3 of 40 updates") as seen,
            CausalScores(model, loss=loss, n_steps=STEPS, probe=probe) as scores,
            recorder,
        ):
            train(model, scores, recorder)
        trajectory = recorder.trajectory()
    assert len(seen) == 1
    x, y = samples(trajectory, loss)
    w = solver_step_sizes(len(y))
    kept = [t for t in range(len(y)) if t not in gone]
    assert scores.n_dropped == len(gone)
    assert scores.n_recorded == len(kept)
    assert scores.total_step == pytest.approx(float(w[kept].sum()))
    terms = (w[kept] * y[kept])[:, None] * x[kept]
    assert close(flat(scores, scores.sums), terms.sum(0), terms.abs().sum(0))
    assert close(flat(scores, scores.movement), x[kept].sum(0), x[kept].sum(0))


def test_a_run_that_diverges_keeps_what_it_had():
    """The weights go to NaN in step 20; the sums hold the steps before."""
    model = network()

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return gradient * math.nan if len(calls) == 21 else gradient

    calls = []
    model[0].weight.register_hook(spoil)
    with (
        pytest.warns(UserWarning, match="19 of 39 updates are not in the sums"),
        CausalScores(model, n_steps=STEPS) as scores,
    ):
        train(model, scores)
    assert scores.n_recorded == 20
    assert bool(flat(scores, scores.sums).isfinite().all())
    assert bool((flat(scores, scores.movement) > 0).all())


def test_masked_weights_have_no_movement_and_no_score():
    model = network()
    prune.l1_unstructured(model[4], "weight", 0.5)
    scores, trajectory = streamed(model)
    pruned = model[4].weight_mask == 0
    assert int(pruned.sum()) == 24
    for read in (scores.movement, scores.scores(), scores.sums, scores.squared_norms):
        assert bool((read["4.weight"][pruned] == 0).all())
        assert bool((read["4.weight"][~pruned] != 0).any())
    x, y = samples(trajectory, "two_batch")
    terms = (solver_step_sizes(len(y)) * y)[:, None] * x
    assert close(flat(scores, scores.sums), terms.sum(0), terms.abs().sum(0))


def test_the_ranking_over_all_layers_is_the_rule_at_one_alpha():
    scores, _ = streamed()
    alpha = 0.4 * min(scores.alpha_max.values())
    support = scores.support(alpha)
    kept = sum(int(keep.sum()) for keep in support.values())
    masks = masks_from_scores(scores.scores(), scores.layout.size - kept, scope="global")
    assert all(torch.equal(masks[name], keep) for name, keep in support.items())


@pytest.mark.parametrize("sizes", ["solver", "constant"])
@pytest.mark.parametrize("loss", ["two_batch", "same_batch"])
def test_correlations_are_those_of_numpy(sizes, loss):
    model = network()
    prune.l1_unstructured(model[4], "weight", 0.5)
    options = {"step_sizes": "constant"} if sizes == "constant" else {"correlation": True}
    scores, trajectory = streamed(model, loss=loss, **options)
    x, y = samples(trajectory, loss)
    found = flat(scores, scores.scores("correlation"))
    moved = x.std(0) > 0
    expected = np.abs(np.corrcoef(x[:, moved].T, y)[-1, :-1])
    np.testing.assert_allclose(found[moved], expected, atol=2e-5)
    assert bool((found[~moved] == 0).all())
    assert int((~moved).sum()) == 24


def test_steps_so_small_that_their_fourth_power_vanishes_in_float32():
    """lr times gradient about 1e-13, so that x^2 is about 1e-52."""
    small = network()
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.mul_(1e-10)  # so that such steps are not lost beside the weights
    step = torch.full((27,), 1e-13)
    with CausalScores(small, step_sizes="constant") as scores:
        for t in range(5):
            scores.log(loss=float(t % 2))
            with torch.no_grad():
                small[0].weight.view(-1).add_(step)
            scores.step()
    assert scores.squared_norms["0.weight"].dtype == torch.float64
    np.testing.assert_allclose(scores.squared_norms["0.weight"], 4e-52, rtol=1e-3)
    np.testing.assert_allclose(scores.movement["0.weight"], 4e-26, rtol=1e-3)


def test_double_weights_are_summed_in_double():
    model = network().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with CausalScores(model, n_steps=10) as scores, TrajectoryRecorder(model) as recorder:
        for x, y in batches(10):
            loss = loss_of(model, x.double(), y)
            optimizer.zero_grad()
            loss.backward()
            scores.log(loss=loss)
            recorder.log(loss=loss)
            optimizer.step()
    x, y = samples(recorder.trajectory(), "two_batch")
    terms = (solver_step_sizes(9) * y)[:, None] * x
    size = terms.abs().sum(0)
    assert scores.sums["0.weight"].dtype == torch.float64
    assert bool(((flat(scores, scores.sums) - terms.sum(0)).abs() <= 1e-13 * size).all())


def test_five_vectors_are_kept_and_nothing_else():
    for options, vectors in (
        ({}, 5),
        ({"correlation": True}, 6),
        ({"form": "momentum"}, 6),
        ({"form": "momentum_paper"}, 7),
    ):
        scores, _ = streamed(**options)
        kept = [v for v in scores.state_dict()["held"].values() if isinstance(v, torch.Tensor)]
        assert scores.nbytes == sum(v.nbytes for v in kept) == vectors * 4 * scores.layout.size
        owned = {v.untyped_storage().data_ptr(): v.untyped_storage().nbytes() for v in kept}
        assert sum(owned.values()) == scores.nbytes


def test_training_is_not_changed_by_streaming():
    plain = network()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for x, y in batches():
            optimizer.zero_grad()
            loss_of(plain, x, y).backward()
            optimizer.step()
    for loss in ("two_batch", "same_batch"):
        watched = network()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            streamed(watched, loss=loss)
        for name, value in plain.state_dict().items():
            assert torch.equal(watched.state_dict()[name], value)
