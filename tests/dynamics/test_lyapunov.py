"""Exponents estimated from series: right by value, in a batch as alone, and as TISEAN prints them.

The reference curves are what `lyap_r -m<dim> -d<lag> -t<theiler> -r20 -s<horizon>` prints for the
series below, written with six decimals, one per line. They come from the search and the averaging
of TISEAN's lyap_r.c (last changed in 2002, the same in releases 3.0.0 to 3.0.2), compiled with gcc
for x86-64 without fused multiply-add. Besides, 400 random series of four kinds were compared.
"""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import nolds
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causalprune_lib.dynamics import lyapunov
from causalprune_lib.dynamics.lyapunov import largest_lyapunov
from causalprune_lib.dynamics.systems import (
    ar1,
    henon,
    logistic,
    lorenz,
    random_walk,
    white_noise,
)

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "exponents.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("exponents_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_logistic_map_within_two_percent():
    system = logistic(2000, batch=(5,), seed=0)
    assert system.exponent == math.log(2)
    for exponent in largest_lyapunov(system.series).exponent.tolist():
        assert exponent == pytest.approx(math.log(2), rel=0.02)


def test_henon_map_within_five_percent():
    system = henon(2000, batch=(20,), seed=0)
    exponent = largest_lyapunov(system.series).exponent
    assert exponent[0].item() == pytest.approx(0.419, rel=0.05)
    assert exponent.mean().item() == pytest.approx(0.419, rel=0.01)
    assert exponent.std().item() < 0.03 * 0.419  # so one series lies within 5% nine times in ten


def test_lorenz_flow_within_fifteen_percent():
    system = lorenz(1000, dt=0.025, every=2, transient=100, batch=(5,), seed=0)
    found = largest_lyapunov(
        system.series, dim=3, lag=3, theiler=40, horizon=40, fit_range=(10, 40)
    )
    assert found.exponent.mean().item() == pytest.approx(system.exponent, rel=0.15)


def test_fixed_point_and_period_two_are_not_chaotic():
    settling = torch.tensor([[0.1], [0.4], [0.8]], dtype=torch.float64).repeat(1, 300)
    for t in range(299):
        settling[:, t + 1] = 2.8 * settling[:, t] * (1 - settling[:, t])
    assert bool((largest_lyapunov(settling, horizon=3).exponent < 0).all())
    period_two = torch.tensor([0.2, 0.8]).repeat(100)
    assert largest_lyapunov(period_two).exponent.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", ["noise", "walk", "repeats"])
@pytest.mark.parametrize(
    ("dim", "lag", "theiler", "horizon"), [(2, 1, 1, 5), (1, 1, 0, 2), (3, 4, 7, 9)]
)
def test_equals_a_plain_loop(benchmark, kind, dim, lag, theiler, horizon):
    make = white_noise if kind == "noise" else random_walk
    x = make(90, batch=(3,), seed=2).series
    x = x.round() if kind == "repeats" else x
    options = {"dim": dim, "lag": lag, "theiler": theiler, "horizon": horizon}
    found = largest_lyapunov(x, **options).divergence.numpy()
    plain = [benchmark.plain_rosenstein(one, **options) for one in x.numpy()]
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-9)


def test_equals_nolds():
    x = random_walk(150, batch=(4,), seed=5).series
    found = largest_lyapunov(x, dim=3, lag=2, theiler=4, horizon=7, fit_range=(0, 7)).exponent
    peer = [
        nolds.lyap_r(one, emb_dim=3, lag=2, min_tsep=4, trajectory_len=8, fit="poly")
        for one in x.numpy()
    ]
    np.testing.assert_allclose(found.numpy(), peer, rtol=0, atol=1e-5)


def test_batched_equals_looped_over_any_axes_view_and_type():
    series = random_walk(400, batch=(2, 3), seed=0).series
    windows = series.unfold(-1, 60, 17)  # (2, 3, 21, 60), overlapping memory
    batched = largest_lyapunov(windows)
    for index in np.ndindex(windows.shape[:-1]):
        alone = largest_lyapunov(windows[index].clone())
        torch.testing.assert_close(batched.divergence[index], alone.divergence, rtol=0, atol=1e-12)
        torch.testing.assert_close(batched.exponent[index], alone.exponent, rtol=0, atol=1e-12)
    frozen = windows.numpy().copy()
    frozen.setflags(write=False)
    assert torch.equal(largest_lyapunov(frozen).exponent, batched.exponent)
    small = windows.to(torch.float32)
    assert torch.equal(largest_lyapunov(small).exponent, largest_lyapunov(small.double()).exponent)
    assert batched.exponent.shape == (2, 3, 21)
    assert batched.divergence.shape == batched.counts.shape == (2, 3, 21, 6)
    assert largest_lyapunov(windows[:0]).exponent.shape == (0, 3, 21)


