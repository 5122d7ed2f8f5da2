"""LEGCNet on images: the trainer equals autograd, the stream equals the whole recording."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score
from torch.nn.functional import mse_loss, one_hot

from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.legcnet import legcnet_decision
from causalprune_lib.pruning.windows import cut_windows, windowed_exponents
from causalprune_studies.paper_networks.deep import DeepNetworks, train_deep, upper_layers_only
from causalprune_studies.paper_networks.mnist import (
    WindowStream,
    mnist_data,
    mnist_settings,
    record_dense,
)
from causalprune_studies.paper_networks.settings import MaskReading
from causalprune_studies.tables import published

SIZES = (5, 4, 6, 3)


def examples(n=50, seed=0, dtype=torch.float64):
    noise = torch.Generator().manual_seed(seed)
    x = torch.randn(n, SIZES[0], generator=noise, dtype=dtype)
    return x, torch.randint(SIZES[-1], (n,), generator=noise)


def three_networks() -> DeepNetworks:
    """Different weights, in float64."""
    single = [DeepNetworks.initial(SIZES, seed=seed) for seed in range(3)]
    parts = ([getattr(n, kind) for n in single] for kind in ("weights", "biases"))
    return DeepNetworks(
        *(tuple(torch.cat(layer).double() * 3 for layer in zip(*p, strict=True)) for p in parts)
    )


def one_by_autograd(model, x, y, *, lr, epochs, batch_size, seed, keep=None):
    """The released loop for one module: masks before each forward pass, and at the end."""
    layout = ParameterLayout.of(model)
    factors = None if keep is None else layout.unflatten(keep.double())
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    rows = []

    def put_mask():
        if factors is not None:
            with torch.no_grad():
                for name, parameter in layout.parameters(model).items():
                    parameter.mul_(factors[name])

    for _ in range(epochs):
        for part in torch.randperm(len(x), generator=order).split(batch_size):
            put_mask()
            rows.append(layout.flatten(model))
            goals = one_hot(y[part], SIZES[-1]).double()
            loss = mse_loss(model(x[part]).softmax(1), goals)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    put_mask()
    return torch.stack([*rows, layout.flatten(model)])


@pytest.mark.parametrize("masked", [False, True])
def test_a_batch_is_each_network_trained_alone_by_autograd(masked):
    networks, (x, y) = three_networks(), examples()
    keep = torch.rand(3, networks.layout.size, generator=torch.Generator().manual_seed(1)) < 0.6
    options = {"lr": 2.0, "epochs": 3, "batch_size": 16, "seed": 4}
    rows = []
    train_deep(
        networks,
        x,
        y,
        test=(x, y),
        masks=keep if masked else None,
        watch=lambda step, live: rows.append(live.flat().clone()),
        **options,
    )
    recorded = torch.stack(rows, 1)  # (B, T+1, P)
    for i in range(3):
        alone = one_by_autograd(
            networks.model(i), x, y, keep=keep[i] if masked else None, **options
        )
        torch.testing.assert_close(recorded[i], alone, rtol=1e-11, atol=1e-13)


def test_the_given_networks_are_not_changed_and_biases_are_never_masked():
    networks, (x, y) = three_networks(), examples()
    before = networks.flat().clone()
    nothing = torch.zeros(3, networks.layout.size, dtype=torch.bool)
    run = train_deep(networks, x, y, test=(x, y), lr=1.0, epochs=1, masks=nothing)
    assert torch.equal(networks.flat(), before)
    assert (run.networks.flat() == 0).all()
    assert (run.networks.biases[-1] != networks.biases[-1]).all()


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
    assert network.layout == ParameterLayout.of(network.model(0))
    assert torch.equal(network.layout.flatten(network.model(0)), network.flat()[0])


def test_outputs_and_judgement_are_those_of_the_module_and_of_scikit_learn():
    networks, (x, y) = three_networks(), examples(3000)  # more than one block
    accuracy, f1 = networks.judge(x, y)
    for i in range(3):
        with torch.no_grad():
            outputs = networks.model(i)(x).softmax(1)
        torch.testing.assert_close(networks.outputs(x)[i], outputs)
        said = outputs.argmax(1)
        assert float(accuracy[i]) == pytest.approx(accuracy_score(y, said), abs=1e-12)
        expected = f1_score(y, said, average="macro", zero_division=0)
        assert float(f1[i]) == pytest.approx(expected, abs=1e-12)


def test_series_are_judged_after_each_epoch_and_the_first_of_each_batch_apart():
    networks, (x, y) = three_networks(), examples()
    test = examples(64, seed=9)
    run = train_deep(networks, x, y, test=test, lr=2.0, epochs=4, batch_size=16, benchmark=0.4)
    firsts = test[0][[0, 16, 32, 48]], test[1][[0, 16, 32, 48]]
    for series, judged, which in (
        (run.train_accuracy, (x, y), 0),
        (run.test_accuracy, test, 0),
        (run.test_f1, test, 1),
        (run.first_accuracy, firsts, 0),
        (run.first_f1, firsts, 1),
    ):
        assert torch.equal(series[:, -1], run.networks.judge(*judged)[which])
    for i in range(3):
        reached = (run.train_accuracy[i] >= 0.4).nonzero()[:, 0].tolist()
        epoch = float(run.epochs_to_benchmark[i])
        assert epoch == reached[0] if reached else math.isnan(epoch)
    assert run.epochs_to_benchmark.isfinite().any()


def test_no_epochs_change_nothing():
    networks, (x, y) = three_networks(), examples()
    run = train_deep(networks, x, y, test=(x, y), lr=1.0, epochs=0)
    assert torch.equal(run.networks.flat(), networks.flat())
    assert run.train_accuracy.shape == (3, 0)
    assert run.at_benchmark("test_f1").isnan().all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lr": 0.0}, ValueError, "lr must be a finite number > 0"),
        ({"epochs": -1}, ValueError, "epochs must be >= 0"),
        ({"batch_size": 0}, ValueError, "batch_size must be >= 1"),
        ({"benchmark": 1.5}, ValueError, "benchmark must be in"),
        ({"masks": torch.ones(3, 62)}, TypeError, "masks must be boolean"),
        ({"masks": torch.ones(1, 62, dtype=torch.bool)}, ValueError, "masks must have shape"),
        ({"x": torch.zeros(50, 4).double()}, ValueError, "x must have shape"),
        ({"x": torch.zeros(50, 5)}, TypeError, "x must be torch.float64"),
        ({"x": torch.full((50, 5), math.nan).double()}, ValueError, "x must be finite"),
        ({"y": torch.zeros(49).long()}, ValueError, "one length"),
        ({"y": torch.full((50,), 3)}, ValueError, r"classes 0..2; got 3..3"),
    ],
)
def test_bad_input_is_named(change, error, message):
    x, y = examples()
    options = {"x": x, "y": y, "lr": 0.1, "epochs": 1, "test": (x, y)} | change
    x, y = options.pop("x"), options.pop("y")
    with pytest.raises(error, match=message):
        train_deep(three_networks(), x, y, **options)


def test_layers_that_do_not_fit_are_refused():
    good = DeepNetworks.initial(SIZES, seed=0)
    with pytest.raises(ValueError, match=r"weights\[1\] must have shape"):
        DeepNetworks((good.weights[0], good.weights[2]), (good.biases[0], good.biases[2]))
    with pytest.raises(ValueError, match="two layers or more; got 1 and 1"):
        DeepNetworks(good.weights[:1], good.biases[:1])


@given(
    n_rows=st.integers(0, 90),
    window=st.integers(8, 30),
    overlap=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    gate=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_a_stream_gives_the_exponents_of_the_whole_recording(n_rows, window, overlap, gate):
    noise = torch.Generator().manual_seed(n_rows)
    rows = torch.randn(n_rows, 4, generator=noise).div(50).cumsum(0)
    rows[:, 3] = 0.25  # a weight that never moves
    options = {"window": window, "overlap": overlap, "gate": gate}
    stream = WindowStream(4, **options)
    full = [step for step, row in enumerate(rows) if stream.push(row)]
    whole, found = windowed_exponents(rows, **options), stream.result()
    assert found.windows == whole.windows
    assert full == whole.windows.ends.tolist()
    torch.testing.assert_close(found.exponent, whole.exponent, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(found.gated, whole.gated)


def test_a_stream_keeps_a_window_and_not_the_recording():
    stream = WindowStream(3, window=10, estimator=lambda windows: windows.mean(-1), gate=False)
    for step in range(1000):
        stream.push(torch.full((3,), float(step)))
    assert stream._rows.shape == (10, 3)
    assert stream.result().exponent[:, 0].tolist() == [9 * i + 4.5 for i in range(111)]
    with pytest.raises(ValueError, match=r"row must have shape \(3\)"):
        stream.push(torch.zeros(4))


@pytest.fixture(scope="module")
def recorded():
    """A small digits network, and all rows of the same training."""
    small = replace(
        mnist_settings("digits"),
        sizes=(64, 6, 5, 10),
        epochs=6,
        readings={
            "FT": MaskReading(6, 30, max_lag=3),
            "PT": MaskReading(2, 30, max_lag=3),
            "PT, short windows": MaskReading(2, 12, max_lag=1),
        },
    )
    data = mnist_data(small)
    recording = record_dense(small, data, seed=2)
    rows = []
    train_deep(
        recording.initial,
        data.x_train,
        data.y_train,
        test=(data.x_test, data.y_test),
        lr=small.lr,
        epochs=small.epochs,
        batch_size=small.batch_size,
        seed=2,
        watch=lambda step, live: rows.append(live.clone()),
    )
    return small, data, recording, rows


def test_exponents_and_errors_are_those_of_the_recorded_rows(recorded):
    small, data, recording, networks = recorded
    rows = torch.cat([network.flat() for network in networks])
    steps = 40  # 1,257 examples in batches of 32
    assert len(rows) == 6 * steps + 1
    for name, reading in small.readings.items():
        part = rows[: reading.epochs * steps + 1]
        whole = windowed_exponents(part, window=reading.window)
        found = recording.exponents[name]
        torch.testing.assert_close(found, whole.exponent, rtol=0, atol=0, equal_nan=True)
        ends = whole.windows.ends.tolist()
        for row, judged in enumerate(((data.x_train, data.y_train), (data.x_test, data.y_test))):
            wrong = [1 - networks[end].judge(*judged)[0].item() for end in ends]
            assert recording.errors[name][row].tolist() == wrong
        assert torch.equal(recording.weights[name], part[-1])


def test_the_released_rule_takes_the_test_error_and_the_corrected_one_the_train_error(recorded):
    _, _, recording, _ = recorded
    for rule, row in (("as_released", 1), ("corrected", 0)):
        expected = legcnet_decision(
            recording.exponents["FT"], recording.errors["FT"][row], rule=rule, max_lag=3
        )
        found = recording.decide("FT", rule=rule)
        assert torch.equal(found.keep, expected.keep)
        assert not torch.equal(recording.errors["FT"][0], recording.errors["FT"][1])
    with pytest.raises(ValueError, match="Did you mean 'FT'"):
        recording.decide("FTT", rule="corrected")


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
    assert torch.equal(data.x_train, mnist_data(mnist_settings("digits")).x_train)
    fewer = mnist_data(replace(mnist_settings("digits"), images=1000))
    assert torch.equal(fewer.x_train, data.x_train[:700])
    with pytest.raises(ValueError, match="images must be at most 1797"):
        mnist_data(replace(mnist_settings("digits"), images=1798))


def test_settings_are_those_of_the_paper_and_of_the_released_script():
    small = mnist_settings("mnist")
    assert DeepNetworks.initial(small.sizes, seed=0).layout.size == 41_000
    steps = math.ceil(0.7 * small.images / small.batch_size)
    short = small.readings["PT, short windows"]
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
        assert small.amounts[variant] == 41_000 - kept
    with pytest.raises(ValueError, match="Did you mean 'mnist'"):
        mnist_settings("minst")


def test_upper_layers_only_spares_the_first_layer():
    network = DeepNetworks.initial(SIZES, seed=0)
    keep = torch.rand(network.layout.size, generator=torch.Generator().manual_seed(0)) < 0.5
    found = upper_layers_only(keep, network)
    assert found[:20].all()
    assert torch.equal(found[20:], keep[20:])


@pytest.mark.data
def test_mnist_is_read_with_pixels_to_255_and_split_as_the_paper():
    data = mnist_data(mnist_settings("mnist"))
    assert (len(data.y_train), len(data.y_test)) == (29_399, 12_601)
    assert data.x_train.max() == 255
    assert torch.equal(data.x_train[:100], data.x_train[:100].round())
    share = torch.bincount(data.y_train, minlength=10) / 29_399
    assert float((share - 0.1).abs().max()) < 0.015  # of all of MNIST: 0.0902 to 0.1125


@pytest.mark.gpu
def test_training_runs_where_the_networks_are():
    networks, (x, y) = three_networks(), examples()
    there = DeepNetworks(
        tuple(w.cuda() for w in networks.weights), tuple(b.cuda() for b in networks.biases)
    )
    options = {"lr": 2.0, "epochs": 2, "batch_size": 16}
    on_cpu = train_deep(networks, x, y, test=(x, y), **options)
    on_gpu = train_deep(there, x.cuda(), y.cuda(), test=(x.cuda(), y.cuda()), **options)
    assert on_gpu.networks.flat().is_cuda
    torch.testing.assert_close(
        on_gpu.networks.flat().cpu(), on_cpu.networks.flat(), rtol=1e-9, atol=1e-11
    )
