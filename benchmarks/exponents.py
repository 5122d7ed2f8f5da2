"""Largest Lyapunov exponents of many windows: this library against nolds, in one run.

Both get the same windows and the same embedding. `nolds.lyap_r` is called once per window and uses
one core: with the fit that it takes by default (RANSAC), and with its cheapest (least squares, as
here). `largest_lyapunov` is called once for all windows, with one thread and with all that it may
use (two by default). All take turns, so that a busy machine slows them alike, and the median of the
ratios is the figure to read. Four kinds of series are timed:

- noise: independent Gaussian samples, the most costly to search
- walk: their running sum
- weights: weights of a small network, recorded at every step of SGD on scikit-learn's digits
- rounded: the same weights with six decimals, as LEGCNet's released code printed them: many ties

The curves are also compared with a plain loop in float64.

    python benchmarks/exponents.py
    python benchmarks/exponents.py --windows 500 --repeats 3 --limit 0
    python benchmarks/exponents.py --million     # also 1,000,000 windows, with the peak memory
    python benchmarks/exponents.py --device cuda

The exit code is 1 if nolds with its default fit takes less than `--limit` times as long for a kind,
or a curve differs by more than 1e-9.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from causalprune_lib.dynamics.lyapunov import LyapunovResult, largest_lyapunov
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.nets.data import load_dataset
from causalprune_lib.nets.models import build_model

DIM, LAG, THEILER, HORIZON = 2, 1, 1, 5
SETTINGS = {"dim": DIM, "lag": LAG, "theiler": THEILER, "horizon": HORIZON}
SHARE, CALLS = 200, 5  # windows for nolds and calls of this library in a turn: about as long
FITS = ("RANSAC", "poly")  # of nolds: its default, and least squares


def plain_rosenstein(
    x: np.ndarray, *, dim: int = DIM, lag: int = LAG, theiler: int = THEILER, horizon: int = HORIZON
) -> np.ndarray:
    """S(0..horizon) of one series, written as the definition reads, in float64."""
    n_points = len(x) - (dim - 1) * lag - horizon

    def squared_distance(i: int, j: int) -> float:
        return sum((x[i + c * lag] - x[j + c * lag]) ** 2 for c in range(dim))

    logs: list[list[float]] = [[] for _ in range(horizon + 1)]
    for i in range(n_points):
        nearest, smallest = None, np.inf
        for j in range(n_points):
            if abs(i - j) > theiler and 0 < (d := squared_distance(i, j)) < smallest:
                nearest, smallest = j, d
        if nearest is None:
            continue
        for k in range(horizon + 1):
            if (d := squared_distance(i + k, nearest + k)) > 0:
                logs[k].append(0.5 * np.log(d))
    return np.array([np.mean(values) if values else np.nan for values in logs])


def nolds_loop(windows: np.ndarray, fit: str) -> list[float]:
    """The exponent of each window, by a line through the same steps 1..HORIZON."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nolds

        return [
            nolds.lyap_r(
                window,
                emb_dim=DIM,
                lag=LAG,
                min_tsep=THEILER,
                trajectory_len=HORIZON + 1,
                fit=fit,
                fit_offset=1,
            )
            for window in windows
        ]


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    """Seconds of one call, and what it returned."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def peak_memory() -> float:
    """Largest resident memory of this process so far, in GB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


