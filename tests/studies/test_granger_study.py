"""The study of false alarms: worlds are what they say, and rules have their known rates."""

from __future__ import annotations

import pytest
import torch

from causalprune_lib.evidence.grid import run_grid
from causalprune_studies.ch04_granger.study import (
    ADF,
    AS_THEY_ARE,
    GRANGER_STUDIES,
    N_TRUE,
    RULES,
    STEPS,
    WORLDS,
    GrangerRates,
    driven,
    falling,
    prepare,
    pushed,
)

TINY = GrangerRates(widths=(30, 151), n_effects=2)
SEEDS = [0, 1]


@pytest.fixture(scope="module")
def rows():
    found = run_grid([TINY], seeds=SEEDS, out=None, progress=False)
    assert not found.error.notna().any()
    return found


def rate(rows, world, rule, metric="false", samples=151, series=AS_THEY_ARE):
    chosen = rows[
        (rows.world == world)
        & (rows.rule == rule)
        & (rows.metric == metric)
        & (rows.samples == samples)
        & (rows.series == series)
    ]
    assert len(chosen) == len(SEEDS)
    return chosen.value.mean()


def test_every_place_is_there_once(rows):
    keys = ["world", "samples", "series", "rule", "seed", "metric"]
    assert (rows.groupby(keys).size() == 1).all()
    places = (len(WORLDS) + 2 * 2) * 2 * len(RULES)  # two worlds in three preparations
    assert len(rows) == (places * 2 + 2 * 2 * len(RULES)) * len(SEEDS)


def test_one_lag_keeps_its_level_on_noise_and_the_released_rule_does_not(rows):
    """240 candidates before 4 effects: 5% is 0.05 +- 0.014, so 0.095 is three deviations off."""
    assert rate(rows, "independent noise", "one lag, F") == pytest.approx(0.05, abs=0.045)
    assert 0.2 < rate(rows, "independent noise", "as released") < 0.5
    assert 0.1 < rate(rows, "independent noise", "smallest of 14, F") < 0.32
    assert rate(rows, "independent noise", "corrected") < 0.02


def test_below_44_samples_the_released_rule_calls_everything_causal(rows):
    assert rate(rows, "independent noise", "as released", samples=30) == 1
    assert rate(rows, "true arrows", "as released", "found", samples=30) == 1


def test_true_arrows_are_found_and_told_from_idle_series(rows):
    for rule in ("corrected", "as released"):
        found, false = (rate(rows, "true arrows", rule, m) for m in ("found", "false"))
        assert found > 0.3 + false


def test_a_hidden_driver_and_a_clock_fool_both_rules(rows):
    for world in ("hidden driver", "falling curves"):
        for rule in ("as released", "corrected"):
            assert rate(rows, world, rule) > 0.5
    assert rate(rows, "falling curves", "corrected", series=STEPS) < 0.2


def test_walks_are_cured_by_their_steps(rows):
    assert rate(rows, "random walks", "one lag, F") > 0.08
    for how in (STEPS, ADF):
        assert rate(rows, "random walks", "one lag, F", series=how) < 0.09


def test_worlds_hold_the_arrows_they_promise():
    """Correlations at the true lag, over 4,000 samples: an arrow shows, its absence does not."""
    random = torch.Generator().manual_seed(0)

    def echo(series, cause, lag):
        both = torch.stack([series[lag:, 0], series[: len(series) - lag, cause]])
        return torch.corrcoef(both)[0, 1].item()

    world = pushed(20, 4_000, generator=random)
    assert world.shape == (4_000, 21)
    assert all(echo(world, k, 2) > 0.16 for k in range(1, 1 + N_TRUE))
    assert all(abs(echo(world, k, 2)) < 0.08 for k in range(1 + N_TRUE, 21))
    world = driven(4, 4_000, generator=random)
    assert all(echo(world, k, 1) > 0.3 for k in range(1, 5))  # the driver's doing
    curves = falling(50, 100, generator=random)
    assert curves[:5].mean() > 0.8
    assert abs(curves[-1].mean()) < 0.15


def test_steps_are_differences_and_unknown_words_are_refused():
    series = torch.arange(12.0).double().view(4, 3) ** 2
    effect, causes = prepare(series, STEPS)
    assert torch.equal(effect, series[1:, 0] - series[:-1, 0])
    assert causes.shape == (3, 2)
    with pytest.raises(ValueError, match="Did you mean 'steps'"):
        prepare(series, "step")
    with pytest.raises(ValueError, match="worlds: each"):
        list(GrangerRates(worlds=("noise",)).run(0))


def test_the_full_study_is_filed_as_full():
    for profile, studies in GRANGER_STUDIES.items():
        assert {study.profile for study in studies} == {profile}
