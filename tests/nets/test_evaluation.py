"""`evaluate` and `iterate_batches`: hits, means, and every example exactly once."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from causalprune_lib.nets.training import Evaluation, evaluate, iterate_batches


def blobs(n=120, seed=0):
    """Three overlapping clouds in the plane."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    centres = torch.tensor([[0.0, 2.0], [-2.0, -1.0], [2.0, -1.0]])
    return centres[y] + torch.randn(n, 2, generator=generator), y


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


@given(n=st.integers(1, 30), batch_size=st.integers(1, 12), seed=st.none() | st.integers(0, 9))
@settings(max_examples=40)
def test_every_example_comes_exactly_once_with_its_label(n, batch_size, seed):
    x, y = torch.arange(float(n)).reshape(n, 1), torch.arange(n)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    batches = list(iterate_batches(x, y, batch_size=batch_size, generator=generator))
    assert [len(labels) for _, labels in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert all(torch.equal(xs[:, 0].long(), labels) for xs, labels in batches)
    seen = torch.cat([labels for _, labels in batches])
    assert torch.equal(seen if seed is None else seen.sort().values, y)


def test_evaluation_does_not_depend_on_the_batch_size():
    x, y = blobs(100)
    model = network()
    whole, parts = evaluate(model, x, y), evaluate(model, x, y, batch_size=7)
    assert whole.accuracy == parts.accuracy
    assert whole.loss == pytest.approx(parts.loss, rel=1e-6)  # sums of float32 in another order
    assert whole.loss == pytest.approx(float(cross_entropy(model.eval()(x), y).detach()), rel=1e-6)


def test_evaluation_counts_hits():
    model = nn.Linear(3, 3, bias=False)
    nn.init.eye_(model.weight)
    x = torch.eye(3)[[0, 1, 2, 0]]
    judged = evaluate(model, x, torch.tensor([0, 1, 1, 2]))
    assert isinstance(judged, Evaluation)
    assert (judged.accuracy, judged.error_rate) == (0.5, 0.5)


def test_evaluation_leaves_gradients_and_statistics_alone():
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    x, y = blobs()
    cross_entropy(model(x), y).backward()
    before = [p.grad.clone() for p in model.parameters()]
    mean = model[1].running_mean.clone()
    evaluate(model, x, y)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), before, strict=True))
    assert torch.equal(model[1].running_mean, mean)


def test_a_model_without_parameters_can_be_judged():
    assert evaluate(nn.Identity(), torch.eye(3), torch.arange(3)).accuracy == 1.0
