"""The batched trainer: equal to one network at a time by autograd, masked weights stay zero."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.tasks import class_targets
from causalprune_lib.pruning.masks import Masks
from causalprune_studies.paper_networks.settings import LEGCNET_SETTINGS, legcnet_settings
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks, macro_f1, random_masks_like
from causalprune_studies.paper_networks.training import train_networks

SHAPES = [(5, 4, 1), (4, 3, 3)]


def examples(sizes, n=25, seed=0):
    noise = torch.Generator().manual_seed(seed)
    x = torch.randn(n, sizes[0], generator=noise, dtype=torch.float64)
    return x, torch.randint(max(2, sizes[2]), (n,), generator=noise)


def one_by_autograd(model, x, y, *, lr, epochs, label_size, keep=None):
    """The same training of one `MLP`, by autograd; returns the recorded weights (T+1, P)."""
    layout = ParameterLayout.of(model)
    goals = class_targets(y, model(x[:1]).shape[1])
    masks = None if keep is None else layout.unflatten(keep.double())

    def put_mask():
        if masks is not None:
            with torch.no_grad():
                for name, parameter in layout.parameters(model).items():
                    parameter.mul_(masks[name])

    optimizer = torch.optim.SGD(model.parameters(), lr=lr / label_size)
    put_mask()
    rows = [layout.flatten(model)]
    for _ in range(epochs):
        for example, goal in zip(x, goals, strict=True):
            optimizer.zero_grad()
            (model(example[None])[0] - goal).square().sum().backward()
            optimizer.step()
            put_mask()
            rows.append(layout.flatten(model))
    return torch.stack(rows)


@pytest.mark.parametrize("sizes", SHAPES)
@pytest.mark.parametrize("masked", [False, True])
def test_a_batch_is_each_network_trained_alone_by_autograd(sizes, masked):
    networks = SigmoidNetworks.random(sizes, 3, seed=1, scale=0.7)
    x, y = examples(sizes)
    n_weights = networks.layout.size
    keep = torch.rand(3, n_weights, generator=torch.Generator().manual_seed(2)) < 0.6
    options = {"lr": 0.3, "epochs": 3, "label_size": 2}
    run = train_networks(networks, x, y, masks=keep if masked else None, record=[2, 0], **options)
    for row, i in enumerate([2, 0]):
        alone = one_by_autograd(
            networks.model(i), x, y, keep=keep[i] if masked else None, **options
        )
        torch.testing.assert_close(run.weights[row], alone, rtol=1e-12, atol=1e-14)


def test_biases_are_trained_and_never_masked():
    sizes = (5, 4, 1)
    networks, (x, y) = SigmoidNetworks.random(sizes, 2, seed=0), examples(sizes)
    nothing = torch.zeros(2, networks.layout.size, dtype=torch.bool)
    run = train_networks(networks, x, y, lr=0.5, epochs=1, masks=nothing)
    assert (run.networks.flat() == 0).all()
    assert (run.networks.b2 != networks.b2).all()


def test_the_flat_order_is_that_of_the_layout_and_the_given_networks_are_not_changed():
    networks, (x, y) = SigmoidNetworks.random((4, 3, 3), 2, seed=0), examples((4, 3, 3))
    before = networks.flat().clone()
    model = networks.model(1)
    assert ParameterLayout.of(model) == networks.layout
    assert torch.equal(networks.layout.flatten(model), networks.flat()[1])
    train_networks(networks, x, y, lr=0.5, epochs=1)
    assert torch.equal(networks.flat(), before)


def test_outputs_are_those_of_the_module():
    networks, (x, _) = SigmoidNetworks.random((4, 3, 3), 2, seed=0, scale=1.0), examples((4, 3, 3))
    with torch.no_grad():
        torch.testing.assert_close(networks.outputs(x)[1], networks.model(1)(x))


def test_masks_of_the_library_and_boolean_rows_say_the_same():
    networks, (x, y) = SigmoidNetworks.random((4, 3, 3), 2, seed=0), examples((4, 3, 3))
    masks = [Masks.from_indices(networks.layout, [0, 5]), Masks.from_indices(networks.layout, [12])]
    rows = torch.stack([mask.flat() for mask in masks])
    runs = [train_networks(networks, x, y, lr=0.5, epochs=2, masks=m) for m in (masks, rows)]
    assert torch.equal(runs[0].networks.flat(), runs[1].networks.flat())
    assert torch.equal(runs[0].networks.flat() != 0, rows)


@pytest.mark.parametrize("sizes", SHAPES)
def test_accuracy_counts_exact_rounded_outputs_and_f1_is_that_of_scikit_learn(sizes):
    networks, (x, y) = SigmoidNetworks.random(sizes, 4, seed=3, scale=2.0), examples(sizes, n=60)
    accuracy, f1 = networks.judge(x, y)
    for i, outputs in enumerate(networks.outputs(x).numpy()):
        rounded = np.floor(outputs + 0.5)
        hits = [
            np.array_equal(r, t)
            for r, t in zip(rounded, class_targets(y, sizes[2]).numpy(), strict=True)
        ]
        assert accuracy[i] == pytest.approx(np.mean(hits), abs=1e-15)
        said = rounded[:, 0] if sizes[2] == 1 else outputs.argmax(1)
        expected = f1_score(y.numpy(), said, average="macro", zero_division=0)
        assert float(f1[i]) == pytest.approx(expected, abs=1e-12)


@given(st.integers(2, 5), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1))
@settings(max_examples=40, deadline=None)
def test_macro_f1_is_that_of_scikit_learn_whatever_classes_occur(n_classes, pairs):
    said, true = (torch.tensor(v) % n_classes for v in zip(*pairs, strict=True))
    expected = f1_score(true.numpy(), said.numpy(), average="macro", zero_division=0)
    ours = macro_f1(said[None], true, n_classes=n_classes)
    assert float(ours) == pytest.approx(expected, abs=1e-12)


def test_epochs_to_benchmark_is_the_first_epoch_from_zero_or_nan():
    sizes = (5, 4, 1)
    networks = SigmoidNetworks.random(sizes, 6, seed=0, scale=1.0)
    x, _ = examples(sizes, n=60)
    y = (x[:, 0] > 0).long()
    run = train_networks(networks, x, y, lr=0.5, epochs=12, test=(x[:20], y[:20]), benchmark=0.9)
    for i in range(6):
        reached = (run.train_accuracy[i] >= 0.9).nonzero()[:, 0]
        if len(reached):
            assert run.epochs_to_benchmark[i] == reached[0]
            assert run.at_benchmark("test_f1")[i] == run.test_f1[i, reached[0]]
    assert run.epochs_to_benchmark.isfinite().any()
    never = train_networks(networks, x, y, lr=1e-9, epochs=2, benchmark=1.0, until_benchmark=True)
    assert never.epochs_to_benchmark.isnan().all()
    assert never.at_benchmark("train_accuracy").isnan().all()


def test_waiting_for_the_benchmark_stops_when_the_last_network_is_there():
    sizes = (5, 4, 1)
    networks = SigmoidNetworks.random(sizes, 6, seed=0, scale=1.0)
    x, _ = examples(sizes, n=60)
    y = (x[:, 0] > 0).long()
    options = {"lr": 0.5, "benchmark": 0.9}
    short = train_networks(networks, x, y, epochs=40, until_benchmark=True, **options)
    full = train_networks(networks, x, y, epochs=40, **options)
    last = int(short.epochs_to_benchmark.max())
    assert short.train_accuracy.shape[1] == last + 1 < 40
    assert torch.equal(short.epochs_to_benchmark, full.epochs_to_benchmark)


def test_accuracies_at_steps_are_those_of_the_recorded_weights_there():
    sizes = (4, 3, 3)
    networks, (x, y) = SigmoidNetworks.random(sizes, 2, seed=0, scale=1.0), examples(sizes)
    test = examples(sizes, n=40, seed=5)
    n = len(x)
    run = train_networks(networks, x, y, lr=0.5, epochs=2, test=test, judge_at=[0, n, 2 * n])
    assert torch.equal(run.test_accuracy_at[:, 0], networks.judge(*test)[0])
    assert torch.equal(run.test_accuracy_at[:, 1:], run.test_accuracy)
    assert torch.equal(run.train_accuracy_at[:, 1:], run.train_accuracy)
    assert run.judged_at.tolist() == [0, n, 2 * n]


def test_no_epochs_change_nothing():
    networks, (x, y) = SigmoidNetworks.random((4, 3, 3), 2, seed=0), examples((4, 3, 3))
    run = train_networks(networks, x, y, lr=0.5, epochs=0, record=[1])
    assert run.weights.shape == (1, 1, networks.layout.size)
    assert torch.equal(run.networks.flat(), networks.flat())
    assert run.train_accuracy.shape == (2, 0)
    assert run.at_benchmark("train_accuracy").isnan().all()


def test_random_networks_follow_their_seed_and_leave_the_global_generator_alone():
    state = torch.random.get_rng_state()
    one, two = (SigmoidNetworks.random((4, 3, 3), 2, seed=7).flat() for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(one, SigmoidNetworks.random((4, 3, 3), 2, seed=8).flat())


def test_random_masks_prune_as_many_weights_of_each_layer_and_all_alike():
    keep = torch.ones(2, 20, dtype=torch.bool)
    keep[0, [0, 1, 15]] = False
    keep[1, [12, 13, 14]] = False
    masks = random_masks_like(keep, 2000, seed=0, split=12)
    of_first, of_second = masks[:2000], masks[2000:]
    assert (of_first[:, :12].sum(1) == 10).all()
    assert (of_first[:, 12:].sum(1) == 7).all()
    assert of_second[:, :12].all()
    assert (of_second[:, 12:].sum(1) == 5).all()
    share = (~of_first[:, :12]).double().mean(0)  # each weight: 2 of 12
    assert ((share - 2 / 12).abs() < 4 * math.sqrt(2 / 12 * 10 / 12 / 2000)).all()


def test_settings_count_the_weights_of_the_papers_tables():
    counted = {name: settings.n_weights for name, settings in LEGCNET_SETTINGS.items()}
    assert counted == {
        "cancer": 60,
        "titanic": 56,
        "banknote": 40,
        "vowel": 36,
        "iris_csv": 42,
        "iris3f": 36,
    }
    with pytest.raises(ValueError, match="Did you mean 'banknote'"):
        legcnet_settings("bank_note")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lr": 0.0}, ValueError, "lr must be a finite number > 0"),
        ({"epochs": -1}, ValueError, "epochs must be >= 0"),
        ({"label_size": 0}, ValueError, "label_size must be >= 1"),
        ({"benchmark": 1.5}, ValueError, "benchmark must be in"),
        ({"until_benchmark": True}, ValueError, "until_benchmark needs a benchmark"),
        ({"record": [2]}, ValueError, "record must name networks 0..1"),
        ({"judge_at": [51]}, ValueError, r"judge_at must lie in 0..50"),
        ({"masks": torch.ones(2, 21)}, TypeError, "masks must be boolean"),
        ({"masks": torch.ones(1, 21, dtype=torch.bool)}, ValueError, "masks must have shape"),
        ({"x": torch.zeros(25, 3).double()}, ValueError, "x must have shape"),
        ({"x": torch.zeros(25, 4)}, TypeError, "x must be torch.float64"),
        ({"x": torch.full((25, 4), math.nan).double()}, ValueError, "x must be finite"),
        ({"y": torch.zeros(24).long()}, ValueError, "one length"),
        ({"y": torch.full((25,), 3)}, ValueError, r"classes 0..2; got 3..3"),
        ({"y": torch.zeros(25)}, ValueError, "as integers"),
    ],
)
def test_bad_input_is_named(change, error, message):
    x, y = examples((4, 3, 3))
    options = {"x": x, "y": y, "lr": 0.1, "epochs": 2} | change
    x, y = options.pop("x"), options.pop("y")
    with pytest.raises(error, match=message):
        train_networks(SigmoidNetworks.random((4, 3, 3), 2, seed=0), x, y, **options)


@pytest.mark.gpu
def test_training_runs_where_the_networks_are():
    sizes = (4, 3, 3)
    networks, (x, y) = SigmoidNetworks.random(sizes, 3, seed=0), examples(sizes)
    on_cpu = train_networks(networks, x, y, lr=0.3, epochs=2, record=[1])
    there = SigmoidNetworks.random(sizes, 3, seed=0, device="cuda")
    on_gpu = train_networks(there, x.cuda(), y.cuda(), lr=0.3, epochs=2, record=[1])
    assert on_gpu.weights.is_cuda
    torch.testing.assert_close(on_gpu.weights.cpu(), on_cpu.weights, rtol=1e-10, atol=1e-12)
