"""A verdict rests on full rows of known code, and on nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from causalprune_lib.evidence.verdict import Verdict, require_full


def full_rows(n_seeds=4):
    """Rows as run_grid writes them at profile full, from a clean commit."""
    return pd.DataFrame(
        {
            "method": ["a"] * n_seeds + ["b"] * n_seeds,
            "seed": [*range(n_seeds)] * 2,
            "profile": "full",
            "metric": "accuracy",
            "value": [0.9 + 0.01 * k for k in range(n_seeds)] + [0.8] * n_seeds,
            "error": np.nan,
            "seconds": 1.5,
            "started": "2025-01-01T00:00:00Z",
            "device": "cpu",
            "cpu": "some processor",
            "python": "3.12.0",
            "torch": "2.13.0",
            "numpy": "2.0.0",
            "causalprune_lib": "0.1.0",
            "commit": "0" * 40,
            "dirty": False,
        }
    )


def draw(frame, **options):
    sides = {"between": "method", "a": "a", "b": "b", "control": "matched counts"}
    return Verdict.from_pairs("a beats b.", "reproduced", frame, **(sides | options))


def test_full_rows_pass_unchanged():
    frame = full_rows()
    assert require_full(frame) is frame
    assert require_full(frame.assign(dirty="False")) is not None  # as read from a file


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("profile", "quick"),
        ("profile", np.nan),
        ("commit", np.nan),
        ("commit", ""),
        ("dirty", True),
        ("dirty", "True"),
        ("dirty", np.nan),
        ("error", "ValueError: no"),
        ("device", np.nan),
        ("seconds", np.nan),
        ("torch", ""),
    ],
)
def test_one_bad_row_is_enough_to_refuse(column, value):
    frame = full_rows().astype({column: object})
    frame.loc[3, column] = value
    with pytest.raises(ValueError, match=rf"{column}.* 1 of 8 rows otherwise"):
        require_full(frame)
    with pytest.raises(ValueError, match=column):
        draw(frame)


@pytest.mark.parametrize("column", ["profile", "commit", "dirty", "seed", "started", "cpu"])
def test_a_missing_column_is_refused(column):
    with pytest.raises(ValueError, match=rf"{column}.* 8 of 8 rows"):
        require_full(full_rows().drop(columns=column))


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="at least one row"):
        require_full(full_rows().iloc[:0])


def test_a_quick_run_of_the_grid_is_refused(grid):
    @dataclass(frozen=True)
    class Study:
        profile: str

        def run(self, seed):
            return {"accuracy": 0.5}

    with pytest.raises(ValueError, match=r'profile "full" .* 2 of 2 rows .*quick'):
        require_full(grid([Study("quick")], [0, 1], out=None))


def test_the_effect_is_the_paired_difference():
    verdict = draw(full_rows(), unit="accuracy")
    assert verdict.effect == pytest.approx(0.115)
    assert verdict.n_seeds == 4
    low, high = verdict.interval
    spread = np.std([0.1, 0.11, 0.12, 0.13], ddof=1)
    assert high - low == pytest.approx(2 * 3.182446 * spread / 2, rel=1e-5)  # t of 3 degrees
    text = verdict.to_markdown()
    assert text.startswith("**Reproduced.** a beats b.")
    assert "0.115 accuracy (95% interval" in text
    assert "4 seeds" in text
    assert "matched counts" in text
    assert verdict._repr_markdown_() == text


def test_a_row_without_a_partner_is_refused():
    with pytest.raises(ValueError, match="partner"):
        draw(full_rows().drop(index=0))


GOOD = {"claim": "c", "verdict": "partly", "effect": 0.1, "interval": (0.0, 0.2), "n_seeds": 3}
GOOD["control"] = "random masks"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "reproducd"}, "Did you mean 'reproduced'"),
        ({"claim": " "}, "claim"),
        ({"control": ""}, "control"),
        ({"effect": None}, "effect"),
        ({"effect": math.nan}, "effect"),
        ({"effect": 0.3}, "inside"),
        ({"interval": None}, "interval"),
        ({"interval": (0.2, 0.0)}, "interval"),
        ({"interval": (math.nan, math.nan)}, "interval"),
        ({"n_seeds": 1}, "n_seeds"),
        ({"verdict": "not tested here"}, "effect, interval and n_seeds"),
    ],
)
def test_a_verdict_that_says_too_little_is_refused(change, message):
    assert Verdict(**GOOD).effect == 0.1
    with pytest.raises(ValueError, match=message):
        Verdict(**(GOOD | change))


def test_what_was_not_tested_says_so_without_numbers():
    nothing = {"verdict": "not tested here", "effect": None, "interval": None, "n_seeds": 0}
    text = Verdict(**(GOOD | nothing)).to_markdown()
    assert text.startswith("**Not tested here.** c")
    assert "interval" not in text
