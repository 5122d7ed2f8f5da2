"""The decision: statsmodels' numbers as released, true rates on noise, both orientations."""

import contextlib
import io

import numpy as np
import pytest
import torch
from statsmodels.tsa.stattools import grangercausalitytests

from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.legcnet import LEGCNet, UnscoredError, legcnet_decision
from causalprune_lib.pruning.masks import Masks


def layout_of(n):
    return ParameterLayout(("fc",), (torch.Size([n]),))


def fitted(exponents, error, **options):
    """LEGCNet on a recording whose windows, two steps long, begin with their exponents."""
    read = {"window": 2, "overlap": 0.5, "gate": False, "estimator": lambda pair: pair[..., 0]}
    weights = torch.cat([exponents, exponents[-1:]])
    layout = layout_of(exponents.shape[1])
    return LEGCNet(**read, **options).fit_trajectory(weights, error=error, layout=layout)


def noise(n_windows, n_weights, seed=0):
    generator = torch.Generator().manual_seed(seed)
    error = torch.rand(n_windows, generator=generator, dtype=torch.float64)
    return torch.randn(n_windows, n_weights, generator=generator, dtype=torch.float64), error


def driven(n_windows=120, n_weights=30, n_causal=10, seed=0):
    """The first `n_causal` columns foretell the error by two windows."""
    exponents, error = noise(n_windows, n_weights, seed)
    error[2:] += 0.5 * exponents[:-2, :n_causal].sum(1)
    return exponents, error


