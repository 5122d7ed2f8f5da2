"""Largest Lyapunov exponents of many windows: this library against nolds, in one run.

Both get the same windows, the same embedding and the same least-squares line. `nolds.lyap_r` is
called once per window, `largest_lyapunov` once for all. The two take turns, so that a busy machine
slows both alike, and the median of the ratios is the figure to read. `nolds` uses one core and this
library all of them; where other work keeps cores busy, the ratio of processor time is the lower
bound to read. The curves are also compared with a plain loop in float64.

    python benchmarks/exponents.py
    python benchmarks/exponents.py --windows 500 --repeats 3 --limit 0
    python benchmarks/exponents.py --million     # also 1,000,000 windows, with the peak memory
    python benchmarks/exponents.py --device cuda

The exit code is 1 if the ratio is below `--limit` or a curve differs by more than 1e-9.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings

import numpy as np
import torch

from causalprune_lib.dynamics.lyapunov import largest_lyapunov

DIM, LAG, THEILER, HORIZON = 2, 1, 1, 5
CALLS = 10  # of this library in each turn, to take about as long as the peer


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


def nolds_loop(windows: np.ndarray, *, fit: str = "poly") -> list[float]:
    """The exponent of each window, fitted over the same steps 1..HORIZON.

    The fit "poly" is least squares, as in this library; "RANSAC" is what nolds takes by default.
    """
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


def seconds(work) -> tuple[float, object]:
    """Wall-clock seconds of one call, and what it returned."""
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


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=2000)
    parser.add_argument("--width", type=int, default=200, help="samples per window")
    parser.add_argument("--repeats", type=int, default=5, help="turns; the median ratio counts")
    parser.add_argument("--checked", type=int, default=5, help="windows for the plain loop")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--limit", type=float, default=100.0, help="smallest ratio that passes")
    parser.add_argument("--million", action="store_true", help="also run 1,000,000 windows")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run both sides and print the ratio."""
    options = options_of(arguments)
    rng = np.random.default_rng(0)
    steps = rng.standard_normal((options.windows, options.width))
    steps[::2] = steps[::2].cumsum(1)  # half of the windows are random walks, half white noise
    x = torch.from_numpy(steps).to(options.device)
    settings = {"dim": DIM, "lag": LAG, "theiler": THEILER, "horizon": HORIZON}
    part = steps[: max(1, options.windows // options.repeats)]  # nolds' share of each turn

    def ours() -> object:
        return largest_lyapunov(x, **settings)

    for fit in ("poly", "RANSAC"):  # the first calls import what they need
        nolds_loop(steps[:2], fit=fit)
    default, _ = seconds(lambda: nolds_loop(steps[:20], fit="RANSAC"))
    default *= options.windows / min(20, options.windows)
    ours()
    turns, processor = [], [0.0, 0.0]
    for _ in range(options.repeats):
        start = time.process_time()
        peer, exponents = seconds(lambda: nolds_loop(part))
        middle = time.process_time()
        own, result = seconds(lambda: [ours() for _ in range(CALLS)][-1])
        turns.append((peer * options.windows / len(part), own / CALLS))
        processor[0] += (middle - start) / len(part)
        processor[1] += (time.process_time() - middle) / CALLS / options.windows
    ratio = statistics.median(peer / own for peer, own in turns)
    off = float(np.abs(np.array(exponents) - result.exponent[: len(part)].cpu().numpy()).max())
    plain = np.array([plain_rosenstein(window) for window in steps[: options.checked]])
    error = float(np.abs(plain - result.divergence[: len(plain)].cpu().numpy()).max())

    threads = torch.get_num_threads()
    print(f"{options.windows:,} windows of {options.width} samples, m = {DIM}, horizon {HORIZON}")
    print(f"  nolds.lyap_r, once per window       {min(t[0] for t in turns):9.3f} s")
    print(f"  ... with its default fit, RANSAC    {default:9.3f} s  (from 20 windows)")
    where = f"{options.device}, {threads} threads" if options.device == "cpu" else options.device
    print(f"  largest_lyapunov ({where:<14s})   {min(t[1] for t in turns):9.3f} s")
    print(f"  ratio, median of {options.repeats} turns            {ratio:9.1f}")
    if options.device == "cpu":
        print(f"  ratio of processor time             {processor[0] / processor[1]:9.1f}")
    print(f"  largest difference from nolds       {off:9.1e}   ({len(part)} exponents)")
    print(f"  ... of S(k) from a plain loop       {error:9.1e}   ({len(plain)} windows, float64)")
    if options.million:
        series = x[:64].float().reshape(-1)
        windows = series.repeat(1 + 1_000_000 // len(series)).unfold(0, options.width, 1)[:1000000]
        before = peak_memory()
        took, _ = seconds(lambda: largest_lyapunov(windows, **settings))
        print(f"  1,000,000 overlapping windows       {took:9.1f} s")
        print(f"  peak memory before and after        {before:6.2f}, {peak_memory():.2f} GB")
    return 0 if ratio >= options.limit and error <= 1e-9 else 1


if __name__ == "__main__":
    sys.exit(main())
