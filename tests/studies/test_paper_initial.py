"""The initial weights that LEGCNet's authors published, and a result that follows from them."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
import torch

from causalprune_lib.nets.data import LEGCNET, load_dataset
from causalprune_lib.nets.sources import BUNDLED, mirror_folder
from causalprune_studies.paper_networks.initial import load_legcnet_init


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("cancer", [(6, 9), (6, 1), (1, 6), (1, 1)]),
        ("titanic", [(8, 6), (8, 1), (1, 8), (1, 1)]),
        ("banknote", [(8, 4), (8, 1), (1, 8), (1, 1)]),
        ("vowel", [(4, 3), (4, 1), (6, 4), (6, 1)]),
        ("iris_csv", [(6, 4), (6, 1), (3, 6), (3, 1)]),
        ("iris3f", [(6, 3), (6, 1), (3, 6), (3, 1)]),
    ],
)
def test_initial_weights_have_the_published_shapes(name, shapes):
    trials = load_legcnet_init(name, trials=10)
    assert all([part.shape for part in trial] == shapes for trial in trials)
    assert all(part.dtype == np.float64 for trial in trials for part in trial)
    assert len(load_legcnet_init(name)) == 5


def test_what_is_not_published_is_named():
    with pytest.raises(ValueError, match="trials must be at most 10; got 11"):
        load_legcnet_init("cancer", trials=11)
    with pytest.raises(ValueError, match="Did you mean 'banknote'"):
        load_legcnet_init("bank_note")


@pytest.mark.data
def test_they_are_the_mirrors_objects_bit_for_bit():
    readme = (BUNDLED / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"\| (\w+) \| `(\w+\.npy)` \| `(\w{64})` \|", readme)
    assert {name for name, _, _ in named} == set(LEGCNET)
    for name, file, sha256 in named:
        path = mirror_folder() / "legcnet" / "init" / file
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256  # before unpickling it
        stored = np.load(path, allow_pickle=True)
        for ours, theirs in zip(load_legcnet_init(name, trials=10), stored, strict=True):
            for part, expected in zip(ours, theirs, strict=True):
                assert part.tobytes() == np.asarray(expected, dtype=np.float64).tobytes()


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def first_epoch_at(name: str, *, trial: int, rate: float, benchmark: float) -> tuple[int, float]:
    """Train the paper's dense network as described there: epoch and test accuracy at benchmark.

    One hidden layer, sigmoid, squared error, one sample at a time in the order of the rows; the
    gradient is divided by the number of outputs; a hit is a row whose rounded outputs all agree.
    """
    data = load_dataset(name, preprocessing="as_released", dtype=torch.float64)
    (w1, b1, w2, b2) = load_legcnet_init(name)[trial - 1]
    b1, b2 = b1[:, 0], b2[:, 0]
    n_outputs = len(b2)

    def targets(y: torch.Tensor) -> np.ndarray:
        return np.eye(n_outputs)[y.numpy()] if n_outputs > 1 else y.numpy()[:, None].astype(float)

    def accuracy(x: torch.Tensor, y: torch.Tensor) -> float:
        out = sigmoid(sigmoid(x.numpy() @ w1.T + b1) @ w2.T + b2)
        return float((np.floor(out + 0.5) == targets(y)).all(1).mean())

    wanted = targets(data.y_train)
    for epoch in range(250):
        for x, t in zip(data.x_train.numpy(), wanted, strict=True):
            hidden = sigmoid(w1 @ x + b1)
            out = sigmoid(w2 @ hidden + b2)
            d_out = 2 * (out - t) * out * (1 - out)
            d_hidden = (w2.T @ d_out) * hidden * (1 - hidden)
            w2 -= rate / n_outputs * np.outer(d_out, hidden)
            b2 -= rate / n_outputs * d_out
            w1 -= rate / n_outputs * np.outer(d_hidden, x)
            b1 -= rate / n_outputs * d_hidden
        if accuracy(data.x_train, data.y_train) >= benchmark:
            return epoch, round(accuracy(data.x_test, data.y_test), 4)
    raise AssertionError(f"{name}: the benchmark was not reached")


@pytest.mark.parametrize(
    ("name", "trial", "rate", "benchmark", "published"),
    [("banknote", 4, 0.5, 0.91, (9, 0.9018)), ("iris3f", 2, 0.05, 0.95, (139, 0.9))],
)
def test_dense_rows_of_table_1_follow_from_this_data(name, trial, rate, benchmark, published):
    """LEGCNet, table 1, columns Epochs DN and Accuracy DN: right only if rows, scaling and initial
    weights are all as the authors had them. One table scaled by sample, one by feature; the batched
    trainer gives the rows of all tables."""
    assert first_epoch_at(name, trial=trial, rate=rate, benchmark=benchmark) == published
