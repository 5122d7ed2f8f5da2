"""The study of chapter 6: its identities, its controls, and its criteria."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from full_rows import PROVENANCE
from sklearn.linear_model import Lasso
from torch.nn.functional import cross_entropy

from causalprune_studies.ch06_causal_model import verdicts as causal_model_verdicts
from causalprune_studies.ch06_causal_model.study import (
    CausalModelFit,
    OneSlope,
    explained,
    frozen_steps,
    lasso_scores,
    recorded_steps,
)

SPEC = CausalModelFit(hidden=(6,), epochs=1, steps=24, step_batch=100, ratios=(0.5, 0.1))
HOW = {"steps": 24, "batch_size": 100, "lr": 0.05, "seed": 7}


@pytest.fixture(scope="module")
def trained():
    model = SPEC.build(seed=0)
    SPEC.train(model, SPEC.load(), seed=0)
    return model


@pytest.fixture(scope="module")
def made():
    return SPEC.measured_steps(0)


def test_a_two_batch_change_is_the_step_plus_the_exchange_of_batches(made):
    moving = made["moving"]
    _, two = moving.fitted("two_batch")
    _, same = moving.fitted("same_batch")
    np.testing.assert_allclose(two, same[:-1] + moving.swap(), atol=1e-12)
    assert moving.squares.shape == (24, 64 * 6 + 6 + 6 * 10 + 10)


def test_without_moves_the_two_batch_change_is_all_exchange(made):
    frozen = made["frozen"]
    np.testing.assert_array_equal(frozen.fitted("two_batch")[1], frozen.swap())


def test_frozen_steps_move_nothing_and_hold_the_squared_gradients(trained):
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    steps = frozen_steps(trained, SPEC.load(), **HOW)
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())

    other = frozen_steps(trained, SPEC.load(), **HOW | {"lr": 0.1})
    np.testing.assert_allclose(other.squares, 4 * steps.squares, rtol=1e-5)  # (lr g)^2
    moved = SPEC.build(seed=0)
    moved.load_state_dict(before)
    first = recorded_steps(moved, SPEC.load(), **HOW)
    np.testing.assert_allclose(first.squares[0], steps.squares[0], rtol=1e-3, atol=1e-9)
    assert first.loss_before[0] == pytest.approx(steps.loss_before[0], rel=1e-6)


def test_short_steps_follow_the_identity(trained):
    model = SPEC.build(seed=0)
    model.load_state_dict(trained.state_dict())
    model = model.double()
    data = SPEC.load()
    data = dataclasses.replace(data, x_train=data.x_train.double())
    x, y = recorded_steps(model, data, **HOW | {"lr": 1e-4}).fitted("same_batch")
    found = OneSlope.of(x, y, lr=1e-4)
    assert found.slope == pytest.approx(-1e4, rel=1e-3)
    assert found.r2_theory > 0.999


def test_one_slope_by_value():
    x = np.random.default_rng(0).uniform(size=(50, 3))
    found = OneSlope.of(x, -x.sum(1) / 0.25, lr=0.25)
    assert (found.slope, found.r2, found.r2_theory, found.correlation) == pytest.approx(
        (-4, 1, 1, -1)
    )
    assert explained(np.arange(4.0), np.full(4, 1.5), mean=1.5) == 0


def test_lasso_scores_equal_single_fits_of_scikit_learn():
    random = np.random.default_rng(1)
    x, y = random.uniform(size=(80, 30)), random.normal(size=80)
    x[:, 3] = 0  # a weight that never moved
    scores = dict(lasso_scores(x, y, ratios=(0.1, 0.5)))
    fit = np.delete(x, 3, axis=1)[:60]
    length = np.linalg.norm(fit, axis=0)
    largest = np.abs((fit / length).T @ y[:60]).max() / 60
    for ratio, found in scores.items():
        alone = Lasso(alpha=ratio * largest, fit_intercept=False, max_iter=50_000, tol=1e-8)
        alone.fit(fit / length, y[:60])
        new = alone.predict(np.delete(x, 3, axis=1)[60:] / length)
        assert found["kept"] == np.count_nonzero(alone.coef_)
        assert found["r2_out"] == pytest.approx(
            explained(y[60:], new, mean=y[:60].mean()), abs=1e-3
        )
    assert scores[0.1]["r2_in"] > scores[0.5]["r2_in"]


def test_at_most_as_many_weights_are_kept_as_steps_are_fitted():
    random = np.random.default_rng(2)
    x, y = random.uniform(size=(40, 400)), random.normal(size=40)
    assert dict(lasso_scores(x, y, ratios=(0.02,)))[0.02]["kept"] <= 30


def test_the_same_seed_gives_the_same_points():
    first, second = ([(p.coordinates, dict(p.metrics)) for p in SPEC.run(3)] for _ in range(2))
    assert repr(first) == repr(second)
    kinds = {where["kind"] for where, _ in first}
    assert kinds == {"same_batch", "two_batch", "shuffled", "frozen"}


def test_a_batch_larger_than_the_data_is_refused(trained):
    with pytest.raises(ValueError, match="batch_size must be at most"):
        recorded_steps(trained, SPEC.load(), **HOW | {"batch_size": 10**6})


def test_noise_off_means_the_network_s_own_loss(trained):
    steps = frozen_steps(trained, SPEC.load(), **HOW | {"steps": 1, "batch_size": 1437})
    data = SPEC.load()
    with torch.no_grad():
        loss = float(cross_entropy(trained(data.x_train[:1437]), data.y_train[:1437]))
    assert steps.loss_before[0] == pytest.approx(loss, rel=1e-5)


def full_rows(two_batch, frozen, identity, known=0.8):
    """Rows as a full run writes them: held-out R^2 of three kinds, and R^2 of theory."""
    common = PROVENANCE | {"subset": 10_000, "steps": 200}
    rows = []
    for dataset, seed in itertools.product(("cifar10", "fashion_mnist"), range(3)):
        values = {
            "r2_out": {"two_batch": two_batch, "frozen": frozen, "same_batch": known},
            "r2_theory": {"same_batch": identity, "two_batch": 0.01},
            "slope_lr": {"same_batch": -identity, "two_batch": 0.0},
        }
        for metric, by_kind in values.items():
            fit = {"layer": "all", "ratio": 0.2} if metric == "r2_out" else {}
            for k, (kind, value) in enumerate(by_kind.items()):
                where = {"dataset": dataset, "seed": seed, "metric": metric, "kind": kind, **fit}
                rows.append({**common, **where, "value": value + 1e-4 * (-1) ** k * seed})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.3, 0.1, 0.99), ("reproduced", "reproduced", "reproduced")),
        (
            (0.3, 0.4, 0.6),
            ("contradicted", "contradicted", "reproduced, and the control does it too"),
        ),
        ((-0.1, -0.4, 0.2), ("contradicted", "contradicted", "contradicted")),
        ((0.3, 0.1, 0.99, -0.2), ("reproduced", "reproduced", "not tested")),  # the test fails
    ],
)
def test_words_follow_from_planted_values(values, expected):
    found = causal_model_verdicts.verdicts(full_rows(*values))
    assert [*found] == [claim.name for claim in causal_model_verdicts.CLAIMS]
    for many, word in zip(found.values(), expected, strict=True):
        assert {v.word for v in many} == {word}
        assert {(v.dataset, v.estimate.n) for v in many} == {("cifar10", 3), ("fashion_mnist", 3)}


def test_quick_rows_decide_nothing():
    with pytest.raises(ValueError, match="full"):
        causal_model_verdicts.verdicts(full_rows(0.3, 0.1, 0.99).assign(profile="quick"))