def weight_windows(windows: int, width: int) -> np.ndarray:
    """Windows (N, W) of the weights of an MLP on its way, from the first steps on."""
    data = load_dataset("digits", seed=0)
    model = build_model("mlp", dataset=data, seed=0, hidden=(32,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    order = torch.Generator().manual_seed(0)
    with TrajectoryRecorder(model) as recorder:
        for _ in range(2 * width):
            batch = torch.randint(len(data.x_train), (16,), generator=order)
            optimizer.zero_grad()
            scores = model(data.x_train[batch])
            torch.nn.functional.cross_entropy(scores, data.y_train[batch]).backward()
            optimizer.step()
    weights = torch.tensor(recorder.trajectory().weights, dtype=torch.float64)  # (T, P)
    moving = weights[:, weights[0] != weights[-1]].T  # the digits have blank corners
    parts = moving.unfold(1, width, width).transpose(0, 1).reshape(-1, width)
    return parts.repeat(1 + windows // len(parts), 1)[:windows].numpy()


def kinds_of_series(windows: int, width: int) -> dict[str, np.ndarray]:
    """What is timed, (N, W) each."""
    noise = np.random.default_rng(0).standard_normal((windows, width))
    weights = weight_windows(windows, width)
    return {
        "noise": noise,
        "walk": noise.cumsum(1),
        "weights": weights,
        "rounded": weights.round(6),
    }


@contextmanager
def threads_set(n: int) -> Iterator[None]:
    """PyTorch's number of threads, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Measured(NamedTuple):
    """Seconds for all windows, (repeats,) each, and the largest differences."""

    default: np.ndarray  # nolds, with its own fit
    line: np.ndarray  # nolds, with a least-squares line
    one: np.ndarray  # this library with one thread
    all: np.ndarray  # ... with all threads
    off_nolds: float
    off_plain: float

    @property
    def ratio(self) -> float:
        """How many times as fast as nolds with its default fit, with all threads."""
        return float(np.median(self.default / self.all))

    def row(self, kind: str) -> str:
        line, one = np.median(self.line / self.all), np.median(self.line / self.one)
        return (
            f"  {kind:8s} {np.median(self.default):7.1f} s {np.median(self.line):7.2f} s"
            f" {1e3 * np.median(self.one):7.1f} ms {1e3 * np.median(self.all):7.1f} ms"
            f" {self.ratio:8.0f} {line:6.0f} {one:8.0f}"
            f"   {self.off_nolds:8.1e} {self.off_plain:8.1e}"
        )


def measure(
    series: np.ndarray, *, repeats: int, checked: int, threads: int, device: str
) -> Measured:
    """Let both sides take turns on the windows `series` (N, W)."""
    x = torch.from_numpy(series).to(device)
    part = series[: max(1, min(SHARE, len(series)))]  # nolds' share of each turn
    few = part[: max(1, len(part) // 4)]  # ... with its own fit

    def ours() -> LyapunovResult:
        return largest_lyapunov(x, **SETTINGS)

    turns = []
    for turn in range(-1, repeats):  # the first only warms up
        row = []
        for fit, share in zip(FITS, (few, part), strict=True):
            took, exponents = seconds(partial(nolds_loop, share, fit))
            row.append(took * len(series) / len(share))
        for n in (1, threads):
            with threads_set(n):
                took, result = seconds(lambda: [ours() for _ in range(CALLS)][-1])
            row.append(took / CALLS)
        if turn >= 0:
            turns.append(row)
    found = result.exponent[: len(part)].cpu().numpy()
    plain = np.array([plain_rosenstein(window) for window in series[:checked]])
    off_plain = np.abs(plain - result.divergence[: len(plain)].cpu().numpy()).max()
    off_nolds = np.nanmax(np.abs(np.array(exponents) - found))
    return Measured(*np.array(turns).T, off_nolds, off_plain)


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=2000)
    parser.add_argument("--width", type=int, default=200, help="samples per window")
    parser.add_argument("--repeats", type=int, default=5, help="turns; the median ratio counts")
    parser.add_argument("--checked", type=int, default=5, help="windows for the plain loop")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--limit", type=float, default=100.0, help="smallest ratio that passes")
    parser.add_argument("--million", action="store_true", help="also run 1,000,000 windows")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run both sides and print the ratios."""
    options = options_of(arguments)
    kinds = kinds_of_series(options.windows, options.width)
    threads, all_met = options.threads, True
    print(f"{options.windows:,} windows of {options.width} samples, m = {DIM}, horizon {HORIZON}")
    print("nolds.lyap_r per window on one core, with its default fit and with least squares;")
    print(f"largest_lyapunov on {options.device}, 1 and {threads} threads. How many times as fast:")
    print(f"{threads} threads against both, then 1 against least squares. Largest differences")
    print("of the exponents from nolds (least squares) and of S(k) from a plain loop (float64)")
    print(f"             default    squares   1 thread  {threads} threads", end="")
    print("  default squares  squares      nolds    plain")
    for kind, series in kinds.items():
        measured = measure(
            series,
            repeats=options.repeats,
            checked=options.checked,
            threads=threads,
            device=options.device,
        )
        print(measured.row(kind), flush=True)
        all_met &= measured.ratio >= options.limit and measured.off_plain <= 1e-9
    if options.million:
        series = torch.from_numpy(kinds["walk"][:64]).to(options.device).float().reshape(-1)
        windows = series.repeat(1 + 1_000_000 // len(series)).unfold(0, options.width, 1)[:1000000]
        before = peak_memory()
        with threads_set(threads):
            took, _ = seconds(lambda: largest_lyapunov(windows, **SETTINGS))
        print(f"  1,000,000 overlapping windows       {took:9.1f} s")
        print(f"  peak memory before and after        {before:6.2f}, {peak_memory():.2f} GB")
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
