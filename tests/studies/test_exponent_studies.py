"""The studies of windowed exponents: known systems come out as known, nulls at their level."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace

import pytest
import torch

from causalprune_lib.dynamics.systems import HENON_EXPONENT
from causalprune_lib.evidence.grid import run_grid
from causalprune_lib.pruning.windows import windowed_exponents
from causalprune_studies.ch03_exponents.study import (
    EXPONENT_STUDIES,
    ITSELF,
    NOT_CHAOTIC,
    READINGS,
    SURROGATES,
    SYSTEMS,
    KnownExponents,
    WeightExponents,
    beside_surrogates,
    read_exponents,
)
from causalprune_studies.paper_networks.settings import LEGCNET_SETTINGS

KNOWN = KnownExponents(lengths=(200,), n_windows=5)
WEIGHTS = WeightExponents("iris_csv", lengths=(50,), n_weights=3, n_windows=5)


@pytest.fixture(scope="module")
def known():
    rows = run_grid([KNOWN], seeds=[0, 1], out=None, progress=False)
    assert not rows.error.notna().any()
    return rows


def mean(rows, series, reading, metric="exponent", surrogate=ITSELF):
    chosen = rows[
        (rows.series == series)
        & (rows.reading == reading)
        & (rows.metric == metric)
        & (rows.surrogate == surrogate)
    ]
    assert len(chosen) == 2
    return chosen.value.mean()


def test_every_place_is_there_once(known):
    keys = ["series", "samples", "reading", "surrogate", "seed", "metric"]
    assert (known.groupby(keys).size() == 1).all()
    per_reading = 3 + 5 * len(SURROGATES)
    assert len(known) == len(SYSTEMS) * 2 * per_reading * 2


def test_the_slope_finds_the_exponents_of_the_maps(known):
    assert mean(known, "logistic map", "fitted slope") == pytest.approx(math.log(2), rel=0.1)
    assert mean(known, "Hénon map", "fitted slope") == pytest.approx(HENON_EXPONENT, rel=0.25)


def test_the_released_reading_is_positive_where_nothing_is_chaotic(known):
    for series in NOT_CHAOTIC:
        assert mean(known, series, "as released", "positive") > 0.9
    luck = 0.5 * math.log(195 / (2 * math.e)) + math.sqrt(2 / 195)  # see chapter 3
    assert mean(known, "white noise", "as released") == pytest.approx(luck, abs=0.08)


@pytest.mark.parametrize(
    ("series", "surrogate"),
    [("white noise", "shuffled"), ("random walk", "increments shuffled")],
)
def test_a_true_null_is_seldom_rejected_and_a_false_one_often(known, series, surrogate):
    at = {"metric": "rejected", "surrogate": surrogate}
    assert mean(known, series, "as released", **at) <= 0.3  # 10 windows at 5%: P(> 3) = 0.001
    assert mean(known, "logistic map", "as released", **at) == 1
    assert mean(known, "logistic map", "as released", "lowest", surrogate) == 1


def test_windows_without_an_estimate_are_counted_and_not_rejected():
    windows = torch.randn(6, 60, generator=torch.Generator().manual_seed(0)).double()
    windows[:2] = 1.0  # constant
    points = list(
        beside_surrogates(windows, "as released", generator=torch.Generator().manual_seed(1))
    )
    assert [p.coordinates["surrogate"] for p in points] == [ITSELF, *SURROGATES]
    assert all(p.metrics["missing"] == pytest.approx(1 / 3) for p in points)
    assert points[1].metrics["rejected"] in {0, 0.25, 0.5}  # of four windows, not of six


def test_readings_round_or_do_not():
    walk = torch.randn(20, 200, generator=torch.Generator().manual_seed(0)).double().cumsum(1)
    small = 1e-6 * walk
    assert not torch.allclose(
        read_exponents(small, "as released"), read_exponents(small, "unrounded")
    )
    torch.testing.assert_close(
        read_exponents(walk, "as released"), read_exponents(walk, "unrounded"), rtol=0, atol=1e-3
    )
    with pytest.raises(ValueError, match="Did you mean 'unrounded'"):
        read_exponents(walk, "unround")


@pytest.fixture
def short_training(monkeypatch):
    """Eight epochs of the iris network in place of two hundred."""
    settings = replace(LEGCNET_SETTINGS["iris_csv"], epochs=8)
    monkeypatch.setitem(LEGCNET_SETTINGS, "iris_csv", settings)


@pytest.mark.usefixtures("short_training")
def test_weights_are_cut_and_read_as_the_released_code_does():
    weights = WEIGHTS.record(1)
    assert weights.shape == (8 * 120 + 1, 42)
    cut = WEIGHTS.cut(weights, 160)
    assert cut.shape == (15, 160)
    assert torch.equal(cut[0], weights[:160, 0])
    whole = windowed_exponents(weights[:, [0, 20, 41]], window=160, gate=False).exponent
    places = torch.linspace(0, len(whole) - 1, 5).long()
    mine = read_exponents(cut, "as released").round(decimals=6)
    torch.testing.assert_close(mine, whole[places].T.flatten(), rtol=0, atol=2e-6)


@pytest.mark.usefixtures("short_training")
def test_a_network_gives_every_reading_at_its_own_window_too():
    rows = run_grid([WEIGHTS], seeds=[0], out=None, progress=False)
    assert not rows.error.notna().any()
    assert set(rows.samples) == {50, 160}
    assert set(rows.reading) == set(READINGS)
    with pytest.raises(ValueError, match=r"published trial in 0\.\.9; got 10"):
        next(iter(WEIGHTS.run(10)))


def test_the_full_studies_are_filed_as_full():
    for profile, studies in EXPONENT_STUDIES.items():
        assert {study.profile for study in studies} == {profile}
        assert all(dataclasses.is_dataclass(study) for study in studies)
