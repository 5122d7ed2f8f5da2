"""Windows, gate and exponents: against brute force, window by window, and against plain facts."""

import functools
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from causalprune_lib.dynamics.lyapunov import largest_lyapunov
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.windows import (
    cut_windows,
    first_step_estimator,
    mean_changes,
    released_gate,
    windowed_exponents,
)


def walks(n_iterates=600, n_weights=5, seed=0, step=1e-3):
    noise = torch.Generator().manual_seed(seed)
    return (step * torch.randn(n_iterates, n_weights, generator=noise, dtype=torch.float64)).cumsum(
        0
    )


def least_cost(x: np.ndarray) -> tuple[float, float]:
    """Cost without a change point, and least cost with one or more, by trying every set of them."""
    n = len(x)

    @functools.cache
    def squares(start, stop):
        return float(((x[start:stop] - x[start:stop].mean()) ** 2).sum())

    costs = [
        sum(squares(*ends) for ends in itertools.pairwise((0, *cuts, n))) + len(cuts)
        for size in range(1, n)
        for cuts in itertools.combinations(range(1, n), size)
    ]
    return squares(0, n), min(costs)


def test_windows_overlap_as_in_the_paper():
    """Window i covers the iterates [0.9 w i, 0.9 w (i + 1) + 0.1 w)."""
    for w in (50, 160, 200, 250):
        windows = cut_windows(20 * w, window=w)
        i = np.arange(windows.count)
        assert np.allclose(windows.starts, 0.9 * w * i)
        assert np.allclose(windows.ends + 1, 0.9 * w * (i + 1) + 0.1 * w)


@given(st.integers(0, 300), st.integers(2, 60), st.floats(0, 0.99))
@settings(max_examples=40, deadline=None)
def test_windows_are_whole_and_no_more_would_fit(n_iterates, window, overlap):
    windows = cut_windows(n_iterates, window=window, overlap=overlap)
    next_end = windows.stride * windows.count + window - 1
    assert (windows.ends < n_iterates).all()
    assert next_end >= n_iterates


@given(
    st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=9),
    st.sampled_from([0.5, 1.0, 2.0, 5.0, 13.0]),
)
@settings(max_examples=40, deadline=None)
def test_a_change_point_is_found_where_some_segmentation_costs_less(values, scale):
    x = scale * np.array(values, dtype=np.float64)
    without, best = least_cost(x)
    if abs(without - best) > 1e-9:
        assert bool(mean_changes(torch.from_numpy(x))) == (best < without)


def test_several_change_points_may_pay_where_one_does_not():
    x = np.zeros(30)
    x[14:16] = 1.2  # a short excursion: one cut brings 0.2, two bring 2.7 and cost 2
    without, best = least_cost(x[10:20])
    assert best < without
    assert bool(mean_changes(torch.from_numpy(x)))
    assert not bool(mean_changes(torch.from_numpy(x) / 1.4**0.5))  # two bring 1.9


def test_a_line_is_a_change_of_mean_once_it_rises_far_enough():
    """A cut in the middle of a line of range r over n points brings n r^2 / 16, to first order."""
    line = torch.linspace(0, 1, 200, dtype=torch.float64)
    critical = (16 / 200) ** 0.5
    assert not bool(mean_changes(0.98 * critical * line))
    assert bool(mean_changes(1.02 * critical * line))


def test_the_gate_closes_on_windows_that_hardly_vary():
    wave = torch.arange(50, dtype=torch.float64).sin()
    assert released_gate(torch.stack([4e-6 * wave, 6e-6 * wave])).tolist() == [True, False]


def test_views_in_small_pieces_give_what_a_copy_gives(monkeypatch):
    view = (40 * walks()).T.contiguous().unfold(1, 60, 45)
    whole = mean_changes(view.clone())
    monkeypatch.setattr("causalprune_lib.pruning.windows.MAX_BYTES", 10_000)
    assert torch.equal(mean_changes(view), whole)
    assert whole.any()
    assert not whole.all()


def test_exponents_are_those_of_each_window_alone():
    weights = walks()
    found = windowed_exponents(weights, window=100, horizon=3)
    assert not found.gated.any()
    for i, (start, end) in enumerate(zip(found.windows.starts, found.windows.ends, strict=True)):
        for k in range(weights.shape[1]):
            printed = [float(f"{w:f}") for w in weights[start : end + 1, k].tolist()]
            window = torch.tensor(printed, dtype=torch.float64)
            alone = largest_lyapunov(
                window, dim=2, lag=1, theiler=0, horizon=3, fit="first_step", convention="tisean"
            )
            assert float(found.exponent[i, k]) == pytest.approx(float(alone.exponent), abs=1e-6)