def test_chunks_and_threads_change_nothing(monkeypatch):
    x = white_noise(70, batch=(101,), seed=0).series
    before = torch.get_num_threads()
    whole = largest_lyapunov(x)
    monkeypatch.setattr(lyapunov, "BYTES_PER_THREAD", 150_000)
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            pieces = largest_lyapunov(x)
            assert torch.get_num_threads() == threads
            torch.testing.assert_close(pieces.exponent, whole.exponent, rtol=0, atol=1e-12)
    finally:
        torch.set_num_threads(before)


def test_a_chunk_stays_within_its_bytes(monkeypatch):
    seen = []

    class Spy(lyapunov.DivergenceCurves):
        def __call__(self, windows):
            seen.append(len(windows) * self.bytes_per_window(windows.device))
            return super().__call__(windows)

    monkeypatch.setattr(lyapunov, "DivergenceCurves", Spy)
    monkeypatch.setattr(lyapunov, "BYTES_PER_THREAD", 2_000_000)
    largest_lyapunov(white_noise(100, batch=(500,), seed=0).series)
    assert max(seen) <= 2_000_000
    assert len(seen) > 1


def test_memory_does_not_grow_with_the_number_of_windows():
    program = """
import resource, torch
from causalprune_lib.dynamics import lyapunov
torch.set_num_threads(1)
lyapunov.BYTES_PER_THREAD = 4_000_000
series = torch.rand(60_040, generator=torch.Generator().manual_seed(0))
windows = series.unfold(0, 40, 1)  # 60,001 windows, 19 MB if they were copied
lyapunov.largest_lyapunov(windows[:3000])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
lyapunov.largest_lyapunov(windows)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    results = 60_001 * 8 * (6 + 6 + 1)  # 6.2 MB: 1,000,000 windows leave 0.1 GB of results
    assert int(done.stdout) < 2 * results + 4_000_000


@settings(max_examples=25, deadline=None)
@given(power=st.integers(-900, 900), sign=st.sampled_from([-1.0, 1.0]))
def test_a_change_of_unit_shifts_the_curve_and_keeps_the_exponent(power, sign):
    x = white_noise(60, batch=(2,), seed=1).series
    scaled = largest_lyapunov(x * sign * 2.0**power)
    here = largest_lyapunov(x)
    shift = power * math.log(2)
    torch.testing.assert_close(scaled.divergence, here.divergence + shift, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(scaled.exponent, here.exponent, rtol=0, atol=1e-9)


def test_fits_read_the_curve_as_they_say():
    x = white_noise(100, batch=(3,), seed=0).series
    curve = largest_lyapunov(x).divergence.numpy()
    first = largest_lyapunov(x, fit="first_step").exponent.numpy()
    np.testing.assert_allclose(first, curve[:, 1] - curve[:, 0], rtol=0, atol=1e-12)
    for given_range, used in [(None, (1, 5)), ((0, 3), (0, 3)), ((2, 5), (2, 5))]:
        slope = largest_lyapunov(x, fit_range=given_range).exponent.numpy()
        k = np.arange(used[0], used[1] + 1)
        line = np.polyfit(k, curve[:, k].T, 1)[0]
        np.testing.assert_allclose(slope, line, rtol=0, atol=1e-12)


def test_the_benchmark_runs_and_agrees(benchmark, capsys):
    few = {"--windows": 4, "--width": 60, "--repeats": 1, "--checked": 1, "--limit": 0}
    assert benchmark.main([str(part) for pair in few.items() for part in pair]) == 0
    printed = capsys.readouterr().out
    assert all(kind in printed for kind in ("noise", "walk", "weights", "rounded"))


def congruential(n: int, seed: int) -> list[int]:
    """Integers below 2^31 that every machine computes alike."""
    numbers, state = [], seed
    for _ in range(n):
        state = (1103515245 * state + 12345) % 2**31
        numbers.append(state)
    return numbers


def orbit(n: int) -> list[float]:
    x, points = 0.3, []
    for _ in range(n):
        points.append(x)
        x = 4 * x * (1 - x)
    return points


SERIES = {
    "logistic": orbit(200),
    "noise": [(number >> 8) / 2**23 for number in congruential(200, 1)],
    # A weight that moves by a few millionths: full of repeated vectors and of equal distances.
    "walk": list(
        np.cumsum([250_000] + [(number >> 16) % 7 - 3 for number in congruential(200, 2)])[1:] / 1e6
    ),
    "decay": [-0.8 + 0.3 * math.exp(-t / 25) + 0.002 * math.cos(t) for t in range(200)],
    "flat": [round(1 / (1 + t), 3) for t in range(200)],
}
# (series, dim, lag, theiler, pairs at step 0, S(0), S(1), ...)
PRINTED = [
    ("logistic", 2, 1, 0, 196, "-5.942138e+00 -5.248604e+00 -4.555815e+00 -3.843157e+00"),
    ("noise", 2, 1, 0, 196, "-3.312235e+00 -1.355395e+00 -8.078821e-01 -7.593091e-01"),
    ("walk", 2, 1, 0, 196, "-2.972745e+00 -2.203797e+00 -1.724805e+00 -1.613776e+00"),
    ("decay", 2, 1, 0, 196, "-6.032154e+00 -5.386317e+00 -4.890098e+00 -4.695718e+00"),
    ("flat", 2, 1, 0, 196, "-6.580854e+00 -6.334759e+00 -6.318785e+00 -6.379489e+00"),
    (
        "noise",
        3,
        2,
        5,
        185,
        "-2.297768e+00 -5.064485e-01 -1.341250e+00 -4.845945e-01 -7.979736e-01 -4.860420e-01 "
        "-5.669888e-01",
    ),
    (
        "walk",
        2,
        3,
        10,
        183,
        "-2.940201e+00 -1.930193e+00 -1.687651e+00 -1.901221e+00 -1.620973e+00",
    ),
    (
        "logistic",
        1,
        1,
        0,
        195,
        "-6.856974e+00 -6.162124e+00 -5.472742e+00 -4.762459e+00 -4.049631e+00 -3.322655e+00",
    ),
]


@pytest.mark.parametrize(("name", "dim", "lag", "theiler", "pairs", "printed"), PRINTED)
def test_equals_what_tisean_prints(name, dim, lag, theiler, pairs, printed):
    curve = np.array([float(text) for text in printed.split()])
    weights = torch.tensor(SERIES[name], dtype=torch.float64).round(decimals=6)
    result = largest_lyapunov(
        weights,
        **{"dim": dim, "lag": lag, "theiler": theiler, "horizon": len(curve) - 1},
        fit="first_step",
        convention="tisean",
    )
    np.testing.assert_allclose(result.divergence.numpy(), curve, rtol=0, atol=1e-5)
    assert result.counts[0] == pairs
    assert result.exponent.item() == pytest.approx(curve[1] - curve[0], abs=1e-5)


def test_series_on_which_tisean_never_ends_are_reported():
    step = torch.cat([torch.zeros(100), torch.ones(100)])
    spike = torch.zeros(200)
    spike[100] = 1.0
    result = largest_lyapunov(torch.stack([step, spike]), theiler=0, convention="tisean")
    assert result.reason.tolist() == ["isolated point"] * 2
    assert bool(result.exponent.isnan().all())
    assert bool((result.counts == 0).all())


def test_does_not_depend_on_the_unit_or_the_zero_of_the_series():
    x = white_noise(200, batch=(5,), seed=3).series
    one = largest_lyapunov(x, convention="tisean").divergence
    other = largest_lyapunov(8.0 * x - 2.0**-3, convention="tisean").divergence
    torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


# The mean over 400 windows of 200 samples that the reading of the released code was found to give.
FOUND = [
    (white_noise, 1.89),
    (ar1, 1.56),
    (random_walk, 1.27),
    (logistic, 0.692),
]


@pytest.mark.parametrize(
    ("process", "found"), FOUND, ids=lambda value: getattr(value, "__name__", "")
)
def test_the_first_step_is_as_positive_for_noise_as_was_found(process, found):
    series = process(200, batch=(400,), seed=1).series
    result = largest_lyapunov(series, theiler=0, horizon=3, fit="first_step", convention="tisean")
    assert result.n_missing == 0
    error = result.exponent.std().item() / math.sqrt(400)
    rounding = 0.005 if found > 1 else 0.0005
    # Both sides are means of 400, so their difference has sqrt(2) times this error.
    assert result.exponent.mean().item() == pytest.approx(
        found, abs=3.5 * math.sqrt(2) * error + rounding
    )


@pytest.mark.gpu
def test_a_gpu_gives_the_same_numbers():
    x = random_walk(200, batch=(500,), seed=0).series.round(decimals=1)
    for convention in ("embedded", "tisean"):
        here = largest_lyapunov(x, convention=convention)
        there = largest_lyapunov(x.cuda(), convention=convention)
        assert there.exponent.is_cuda
        torch.testing.assert_close(there.divergence.cpu(), here.divergence, rtol=0, atol=1e-9)
        assert torch.equal(there.counts.cpu(), here.counts)
