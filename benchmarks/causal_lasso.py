"""The lasso of causal pruning on a recorded LeNet: the released solver, and exact fits.

    python benchmarks/causal_lasso.py [--dataset digits] [--examples N] [--steps 201]
        [--batch 256] [--part all] [--threads 1]

LeNet is trained for an epoch, then recorded on disk over a few hundred steps of plain SGD. Each
step gives one sample of eq. 7 of the paper: squared changes of the weights against the change of
the loss (two-batch, so there is one sample less than there are steps).

released: the truncated gradient with cumulative penalty, update by update as described, against
its closed form. Both get the same squared changes (T, P) in memory, layer by layer, for masks at
the same ten penalties. The iterated solver runs once for each; the sums of the closed form serve
all of them. The masks are compared weight by weight. The ratio is that of the seconds for the whole
network and all penalties; "processor" is the same in processor time, which other programs on the
machine disturb less. Two lines put it into proportion: one penalty alone, where reading the array
once is most of the closed form; and one from the recording on disk, where reading and squaring come
on top, three times against once.

exact: a path of ten penalties, alpha / alpha_max from 0.5 to 0.02, for each layer, from the
recording on disk, to a duality gap of 1e-4 of |y|^2 / 2, in a fresh process. Its peak memory is
taken above what it held before, less the recording itself, which is mapped into memory.

peer: the path once more, to 1e-10, by this library and by scikit-learn, on the layers where the
latter takes seconds, from memory.

Targets: the same mask on 100% of the weights, at least 100 times as fast; the path in less than
60 s, within 2 GB; scikit-learn's supports, and its objectives within 1e-8.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import lasso_path as peer_path
from torch import nn

from causalprune_lib.causality.lasso import RATIOS, causal_samples, lasso_path
from causalprune_lib.causality.scores import (
    alpha_max,
    released_sums,
    released_support,
    solver_step_sizes,
)
from causalprune_lib.causality.sgd_lasso import sgd_lasso
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.data import load_dataset
from causalprune_lib.nets.models import build_model
from causalprune_lib.nets.training import train

FASTER = 100
SECONDS, MEMORY, GAP = 60.0, 2e9, 1e-4
SAME = 1e-8


def record(options: argparse.Namespace, folder: Path) -> Path:
    """Train, then record `options.steps` steps; the folder of the recording."""
    size = 28 if options.dataset == "digits" else None
    data = load_dataset(options.dataset, subset=options.examples, size=size, progress=False)
    model = build_model("lenet", dataset=data, seed=0)
    start = time.perf_counter()
    train(
        model,
        data.x_train,
        data.y_train,
        epochs=1,
        batch_size=options.batch,
        lr=5e-4,
        optimizer="adam",
        progress=False,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    order = torch.Generator().manual_seed(0)
    path = folder / "recording"
    with TrajectoryRecorder(model, path=path, steps=options.steps) as recorder:
        for _ in range(options.steps):
            batch = torch.randint(len(data.x_train), (options.batch,), generator=order)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(data.x_train[batch]), data.y_train[batch])
            loss.backward()
            recorder.log(loss=loss)
            optimizer.step()
    print(f"{data.summary().split('.')[0]}\n{recorder.trajectory()}, recorded after one epoch")
    print(f"  training and recording took {time.perf_counter() - start:.0f} s")
    return path


def clocks() -> np.ndarray:
    """Seconds by the wall and of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


def compare_released(path: Path) -> bool:
    """Print agreement and ratio of the iterated solver and the closed form."""
    trajectory = Trajectory.load(path)
    seconds = np.zeros((3, 2))  # iterated, closed, closed for one penalty; by both clocks
    different = total = 0
    print("\nreleased solver against its closed form")
    for name in trajectory.layout.names:
        features, y = causal_samples(trajectory, layer=name)
        x = np.ascontiguousarray(features.read(np.arange(features.shape[1])))  # (T, P)
        weights = solver_step_sizes(len(y))
        total_step = float(weights.sum())
        given = torch.from_numpy(x), torch.from_numpy(y)
        start = clocks()
        sums = {name: released_sums(*given, step_sizes=weights)}
        alphas = np.array(RATIOS) * alpha_max(sums, total_step=total_step)[name]
        closed = [released_support(sums, total_step=total_step, alpha=a)[name] for a in alphas]
        all_of_them = clocks()
        one_sum = {name: released_sums(*given, step_sizes=weights)}
        released_support(one_sum, total_step=total_step, alpha=alphas[0])
        one = clocks()
        iterated = [sgd_lasso(x, y, alpha=alpha).coef != 0 for alpha in alphas]
        seconds += [clocks() - one, all_of_them - start, one - all_of_them]
        different += sum(int((a != b.numpy()).sum()) for a, b in zip(iterated, closed, strict=True))
        total += len(alphas) * x.shape[1]
        low, high = (f"{100 * mask.mean():.2g}%" for mask in (iterated[0], iterated[-1]))
        print(f"  {name:<14}{x.shape[1]:>8,} weights, T = {len(y)}, kept {low}..{high}")
    n = len(RATIOS)
    (ratio, processor), single = seconds[0] / seconds[1], seconds[0] / seconds[2] / n
    print(
        f"  same verdict on {1 - different / total:.4%} of {total:,}\n  {n} penalties: "
        f"{seconds[0, 0]:.1f} s iterated, {seconds[1, 0]:.2f} s closed: {ratio:.0f}x, processor "
        f"{processor:.0f}x\n  one penalty: {seconds[0, 0] / n:.2f} s iterated, "
        f"{1e3 * seconds[2, 0]:.0f} ms closed: {single[0]:.0f}x, processor {single[1]:.0f}x"
    )
    from_disk(trajectory)
    met = different == 0 and ratio >= FASTER
    print(f"  target 100% and {FASTER}x: {'met' if met else 'MISSED'}")
    return bool(met)


