"""What streaming causal scores costs: time on LeNet, memory on AlexNet, checkpoints beside both.

    python benchmarks/streaming_scores.py [--rounds 40] [--batch 512] [--threads 1]
    python benchmarks/streaming_scores.py --alexnet [--steps 20] [--batch 8] [--threads 2]

LeNet, 28x28: every variant has its own copy of the network and the optimizer. In each round every
variant makes one step on the same batch, in an order that changes from round to round, so that a
busy machine slows all of them alike. The cost of a variant is the median over rounds of its time
over the plain time of the same round, minus one; the interval is that of the median (95%, by
ranks). A second plain variant shows how large a difference chance makes. The last column is the
cost in processor time, which other programs on the machine disturb less. "Checkpoints" writes all
weights of each step to disk, as the released code does; reading them back is not counted.
Target: the two-batch loss costs at most 5% of wall time. The same-batch loss adds forward passes
and is shown apart.

AlexNet, 57,044,810 parameters, images of 224x224: real steps, first plain, then streamed, in two
fresh processes. Memory is the peak resident size of the process. Target: streaming takes at most
six vectors of 4 bytes per weight above plain training.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from causalprune_lib._memory import Bytes
from causalprune_lib.causality.scores import CausalScores
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.nets.models import build_model

TARGET = 0.05
VECTORS = 6
STREAMED, AGAIN, CHECKPOINTS = "two-batch", "plain again", "checkpoints"
SAME, REUSED = "same-batch", "same-batch, loss reused"
VARIANTS = ("plain", AGAIN, STREAMED, CHECKPOINTS, REUSED, SAME)
RECORDED = 980  # steps of a recording phase in the paper: 10 epochs of 98 batches


def loss_of(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(model(x), y)


def watcher(variant: str, model: nn.Module, steps: int, folder: Path):
    if variant.startswith("plain"):
        return contextlib.nullcontext()
    if variant == CHECKPOINTS:
        return TrajectoryRecorder(model, path=folder / "run", steps=steps)
    if variant == STREAMED:
        return CausalScores(model, n_steps=steps)
    reused = variant == REUSED
    return CausalScores(model, loss="same_batch", n_steps=steps, probe=loss_of, reuse_loss=reused)


def one_step(model, optimizer, x, y, watch, variant: str) -> tuple[float, float]:
    """Wall and processor seconds of one training step, with what its watcher asks of the loop."""
    start = time.perf_counter(), time.process_time()
    if variant in (SAME, REUSED):
        watch.batch(x, y)
    optimizer.zero_grad()
    loss = loss_of(model, x, y)
    loss.backward()
    if variant in (STREAMED, CHECKPOINTS, REUSED):
        watch.log(loss=loss)
    optimizer.step()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def batches(shape: tuple[int, int, int], batch: int, steps: int):
    """The same four batches over and over."""
    noise = torch.Generator().manual_seed(0)
    made = [
        (torch.randn(batch, *shape, generator=noise), torch.randint(10, (batch,), generator=noise))
        for _ in range(4)
    ]
    return itertools.islice(itertools.cycle(made), steps)


def measure(*, rounds: int, batch: int, folder: Path) -> np.ndarray:
    """Seconds (rounds, variants, 2), wall and processor."""
    shape, steps = (1, 28, 28), rounds + 2
    with contextlib.ExitStack() as stack:
        runs = []
        for variant in VARIANTS:
            model = build_model("lenet", shape=shape, n_classes=10, seed=0)
            watch = stack.enter_context(watcher(variant, model, steps, folder))
            runs.append((model, torch.optim.SGD(model.parameters(), lr=1e-3), watch, variant))
        parameters = sum(p.numel() for p in runs[0][0].parameters())
        print(f"LeNet, {parameters:,} parameters, batch {batch} of {shape}")
        streamed, recorded = (runs[VARIANTS.index(v)][2] for v in (STREAMED, CHECKPOINTS))
        print(
            f"Kept: {streamed.nbytes} by streaming, however many steps; {RECORDED} steps of "
            f"checkpoints take {recorded.estimate(RECORDED)}"
        )
        seconds = np.empty((steps, len(runs), 2))
        for t, (x, y) in enumerate(batches(shape, batch, steps)):
            for k in np.roll(np.arange(len(runs)), t):
                model, optimizer, watch, variant = runs[k]
                seconds[t, k] = one_step(model, optimizer, x, y, watch, variant)
    return seconds[2:]  # two rounds to warm up


def report(seconds: np.ndarray) -> float:
    """Print one line per variant; return the cost of the two-batch loss."""
    ratios = np.sort(seconds / seconds[:, :1], axis=0) - 1
    n = len(ratios)
    reach = int(np.ceil(0.98 * np.sqrt(n)))  # ranks on either side of the median: 95%
    low, high = ratios[max(0, n // 2 - reach)], ratios[min(n - 1, n // 2 + reach)]
    cost = np.median(ratios, axis=0)
    for k, variant in enumerate(VARIANTS):
        print(
            f"  {variant:<24}{1e3 * np.median(seconds[:, k, 0]):8.1f} ms {cost[k, 0]:+8.1%}"
            f"  [{low[k, 0]:+.1%}, {high[k, 0]:+.1%}]   processor {cost[k, 1]:+.1%}"
        )
    return cost[VARIANTS.index(STREAMED), 0]


def train_alexnet(*, streamed: bool, steps: int, batch: int) -> None:
    """Train in this process; print its weights, peak memory, seconds per step, vectors' bytes."""
    import resource

    shape = (3, 224, 224)
    model = build_model("alexnet", shape=shape, n_classes=10, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    variant = STREAMED if streamed else "plain"
    with watcher(variant, model, steps, Path()) as watch:
        data = batches(shape, batch, steps)
        times = [one_step(model, optimizer, x, y, watch, variant)[0] for x, y in data]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    kept = int(watch.nbytes) if streamed else 0
    updates = watch.n_recorded if streamed else 0
    parameters = sum(p.numel() for p in model.parameters())
    print(parameters, peak, np.median(times), kept, updates)


def compare_alexnet(*, steps: int, batch: int, threads: int) -> bool:
    """Peak memory and time with and without streaming; whether the target is met."""
    found = {}
    for variant in ("plain", "streamed"):
        command = [sys.executable, __file__, "--alexnet", "--inside", variant]
        command += ["--steps", str(steps), "--batch", str(batch), "--threads", str(threads)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[variant] = [float(number) for number in done.stdout.split()]
    (size, plain, before, *_), (_, peak, after, kept, updates) = found["plain"], found["streamed"]
    allowed = VECTORS * 4 * size
    met = peak - plain <= allowed
    print(f"AlexNet, {int(size):,} parameters, {steps} steps, batch {batch} of 3x224x224")
    print(f"  plain     peak {Bytes(plain)}, {before:.2f} s per step")
    print(f"  streamed  peak {Bytes(peak)}, {after:.2f} s per step, {int(updates)} updates summed")
    print(
        f"  above training: {Bytes(max(0, peak - plain))} measured, {Bytes(kept)} of vectors; "
        f"target {Bytes(allowed)}: {'met' if met else 'MISSED'}"
    )
    print(f"  {RECORDED} steps of checkpoints would take {Bytes(RECORDED * 4 * size)}")
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alexnet", action="store_true")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--inside", choices=["plain", "streamed"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    threads = options.threads or (2 if options.alexnet else 1)
    torch.set_num_threads(threads)
    batch = options.batch or (8 if options.alexnet else 512)
    if options.inside:
        streamed = options.inside == "streamed"
        return train_alexnet(streamed=streamed, steps=options.steps, batch=batch)
    print(f"torch {torch.__version__}, {threads} threads")
    if options.alexnet:
        raise SystemExit(
            int(not compare_alexnet(steps=options.steps, batch=batch, threads=threads))
        )
    with tempfile.TemporaryDirectory() as folder:
        cost = report(measure(rounds=options.rounds, batch=batch, folder=Path(folder)))
    verdict = "met" if cost <= TARGET else "MISSED"
    print(f"Streaming with the two-batch loss: {cost:+.1%}; target {TARGET:.0%}: {verdict}")
    raise SystemExit(int(cost > TARGET))


if __name__ == "__main__":
    main()
