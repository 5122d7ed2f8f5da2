"""LEGCNet on images: how its networks are judged, and a recording that is read as it goes."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from causalprune_lib.nets.data import load_dataset
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.legcnet import legcnet_decision
from causalprune_lib.pruning.windows import cut_windows, windowed_exponents
from causalprune_studies.paper_networks.deep import BLOCK, DeepNetworks, train_deep
from causalprune_studies.paper_networks.mnist import (
    mnist_data,
    mnist_settings,
    record_dense,
    train_on_images,
)
from causalprune_studies.paper_networks.settings import MaskReading
from causalprune_studies.tables import published

SIZES = (5, 4, 6, 3)


def examples(n, seed=0):
    noise = torch.Generator().manual_seed(seed)
    x = torch.randn(n, SIZES[0], generator=noise)
    return x, torch.randint(SIZES[-1], (n,), generator=noise)


def test_initial_weights_are_those_of_torch_after_manual_seed():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = [torch.nn.Linear(a, b) for a, b in pairwise(SIZES)]
    state = torch.random.get_rng_state()
    network = DeepNetworks.initial(SIZES, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    for layer, weight, bias in zip(layers, network.weights, network.biases, strict=True):
        assert torch.equal(weight[0], layer.weight)
        assert torch.equal(bias[0], layer.bias)


def test_judgement_is_that_of_scikit_learn_block_by_block():
    networks, (x, y) = DeepNetworks.initial(SIZES, seed=0).repeat(2), examples(BLOCK + 100)
    networks.weights[-1][1] *= 3
    accuracy, f1 = networks.judge(x, y)
    for i in range(2):
        said = networks.model(i)(x).argmax(1)
        assert float(accuracy[i]) == pytest.approx(accuracy_score(y, said), abs=1e-12)
        expected = f1_score(y, said, average="macro", zero_division=0)
        assert float(f1[i]) == pytest.approx(expected, abs=1e-12)


def test_the_first_example_of_each_test_batch_is_judged_apart():
    (x, y), test = examples(50), examples(64, seed=9)
    networks = DeepNetworks.initial(SIZES, seed=0)
    run = train_deep(networks, x, y, test=test, lr=2.0, epochs=3, batch_size=16, benchmark=0.3)
    firsts = test[0][[0, 16, 32, 48]], test[1][[0, 16, 32, 48]]
    accuracy, f1 = run.networks.judge(*firsts)
    assert torch.equal(run.first_accuracy[:, -1], accuracy)
    assert torch.equal(run.first_f1[:, -1], f1)
    [found] = run.outcomes()
    assert found["final_train_accuracy"] == run.train_accuracy[0, -1]
    at = int(run.epochs_to_benchmark[0])
    for name in ("train_accuracy", "first_accuracy", "first_f1"):
        assert found[name] == getattr(run, name)[0, at]


@pytest.fixture(scope="module")
def recorded():
    """A small digits network, and all rows of the same training."""
    small = replace(
        mnist_settings("digits"),
        sizes=(64, 6, 5, 10),
        images=640,
        epochs=6,
        readings={
            "FT": MaskReading(6, 15, max_lag=3),
            "PT": MaskReading(2, 15, max_lag=3),
            "PT, short windows": MaskReading(2, 8, max_lag=1),
        },
    )
    data = mnist_data(small)
    recording = record_dense(small, data, seed=2)
    rows = []
    options = {"seed": 2, "watch": lambda step, networks: rows.append(networks.clone())}
    train_on_images(recording.initial, small, data, **options)
    return small, data, recording, rows


def test_exponents_and_errors_are_those_of_the_recorded_rows(recorded):
    small, data, recording, networks = recorded
    rows = torch.cat([network.flat() for network in networks])
    steps = 14  # 448 examples in batches of 32
    assert len(rows) == 6 * steps + 1
    for name, reading in small.readings.items():
        part = rows[: reading.epochs * steps + 1]
        whole = windowed_exponents(part, window=reading.window)
        found = recording.exponents[name]
        torch.testing.assert_close(found, whole.exponent, rtol=0, atol=0, equal_nan=True)
        ends = whole.windows.ends.tolist()
        assert len(ends) > 1
        for row, judged in enumerate(((data.x_train, data.y_train), (data.x_test, data.y_test))):
            wrong = [1 - networks[end].judge(*judged)[0].item() for end in ends]
            assert recording.errors[name][row].tolist() == wrong
        assert torch.equal(recording.weights[name], part[-1])


def test_a_recording_shorter_than_a_window_has_no_exponents():
    small = replace(mnist_settings("digits"), sizes=(64, 5, 5, 10), images=100, epochs=2)
    recording = record_dense(small, mnist_data(small), seed=0)
    assert recording.exponents["FT"].shape == (0, 395)
    assert recording.errors["PT"].shape == (2, 0)


def test_the_released_rule_takes_the_test_error_and_the_corrected_one_the_train_error(recorded):
    _, _, recording, _ = recorded
    assert not torch.equal(*recording.errors["FT"])
    for rule, row in (("as_released", 1), ("corrected", 0)):
        error = recording.errors["FT"][row]
        expected = legcnet_decision(recording.exponents["FT"], error, rule=rule, max_lag=3)
        assert torch.equal(recording.decide("FT", rule=rule).keep, expected.keep)
    with pytest.raises(ValueError, match="Did you mean 'FT'"):
        recording.decide("FTT", rule="corrected")
    with pytest.raises(ValueError, match="rule must be one of"):
        recording.decide("FT", rule="released")


def test_too_few_windows_give_an_empty_mask_and_say_so(recorded):
    _, _, recording, _ = recorded
    decision = recording.decide("PT", rule="as_released")
    assert decision.n_windows == 2
    assert decision.n_pruned == 0
    assert "The decision is empty." in decision.summary()
    assert decision.scores.isnan().all()


def test_data_are_all_images_in_one_fixed_order_with_whole_pixels():
    data = mnist_data(mnist_settings("digits"))
    assert len(data.y_train) == int(0.7 * 1797)
    assert len(data.y_train) + len(data.y_test) == 1797
    assert torch.equal(data.x_train, data.x_train.round())
    fewer = mnist_data(replace(mnist_settings("digits"), images=1000))
    assert torch.equal(fewer.x_train, data.x_train[:700])
    with pytest.raises(ValueError, match="images must be at most 1797"):
        mnist_data(replace(mnist_settings("digits"), images=1798))


def test_settings_are_those_of_the_paper_and_of_the_released_script():
    settings = mnist_settings("mnist")
    layout = ParameterLayout.of(DeepNetworks.initial(settings.sizes, seed=0).model(0))
    assert layout.size == 41_000
    steps = math.ceil(0.7 * settings.images / settings.batch_size)
    short = settings.readings["PT, short windows"]
    windows = cut_windows(steps * short.epochs, window=short.window)
    stored = [45 * (i + 1) + 5 for i in range(25)]  # its list of steps
    assert (windows.ends + 1).tolist() == stored
    assert 3 * short.max_lag + 2 <= 25 < 3 * (short.max_lag + 1) + 2
    for table, column, variant in (
        ("legcnet_table1", "Flops - LEGCNet-FT", "FT"),
        ("legcnet_table2", "Flops (SN) - LEGCNet-PT", "PT"),
    ):
        cells = published(table)
        kept = cells[(cells.row == "mnist") & (cells.column == column)].value.item()
        assert settings.amounts[variant] == 41_000 - kept
    with pytest.raises(ValueError, match="Did you mean 'mnist'"):
        mnist_settings("minst")


def test_42000_of_the_70000_images_are_taken_and_split_as_in_the_paper(monkeypatch):
    digits = load_dataset("digits", preprocessing="none", progress=False)
    parts = {"train": 60_000, "test": 10_000}
    pixels = {name: torch.rand(n, 1, 2, 2).mul(255).round() / 255 for name, n in parts.items()}
    whole = replace(
        digits,
        **{f"x_{name}": x for name, x in pixels.items()},
        **{f"y_{name}": torch.zeros(n).long() for name, n in parts.items()},
    )
    address = "causalprune_studies.paper_networks.mnist.load_dataset"
    monkeypatch.setattr(address, lambda *_, **__: whole)
    data = mnist_data(mnist_settings("mnist"))
    assert (data.x_train.shape, data.x_test.shape) == ((29_399, 4), (12_601, 4))
    assert data.x_train.max() == 255
    assert torch.equal(data.x_train, data.x_train.round())