def from_disk(trajectory: Trajectory) -> None:
    """Print what both take at one penalty where the squares are made from the recording."""
    seconds = np.zeros(2)
    for name in trajectory.layout.names:
        features, y = causal_samples(trajectory, layer=name)
        weights = solver_step_sizes(len(y)).numpy()
        start = time.perf_counter()
        sums = np.concatenate([(weights * y) @ part for _, part in features.chunks()])
        alpha = 0.1 * np.abs(sums).max() / weights.sum()
        middle = time.perf_counter()
        sgd_lasso(features, y, alpha=alpha)
        seconds += [time.perf_counter() - middle, middle - start]
    print(
        f"  one penalty, from disk: {seconds[0]:.2f} s iterated, {seconds[1]:.2f} s closed: "
        f"{seconds[0] / seconds[1]:.0f}x"
    )


def exact_path(path: Path, threads: int, answer) -> None:
    """Fit all layers; send lines, seconds and bytes above the start."""
    torch.set_num_threads(threads)
    lasso_path(np.eye(3), np.ones(3))  # imports what is imported late
    trajectory = Trajectory.load(path)
    before, start = memory("VmRSS"), time.perf_counter()
    lines, worst = [], 0.0
    for name in trajectory.layout.names:
        features, y = causal_samples(trajectory, layer=name)
        began = time.perf_counter()
        found = lasso_path(features, y, alpha_ratios=RATIOS, tol=GAP)
        worst = max(worst, float(found.relative_gaps.max()))
        lines.append(
            f"  {name:<14}{features.shape[1]:>8,} weights: {time.perf_counter() - began:5.1f} s, "
            f"{found.n_kept[0]}..{found.n_kept[-1]} kept, largest gap "
            f"{found.relative_gaps.max():.0e}"
        )
    answer.send((lines, worst, time.perf_counter() - start, memory("VmHWM") - before))


def compare_peer(path: Path) -> bool:
    """The same path by scikit-learn, on the layers that it can do in seconds, from memory."""
    trajectory = Trajectory.load(path)
    print("\nexact path to a gap of 1e-10, against scikit-learn's lasso_path, in memory")
    met = True
    for name in ("conv1.weight", "fc2.weight"):
        features, y = causal_samples(trajectory, layer=name)
        x = features.read(np.arange(features.shape[1]))
        x, y = x / np.sqrt((x**2).mean(0).max()), y / np.sqrt((y**2).mean())
        start = time.perf_counter()
        ours = lasso_path(x, y, tol=1e-10)
        middle = time.perf_counter()
        _, theirs, _ = peer_path(x, y, alphas=ours.alphas, tol=0.5e-10, max_iter=10**6)
        seconds = middle - start, time.perf_counter() - middle
        pairs = list(zip(ours.coefs.toarray().T, theirs.T, ours.alphas, strict=True))
        same = sum(np.array_equal(a != 0, b != 0) for a, b, _ in pairs)
        apart = max(abs(objective(x, y, a, p) / objective(x, y, b, p) - 1) for a, b, p in pairs)
        print(
            f"  {name:<14}{x.shape[1]:>8,} weights: {seconds[0]:.2f} s, scikit-learn "
            f"{seconds[1]:.2f} s: {seconds[1] / seconds[0]:.0f}x; same support at {same} of "
            f"{len(pairs)}, objectives {apart:.0e} apart"
        )
        met &= same == len(pairs) and apart <= SAME
    print(f"  target same supports, objectives within {SAME:g}: {'met' if met else 'MISSED'}")
    return met


def objective(x: np.ndarray, y: np.ndarray, coef: np.ndarray, alpha: float) -> float:
    """1/(2T) |y - X gamma|^2 + alpha |gamma|_1."""
    return float(((y - x @ coef) ** 2).mean() / 2 + alpha * np.abs(coef).sum())


def memory(field: str) -> int:
    """Resident bytes of this process, now (VmRSS) or at most (VmHWM)."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(s for s in status.read_text().splitlines() if s.startswith(field))
        return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def measure_exact(path: Path, threads: int) -> bool:
    """Run `exact_path` in a process of its own and print what it did."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=exact_path, args=(path, threads, send))
    process.start()
    send.close()
    lines, worst, seconds, peak = receive.recv()
    process.join()
    data = Trajectory.load(path).weights.nbytes
    print(f"\nexact path, alpha / alpha_max {RATIOS[0]:g}..{RATIOS[-1]:g}", *lines, sep="\n")
    print(
        f"  together {seconds:.1f} s; peak memory {peak / 1e9:.2f} GB above the start, of which up "
        f"to {data / 1e9:.2f} GB are the recording"
    )
    met = seconds < SECONDS and peak - data <= MEMORY and worst <= GAP
    target = f"gap {GAP:g} in {SECONDS:g} s within {MEMORY / 1e9:g} GB"
    print(f"  target {target}: {'met' if met else 'MISSED'}")
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=["digits", "mnist", "fashion_mnist"], default="digits")
    parser.add_argument("--examples", type=int, help="training examples; default all")
    parser.add_argument("--steps", type=int, default=201)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--part", choices=["all", "released", "exact", "peer"], default="all")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, numpy {np.__version__}, {options.threads} threads")
    met = []
    with tempfile.TemporaryDirectory() as folder:
        path = record(options, Path(folder))
        if options.part in ("all", "exact"):
            met.append(measure_exact(path, options.threads))
        if options.part in ("all", "peer"):
            met.append(compare_peer(path))
        if options.part in ("all", "released"):
            met.append(compare_released(path))
    raise SystemExit(int(not all(met)))


if __name__ == "__main__":
    main()