def least_rounded_pvalue(error, exponents, max_lag):
    """The released reading, from statsmodels; 0 where it raises."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found = grangercausalitytests(np.stack([error, exponents], 1), maxlag=max_lag)
    except Exception:
        return 0.0
    return min(round(tests["ssr_chi2test"][1], 4) for tests, _ in found.values())


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(("n_windows", "max_lag"), [(60, 14), (44, 14), (43, 14), (25, 5)])
def test_as_released_is_statsmodels_with_rounding_minimum_and_exceptions(n_windows, max_lag):
    exponents, error = driven(n_windows, 12, 3)
    exponents[:, 4] = 0.7  # constant: statsmodels raises
    decision = legcnet_decision(exponents, error, max_lag=max_lag)
    expected = [
        least_rounded_pvalue(error.numpy(), exponents[:, k].numpy(), max_lag) for k in range(12)
    ]
    np.testing.assert_allclose(decision.pvalue.numpy(), expected, atol=1e-12)
    assert decision.keep.tolist() == [p < 0.05 for p in expected]
    assert decision.missing.tolist() == [k == 4 or n_windows == 43 for k in range(12)]


@pytest.mark.parametrize(
    ("n_windows", "max_lag", "low", "high"), [(60, 14, 0.78, 0.91), (151, 20, 0.42, 0.59)]
)
def test_how_often_the_released_rule_calls_noise_causal(n_windows, max_lag, low, high):
    """Far above 5%: the least of 14 or 20 p-values, each too small in short series.

    Seen 0.85 and 0.50 over 20 draws of 200 weights, where single draws lie 0.03 around; the bounds
    leave room for four such deviations of a mean over five draws, and for the shared error series.
    """
    rates = [
        float(
            legcnet_decision(*noise(n_windows, 200, seed), max_lag=max_lag).causal.double().mean()
        )
        for seed in range(5)
    ]
    assert low < np.mean(rates) < high


def test_the_corrected_rule_calls_noise_causal_as_rarely_as_it_says():
    """Benjamini-Hochberg on noise: a discovery in 5% of draws at most."""
    draws = [legcnet_decision(*noise(60, 100, seed), rule="corrected") for seed in range(20)]
    assert sum(bool(draw.causal.any()) for draw in draws) <= 4  # P(more at 5%) = 0.0026


def test_the_corrected_rule_finds_what_drives_the_error_at_its_false_discovery_rate():
    false, found = [], []
    for seed in range(20):
        decision = legcnet_decision(*driven(seed=seed), rule="corrected", max_lag=6)
        n = max(1, int(decision.causal.sum()))
        false.append(int(decision.causal[10:].sum()) / n)
        found.append(float(decision.causal[:10].double().mean()))
    assert np.mean(false) < 0.05 + 0.04
    assert np.mean(found) > 0.5


@pytest.mark.parametrize("rule", ["as_released", "corrected"])
def test_orientations_prune_opposite_sets_and_rank_in_opposite_order(rule):
    exponents, error = driven()
    one, other = (
        legcnet_decision(exponents, error, rule=rule, max_lag=4, orientation=orientation)
        for orientation in ("prune_non_causal", "prune_causal")
    )
    assert torch.equal(one.keep, ~other.keep)
    assert torch.equal(one.keep, one.causal)
    assert torch.equal(one.scores, -other.scores)


@pytest.mark.parametrize("rule", ["as_released", "corrected"])
@pytest.mark.parametrize("orientation", ["prune_non_causal", "prune_causal"])
def test_a_weight_that_cannot_be_tested_is_kept_and_has_no_score(rule, orientation):
    exponents, error = driven(n_weights=12, n_causal=4)
    exponents[3, 0] = torch.nan
    exponents[:, 1] = 2.0
    decision = legcnet_decision(exponents, error, rule=rule, orientation=orientation, max_lag=4)
    assert decision.missing.nonzero()[:, 0].tolist() == [0, 1]
    assert decision.keep[:2].all()
    assert decision.scores.isnan().nonzero()[:, 0].tolist() == [0, 1]
    assert decision.reason[:3].tolist() == ["not finite", "constant", ""]
    assert "which are kept: constant (1); not finite (1)." in decision.summary()


def test_scores_rank_what_drives_the_error_first():
    decision = legcnet_decision(*driven(), max_lag=4)
    assert (decision.scores.argsort(descending=True)[:8] < 10).all()


@pytest.mark.parametrize(("n_windows", "n_lags"), [(43, 13), (17, 5), (5, 1)])
def test_too_few_windows_give_an_empty_decision_and_a_ranking_by_the_lags_that_fit(
    n_windows, n_lags
):
    exponents, error = noise(n_windows, 8)
    decision = legcnet_decision(exponents, error, max_lag=14)
    assert decision.n_pruned == 0
    assert decision.n_missing == 8
    assert "The decision is empty." in decision.summary()
    fits = legcnet_decision(exponents, error, max_lag=n_lags)
    torch.testing.assert_close(decision.scores, fits.scores)
    assert not fits.scores.isnan().any()


def test_with_fewer_than_five_windows_there_is_no_ranking_either():
    decision = legcnet_decision(*noise(4, 8), max_lag=14)
    assert decision.scores.isnan().all()
    legcnet = fitted(*noise(4, 8))
    with pytest.raises(UnscoredError, match="8 weights that have no score"):
        legcnet.masks_at(1)


def test_no_windows_at_all_are_an_empty_decision():
    decision = legcnet_decision(torch.zeros(0, 3), torch.zeros(0))
    assert (decision.n_pruned, decision.n_missing, decision.n_windows) == (0, 3, 0)


def test_an_error_that_never_changes_tests_nothing():
    exponents, _ = noise(60, 5)
    decision = legcnet_decision(exponents, torch.full((60,), 0.1), max_lag=4)
    assert decision.n_missing == 5
    assert set(decision.reason) == {"constant effect"}


def test_a_ranking_prunes_no_weight_without_a_score():
    exponents, error = noise(60, 5)
    exponents[:, [1, 3]] = torch.nan
    legcnet = fitted(exponents, error, max_lag=4)
    assert legcnet.masks_at(3).flat().tolist() == [False, True, False, True, False]
    with pytest.raises(UnscoredError, match="must leave the 2 weights that have no score; got 4"):
        legcnet.masks_at(4)
    # What an earlier round pruned needs no score.
    within = Masks.from_flat(layout_of(5), torch.tensor([True, False, True, True, True]))
    assert legcnet.masks_at(4, within=within).flat().tolist() == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "as_relesed"}, "Did you mean 'as_released'"),
        ({"orientation": "prune"}, "orientation must be one of"),
        ({"max_lag": 0}, "max_lag must be >= 1"),
        ({"alpha": 2.0}, "alpha must be in"),
        ({"error": torch.rand(59)}, "exponents must have shape"),
        ({"error": torch.full((60,), torch.nan)}, "effect must be finite"),
    ],
)
def test_bad_input_is_named(change, message):
    exponents, error = noise(60, 3)
    options = {"error": error} | change
    with pytest.raises(ValueError, match=message):
        legcnet_decision(exponents, options.pop("error"), **options)
