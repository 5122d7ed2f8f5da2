"""What recording costs: LeNet trained plain and recorded, step by step in turn, in one run.

    python benchmarks/recording.py [--rounds 40] [--batch 512] [--threads 1]

Every variant has its own copy of the network and the optimizer. In each round every variant makes
one step on the same batch, in an order that changes from round to round, so that a busy machine
slows all of them alike. The cost of a variant is the median over rounds of its time over the plain
time of the same round, minus one; the interval is that of the median (95%, by ranks). A second
plain variant shows how large a difference chance makes. The last column is the cost in processor
time, which other programs on the machine disturb less.

Target: recording weights and training loss costs at most 10% of wall time. The same-batch probe
adds two forward passes, or one where the training loss is reused, and is shown apart.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.nets.models import build_model

TARGET = 0.10
VARIANTS = ("plain", "plain again", "memory", "disk", "probe, loss reused", "probe")


def loss_of(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(model(x), y)


def one_step(model, optimizer, x, y, recorder, variant: str) -> tuple[float, float]:
    """Wall and processor seconds of one training step, with what its recorder asks of the loop."""
    start = time.perf_counter(), time.process_time()
    if "probe" in variant:
        recorder.batch(x, y)
    optimizer.zero_grad()
    loss = loss_of(model, x, y)
    loss.backward()
    if variant in ("memory", "disk", "probe, loss reused"):
        recorder.log(loss=loss)
    optimizer.step()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def measure(shape: tuple[int, int, int], *, rounds: int, batch: int, folder: Path) -> np.ndarray:
    """Seconds (rounds, variants, 2), wall and processor."""
    noise = torch.Generator().manual_seed(0)
    data = [
        (torch.randn(batch, *shape, generator=noise), torch.randint(10, (batch,), generator=noise))
        for _ in range(4)
    ]
    with contextlib.ExitStack() as stack:
        runs = []
        for variant in VARIANTS:
            model = build_model("lenet", shape=shape, n_classes=10, seed=0)
            recorder = None
            if not variant.startswith("plain"):
                options = {
                    "path": folder / "run" if variant == "disk" else None,
                    "probe": loss_of if "probe" in variant else None,
                    "reuse_loss": "reused" in variant,
                }
                recorder = TrajectoryRecorder(model, which="all", steps=rounds + 2, **options)
                stack.enter_context(recorder)
            optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
            runs.append((model, optimizer, recorder, variant))
        size = sum(p.numel() for p in runs[0][0].parameters())
        print(f"\nLeNet, {size:,} parameters, batch {batch} of {shape}")
        print(f"{rounds} steps take {runs[-1][2].estimate(rounds)} to record")
        seconds = np.empty((rounds + 2, len(runs), 2))
        for t, (x, y) in zip(range(rounds + 2), itertools.cycle(data)):
            for k in np.roll(np.arange(len(runs)), t):
                model, optimizer, recorder, variant = runs[k]
                seconds[t, k] = one_step(model, optimizer, x, y, recorder, variant)
    return seconds[2:]  # two rounds to warm up


def report(seconds: np.ndarray) -> float:
    """Print one line per variant; return the largest cost among those of the target."""
    ratios = np.sort(seconds / seconds[:, :1], axis=0) - 1
    n = len(ratios)
    reach = int(np.ceil(0.98 * np.sqrt(n)))  # ranks on either side of the median: 95%
    low, high = ratios[max(0, n // 2 - reach)], ratios[min(n - 1, n // 2 + reach)]
    cost = np.median(ratios, axis=0)
    for k, variant in enumerate(VARIANTS):
        print(
            f"  {variant:<20}{1e3 * np.median(seconds[:, k, 0]):8.1f} ms {cost[k, 0]:+8.1%}"
            f"  [{low[k, 0]:+.1%}, {high[k, 0]:+.1%}]   processor {cost[k, 1]:+.1%}"
        )
    return max(cost[VARIANTS.index(variant), 0] for variant in ("memory", "disk"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads")
    worst = 0.0
    for shape in ((1, 28, 28), (3, 32, 32)):
        with tempfile.TemporaryDirectory() as folder:
            seconds = measure(
                shape, rounds=options.rounds, batch=options.batch, folder=Path(folder)
            )
        worst = max(worst, report(seconds))
    verdict = "met" if worst <= TARGET else "MISSED"
    print(f"\nWeights and training loss: {worst:+.1%} at most; target {TARGET:.0%}: {verdict}")
    raise SystemExit(int(worst > TARGET))


if __name__ == "__main__":
    main()
