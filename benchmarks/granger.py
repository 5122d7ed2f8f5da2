"""Granger tests of many series: this library against statsmodels, in turn, in one run.

    python benchmarks/granger.py [--series 2000] [--length 60] [--max-lag 14] [--threads 2]
        [--rounds 10] [--peer-series 200] [--memory]

In each round the library tests all series at the lags 1..max-lag, F and chi2 with their p-values;
then `statsmodels.tsa.stattools.grangercausalitytests` is called on some of them, one by one, as it
must be. The two alternate, so that a busy machine slows both. The ratio is that of the seconds per
series, the median over rounds, with the smallest and the largest; "processor" is the same ratio in
processor time of all threads together, which other programs disturb less. statsmodels uses one
thread. The p-values of both are compared on every series that statsmodels has seen.

Two kinds of series: white noise, and random walks integrated once more, which are so smooth that
the lagged columns nearly depend on each other and the slower, more accurate decomposition is used.
The target holds for the first.

With --memory, a million series are tested instead, and the peak memory of the process is read; the
target is 2 GB, the series included.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import warnings

import numpy as np
import torch

from causalprune_lib.causality.granger import granger_test

TARGET = 500
MEMORY_TARGET = 2e9  # bytes
SAME = 1e-10


def peer(effect: np.ndarray, causes: np.ndarray, max_lag: int) -> np.ndarray:
    """p-values (2, L, S) of statsmodels: F and chi2."""
    from statsmodels.tsa.stattools import grangercausalitytests

    found = np.empty((2, max_lag, causes.shape[1]))
    for s, cause in enumerate(causes.T):
        for lag, (tests, _) in grangercausalitytests(np.stack([effect, cause], 1), max_lag).items():
            found[:, lag - 1, s] = tests["ssr_ftest"][1], tests["ssr_chi2test"][1]
    return found


def clocks() -> np.ndarray:
    """Seconds by the wall and of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


def compare(kind: str, options: argparse.Namespace) -> float:
    """Print one line for one kind of series; return the median ratio."""
    noise = np.random.default_rng(0)
    effect = noise.normal(size=options.length)
    causes = noise.normal(size=(options.length, options.series))
    if kind == "smooth":
        causes = causes.cumsum(0).cumsum(0)
    for _ in range(2):  # to warm up
        granger_test(effect, causes, max_lag=options.max_lag)
        peer(effect, causes[:, :2], options.max_lag)
    per_round = -(-options.peer_series // options.rounds)
    ours, theirs, apart = [], [], 0.0
    for i in range(options.rounds):
        start = clocks()
        result = granger_test(effect, causes, max_lag=options.max_lag)
        ours.append((clocks() - start) / options.series)
        some = np.arange(i * per_round, (i + 1) * per_round) % options.series
        start = clocks()
        expected = peer(effect, causes[:, some], options.max_lag)
        theirs.append((clocks() - start) / per_round)
        found = torch.stack([result.f_pvalue, result.chi2_pvalue]).numpy()[:, :, some]
        apart = max(apart, float(np.abs(found - expected).max()))
    ours, theirs = np.array(ours), np.array(theirs)
    ratio, processor = (theirs / ours).T
    print(
        f"{kind:<7}{1e3 * np.median(ours[:, 0]) * options.series:7.1f} ms for {options.series:,} "
        f"series, statsmodels {1e3 * np.median(theirs[:, 0]):.1f} ms for one: "
        f"{np.median(ratio):.0f}x [{ratio.min():.0f}, {ratio.max():.0f}], processor "
        f"{np.median(processor):.0f}x; p-values at most {apart:.0e} apart"
    )
    if not apart <= SAME:
        raise SystemExit(f"p-values differ from statsmodels' by {apart:.1e} > {SAME:.0e}")
    return float(np.median(ratio))


def memory(options: argparse.Namespace) -> float:
    """Test a million series; print and return the peak memory of this process in bytes."""
    causes = torch.empty(options.length, 1_000_000, dtype=torch.float64)
    causes.normal_(generator=torch.Generator().manual_seed(0))
    effect = torch.randn(options.length, generator=torch.Generator().manual_seed(1))
    start = time.perf_counter()
    granger_test(effect, causes, max_lag=options.max_lag)
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(f"1,000,000 series of {options.length}: {seconds:.1f} s, peak memory {peak / 1e9:.2f} GB")
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=2000)
    parser.add_argument("--length", type=int, default=60)
    parser.add_argument("--max-lag", type=int, default=14)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--peer-series", type=int, default=200)
    parser.add_argument("--memory", action="store_true", help="a million series instead")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="statsmodels")
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, lags 1..{options.max_lag}")
    if options.memory:
        met, target = memory(options) <= MEMORY_TARGET, f"{MEMORY_TARGET / 1e9:.0f} GB"
    else:
        met, target = compare("white", options) >= TARGET, f"{TARGET}x for white noise"
        compare("smooth", options)
    print(f"target {target}: {'met' if met else 'MISSED'}")
    raise SystemExit(int(not met))


if __name__ == "__main__":
    main()