def test_memory_and_kind_of_recording_change_nothing(tmp_path, monkeypatch):
    weights = walks(n_weights=6)
    layout = ParameterLayout.of(nn.Linear(3, 2))
    np.save(tmp_path / "walk.npy", weights)
    mapped = np.load(tmp_path / "walk.npy", mmap_mode="r")
    expected = windowed_exponents(weights, window=80)
    for source, max_bytes in [
        (weights, 1),
        (weights, 50_000),
        (weights.numpy(), 2**20),
        (Trajectory(np.arange(len(weights)), mapped, layout), 200_000),
    ]:
        monkeypatch.setattr("causalprune_lib.pruning.windows.MAX_BYTES", max_bytes)
        found = windowed_exponents(source, window=80)
        assert torch.equal(found.exponent, expected.exponent), max_bytes


def test_a_gated_window_has_the_exponent_zero_and_an_ungated_constant_one_has_none():
    weights = walks(n_weights=3)
    weights[:, 0] = 0.25
    weights[300:, 1] += 5.0
    released = windowed_exponents(weights, window=100)
    assert released.gated[:, 0].all()
    assert (released.exponent[released.gated] == 0).all()
    jumps = (released.windows.starts < 300) & (released.windows.ends >= 300)
    assert released.gated[:, 1].numpy().tolist() == jumps.tolist()
    plain = windowed_exponents(weights, window=100, gate=False, decimals=None)
    assert plain.exponent[:, 0].isnan().all()
    assert not plain.gated.any()


def test_six_decimals_change_exponents_of_small_weights_only():
    """Steps of 1e-6 drown in the sixth decimal; steps of 1 do not know of it."""
    for step, differs in ((3e-6, True), (1.0, False)):
        weights = walks(step=step)
        options = {"window": 100, "gate": False}
        rounded = windowed_exponents(weights, **options).exponent
        exact = windowed_exponents(weights, decimals=None, **options).exponent
        assert bool(((rounded - exact).abs() > 1e-3).any()) == differs


def test_another_estimator_takes_the_place_of_the_first_step():
    weights = walks()
    spread = windowed_exponents(
        weights, window=100, gate=False, decimals=None, estimator=lambda w: w.std(-1)
    )
    for i, start in enumerate(spread.windows.starts):
        torch.testing.assert_close(spread.exponent[i], weights[start : start + 100].std(0))


def test_a_recording_shorter_than_a_window_has_no_windows():
    found = windowed_exponents(walks(n_iterates=99), window=100)
    assert found.exponent.shape == (0, 5)
    assert found.windows.ends.size == 0


@pytest.mark.parametrize(
    ("weights", "options", "error", "message"),
    [
        (torch.zeros(10), {}, TypeError, r"floating-point array \(T\+1, P\)"),
        (torch.zeros(300, 2).long(), {}, TypeError, "floating-point array"),
        (walks(), {"window": 1}, ValueError, "window must be >= 2"),
        (walks(), {"overlap": 1.0}, ValueError, "overlap must be in"),
        (walks(), {"horizon": 0}, ValueError, "horizon must be >= 1"),
        (walks(), {"decimals": -1}, ValueError, "decimals must be >= 0"),
    ],
)
def test_bad_input_is_named(weights, options, error, message):
    with pytest.raises(error, match=message):
        windowed_exponents(weights, **options)


def test_a_recording_that_skips_steps_is_refused():
    layout = ParameterLayout.of(nn.Linear(3, 2))
    every_fifth = Trajectory(5 * np.arange(300), walks(300, 6), layout)
    with pytest.raises(ValueError, match=r"every step.*the steps 0, 5, 10"):
        windowed_exponents(every_fifth, window=50)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_window_with_a_bad_number_has_no_exponent_and_the_others_have(bad):
    weights = walks(n_weights=2)
    weights[150, 0] = bad
    found = windowed_exponents(weights, window=100, gate=False)
    hit = (found.windows.starts <= 150) & (found.windows.ends >= 150)
    assert found.exponent[:, 0].isnan().numpy().tolist() == hit.tolist()
    assert found.exponent[:, 1].isfinite().all()


def test_a_lone_spike_has_no_exponent_and_returns_at_once():
    """TISEAN's search would never end here."""
    window = torch.zeros(200, dtype=torch.float64)
    window[77] = 1.0
    assert first_step_estimator()(window).isnan()
