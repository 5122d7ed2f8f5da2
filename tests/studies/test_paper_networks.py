"""The batched trainers: equal to one network at a time by autograd, and what a run says."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.tasks import class_targets
from causalprune_lib.pruning.masks import Masks
from causalprune_studies.paper_networks.deep import DeepNetworks, train_deep
from causalprune_studies.paper_networks.networks import NetworksRun, macro_f1
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import train_networks


def deep(sizes):
    """Three different networks, in float64."""
    single = [DeepNetworks.initial(sizes, seed=seed) for seed in range(3)]
    parts = ([getattr(n, kind) for n in single] for kind in ("weights", "biases"))
    return DeepNetworks(
        *(tuple(torch.cat(layer).double() * 3 for layer in zip(*p, strict=True)) for p in parts)
    )


def train_deep_on(networks, x, y, **options):
    """`train_deep`, judged on what it is trained on."""
    return train_deep(networks, x, y, **{"test": (x, y)} | options)


KINDS = {
    "one output": SimpleNamespace(
        networks=SigmoidNetworks.random((5, 4, 1), 3, seed=1, scale=0.7),
        train=train_networks,
        options={"lr": 0.3, "label_size": 2},
    ),
    "three outputs": SimpleNamespace(
        networks=SigmoidNetworks.random((4, 3, 3), 3, seed=1, scale=0.7),
        train=train_networks,
        options={"lr": 0.3, "label_size": 2},
    ),
    "deep": SimpleNamespace(
        networks=deep((5, 4, 6, 3)),
        train=train_deep_on,
        options={"lr": 2.0, "batch_size": 16, "seed": 4},
    ),
}


@pytest.fixture(params=list(KINDS))
def kind(request):
    return KINDS[request.param]


def examples(sizes, n=25, seed=0):
    noise = torch.Generator().manual_seed(seed)
    x = torch.randn(n, sizes[0], generator=noise, dtype=torch.float64)
    return x, torch.randint(max(2, sizes[-1]), (n,), generator=noise)


def some_masks(networks):
    shape = len(networks), networks.layout.size
    return torch.rand(shape, generator=torch.Generator().manual_seed(2)) < 0.6


def one_by_autograd(kind, i, x, y, *, epochs, keep):
    """Network `i` alone, as the released loops have it; its weights (T+1, P) at every step."""
    model, options = kind.networks.model(i), kind.options
    layout, per_example = ParameterLayout.of(model), "label_size" in kind.options
    goals = class_targets(y, kind.networks.sizes[-1])
    rate = options["lr"] / options.get("label_size", 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    order = torch.Generator().manual_seed(options.get("seed", 0))

    def put_mask():
        with torch.no_grad():
            for name, parameter in layout.parameters(model).items():
                parameter.mul_(layout.unflatten(keep.double())[name])

    put_mask()
    rows = [layout.flatten(model)]
    for _ in range(epochs):
        drawn = torch.arange(len(x)) if per_example else torch.randperm(len(x), generator=order)
        for batch in drawn.split(options.get("batch_size", 1)):
            output = model(x[batch])
            output = output if per_example else output.softmax(1)
            error = (output - goals[batch]).square()
            optimizer.zero_grad()
            (error.sum() if per_example else error.mean()).backward()
            optimizer.step()
            put_mask()
            rows.append(layout.flatten(model))
    return torch.stack(rows)


@pytest.mark.parametrize("masked", [False, True])
def test_a_batch_is_each_network_trained_alone_by_autograd(kind, masked):
    networks, (x, y) = kind.networks, examples(kind.networks.sizes)
    keep = some_masks(networks) if masked else torch.ones(3, networks.layout.size).bool()
    options = kind.options | {"epochs": 2, "masks": keep if masked else None}
    if kind.train is train_networks:
        recorded = kind.train(networks, x, y, record=[2, 0, 1], **options).weights[[1, 2, 0]]
    else:
        rows = []
        kind.train(networks, x, y, watch=lambda step, now: rows.append(now.flat()), **options)
        recorded = torch.stack(rows, 1)  # (B, T+1, P)
    for i in range(3):
        alone = one_by_autograd(kind, i, x, y, epochs=2, keep=keep[i])
        torch.testing.assert_close(recorded[i], alone, rtol=1e-11, atol=1e-13)


def test_the_given_networks_are_not_changed_and_biases_are_never_masked(kind):
    networks, (x, y) = kind.networks, examples(kind.networks.sizes)
    before = networks.flat().clone()
    nothing = torch.zeros(3, networks.layout.size, dtype=torch.bool)
    run = kind.train(networks, x, y, epochs=1, masks=nothing, **kind.options)
    assert torch.equal(networks.flat(), before)
    assert (run.networks.flat() == 0).all()
    assert (run.networks.biases[-1] != networks.biases[-1]).all()


def test_masks_of_the_library_and_boolean_rows_say_the_same(kind):
    networks, (x, y) = kind.networks, examples(kind.networks.sizes)
    rows = some_masks(networks)
    masks = [Masks.from_flat(networks.layout, row) for row in rows]
    options = kind.options | {"epochs": 1}
    runs = [kind.train(networks, x, y, masks=m, **options).networks.flat() for m in (masks, rows)]
    assert torch.equal(*runs)
    assert torch.equal(runs[0] != 0, rows)


def test_the_flat_order_and_the_outputs_are_those_of_the_module(kind):
    networks, (x, _) = kind.networks, examples(kind.networks.sizes)
    model = networks.model(1)
    assert ParameterLayout.of(model) == networks.layout
    assert torch.equal(networks.layout.flatten(model), networks.flat()[1])
    with torch.no_grad():
        outputs = model(x).softmax(1) if kind is KINDS["deep"] else model(x)
    torch.testing.assert_close(networks.outputs(x)[1], outputs)
    chosen = networks.select([2, 0, 2])
    assert torch.equal(chosen.flat(), networks.flat()[[2, 0, 2]])
    assert torch.equal(networks.repeat(2).flat(), networks.flat()[[0, 0, 1, 1, 2, 2]])


def test_no_epochs_change_nothing(kind):
    networks, (x, y) = kind.networks, examples(kind.networks.sizes)
    run = kind.train(networks, x, y, epochs=0, **kind.options)
    assert torch.equal(run.networks.flat(), networks.flat())
    assert run.train_accuracy.shape == (3, 0)
    assert run.at_stop("test_f1").isnan().all()


def test_epochs_to_benchmark_is_the_first_epoch_from_zero_or_nan(kind):
    networks, (x, y) = kind.networks, examples(kind.networks.sizes)
    options = kind.options | {"epochs": 6, "test": examples(networks.sizes, n=40, seed=5)}
    accuracy = kind.train(networks, x, y, **options).train_accuracy
    wanted = float(accuracy.amax(1).median())  # one network at least gets there
    run = kind.train(networks, x, y, benchmark=wanted, **options)
    for i in range(3):
        reached = (run.train_accuracy[i] >= wanted).nonzero()[:, 0].tolist()
        epoch = float(run.epochs_to_benchmark[i])
        assert epoch == reached[0] if reached else math.isnan(epoch)
    assert run.epochs_to_benchmark.isfinite().any()
    assert torch.equal(run.test_accuracy[:, -1], run.networks.judge(*options["test"])[0])
    assert torch.equal(run.test_f1[:, -1], run.networks.judge(*options["test"])[1])


def test_a_share_of_hits_reaches_its_benchmark_however_it_is_rounded():
    networks, (x, y) = KINDS["one output"].networks, examples((5, 4, 1), n=49)
    accuracy = networks.judge(x, y)[0]  # hits / 49, and 1 / 49 is no binary fraction
    hits = (accuracy[0] * 49).round().item()
    for wanted in (hits / 49, hits * (1 / 49)):
        run = train_networks(networks, x, y, lr=1e-9, epochs=1, benchmark=wanted)
        assert run.epochs_to_benchmark[0] == 0


def test_never_to_reach_the_benchmark_is_nan_epochs_and_the_last_accuracy():
    series = torch.tensor([[0.7, 0.8, 0.9], [0.1, 0.2, 0.3]]).double()
    reached = torch.tensor([1.0, math.nan]).double()
    run = NetworksRun(KINDS["deep"].networks, series, series, series / 2, reached)
    first, second = run.outcomes()
    assert first == pytest.approx(
        {"accuracy": 0.8, "f1": 0.4, "epochs": 1, "reached": 1, "final_accuracy": 0.9}
    )
    assert math.isnan(second.pop("epochs"))
    assert second == pytest.approx(
        {"accuracy": 0.3, "f1": 0.15, "reached": 0, "final_accuracy": 0.3}
    )


@given(st.integers(2, 5), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1))
@settings(max_examples=25, deadline=None)
def test_macro_f1_is_that_of_scikit_learn_whatever_classes_occur(n_classes, pairs):
    said, true = (torch.tensor(v) % n_classes for v in zip(*pairs, strict=True))
    expected = f1_score(true.numpy(), said.numpy(), average="macro", zero_division=0)
    ours = macro_f1(said[None], true, n_classes=n_classes)
    assert float(ours) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lr": 0.0}, ValueError, "lr must be a finite number > 0"),
        ({"epochs": -1}, ValueError, "epochs must be >= 0"),
        ({"benchmark": 1.5}, ValueError, "benchmark must be in"),
        ({"masks": torch.ones(3, 21)}, TypeError, "masks must be boolean"),
        ({"masks": torch.ones(1, 21, dtype=torch.bool)}, ValueError, "masks must have shape"),
        ({"x": torch.zeros(25, 3).double()}, ValueError, "x must have shape"),
        ({"x": torch.zeros(25, 4)}, TypeError, "x must be torch.float64"),
        ({"x": torch.full((25, 4), math.nan).double()}, ValueError, "x must be finite"),
        ({"y": torch.zeros(24).long()}, ValueError, "one length"),
        ({"y": torch.full((25,), 3)}, ValueError, r"classes 0..2; got 3..3"),
        ({"y": torch.zeros(25)}, ValueError, "as integers"),
        ({"test": (torch.zeros(25, 4), torch.zeros(25).long())}, TypeError, r"test\[0\] must be"),
    ],
)
@pytest.mark.parametrize("which", ["three outputs", "deep"])
def test_bad_input_is_named(which, change, error, message):
    networks = KINDS[which].networks if which != "deep" else deep((4, 3, 3))
    x, y = examples(networks.sizes)
    options = {"x": x, "y": y, "lr": 0.1, "epochs": 2} | change
    x, y = options.pop("x"), options.pop("y")
    with pytest.raises(error, match=message):
        KINDS[which].train(networks, x, y, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_size": 0}, "label_size must be >= 1"),
        ({"until_benchmark": True}, "until_benchmark needs a benchmark"),
        ({"record": [3]}, r"record must name networks 0..2; got \[3\]"),
        ({"judge_at": [51]}, r"judge_at must lie in 0..50"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
    ],
)
def test_a_bad_option_of_one_kind_is_named(change, message):
    kind = KINDS["deep" if "batch_size" in change else "three outputs"]
    x, y = examples(kind.networks.sizes)
    with pytest.raises(ValueError, match=message):
        kind.train(kind.networks, x, y, **{"lr": 0.1, "epochs": 2} | change)


def test_layers_that_do_not_fit_or_are_not_finite_are_refused():
    good = DeepNetworks.initial((5, 4, 6, 3), seed=0)
    with pytest.raises(ValueError, match=r"weights\[1\] must have shape"):
        DeepNetworks((good.weights[0], good.weights[2]), (good.biases[0], good.biases[2]))
    with pytest.raises(ValueError, match="two layers or more; got 1 and 1"):
        DeepNetworks(good.weights[:1], good.biases[:1])
    one = KINDS["one output"].networks
    with pytest.raises(ValueError, match=r"biases\[1\] must be finite"):
        SigmoidNetworks(one.weights, (one.biases[0], one.biases[1] * math.nan))


@pytest.mark.gpu
def test_training_runs_where_the_networks_are(kind):
    networks, (x, y) = kind.networks, examples(kind.networks.sizes)
    there = networks._each(torch.Tensor.cuda)
    on_cpu = kind.train(networks, x, y, epochs=2, **kind.options)
    on_gpu = kind.train(there, x.cuda(), y.cuda(), epochs=2, **kind.options)
    assert on_gpu.networks.flat().is_cuda
    torch.testing.assert_close(
        on_gpu.networks.flat().cpu(), on_cpu.networks.flat(), rtol=1e-9, atol=1e-11
    )
