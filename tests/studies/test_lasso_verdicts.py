"""Chapter 7: how much of its lasso the released solver solves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from full_rows import frame

from causalprune_studies.ch07_lasso.study import SOLVER_STUDIES
from causalprune_studies.ch07_lasso.verdicts import CLAIMS, verdicts
from causalprune_studies.tables import measured


def full_rows(reached):
    rows = [
        {"dataset": "cifar10", "seed": seed, "layer": layer, "ratio": 0.1, "metric": "reached"}
        | {"value": reached, "subset": 10_000, "steps": 200}
        for seed in range(3)
        for layer in ("conv1", "fc1")
    ]
    return frame(rows)


@pytest.mark.parametrize(
    ("reached", "expected"),
    [
        (0.9999, "reproduced"),
        (0.5, "contradicted"),
        (1e-14, "contradicted"),
    ],
)
def test_words_follow_from_planted_values(reached, expected):
    found = verdicts(full_rows(reached))
    assert list(found) == [claim.name for claim in CLAIMS]
    (one,) = found["the mask is a lasso's"]
    assert one.word == expected
    assert (one.estimate.n, one.estimate.units) == (3, "networks")  # layers are no networks
    assert one.scale["images"] == 0.2


def test_a_solver_that_reaches_the_optimum_is_told_from_one_that_does_not():
    """Squared moves are far too small for it; features of size one are not."""
    (spec,) = SOLVER_STUDIES["quick"]
    points = list(replace(spec, steps=12, epochs=1, ratios=(0.5,)).run(0))
    assert {p.coordinates["layer"] for p in points} == set(spec.layers)
    for point in points:
        assert abs(point.metrics["reached"]) < 1e-6  # squared moves are far too small
        assert point.metrics["same"] == 1
        assert 1 <= point.metrics["kept_exact"] <= 11  # at most T
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5))
    y = x @ np.array([2.0, 0, 0, -1.0, 0])
    assert spec._solved(x, y, 0.1)["reached"] > 0.2  # with features of size one it fits


def test_the_committed_rows_say_what_the_book_says():
    rows = measured("the-released-solver")
    assert {v.word for v in verdicts(rows)["the mask is a lasso's"]} == {"contradicted"}
    assert rows[rows.metric == "same"].value.eq(1).all()
    reached = rows[rows.metric == "reached"].value
    assert reached.abs().max() < 1e-6
