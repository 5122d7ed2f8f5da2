"""Products with the Hessian against the matrix, and a model that shows no trace of them."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, l1_loss, mse_loss
from toys import exact_hessian

from causalprune_lib.diagnostics import hessian as hessian_file
from causalprune_lib.diagnostics.curvature import spectral_density, top_eigenvalues
from causalprune_lib.diagnostics.hessian import HessianOperator, Objective
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import clone_model, masks_of, remove_masks


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_quadratic_loss_has_the_hessian_of_the_formula():
    x = noise(20, 5).double()
    model = nn.Linear(5, 1, bias=False).double()
    found = exact_hessian(model, mse_loss, [(x[:13], x[:13, :1]), (x[13:], x[13:, :1])])
    torch.testing.assert_close(found, 2 * x.T @ x / 20)  # whatever the batches


def test_the_exact_hessian_agrees_with_torch_func(task):
    model, batches, exact = task
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    layout = ParameterLayout.of(model, which="all")

    def loss_at(flat):
        values = layout.unflatten(flat)
        return cross_entropy(torch.func.functional_call(model, values, (x.double(),)), y)

    torch.testing.assert_close(exact, torch.func.hessian(loss_at)(layout.flatten(model).double()))


@pytest.mark.parametrize("limit", [0.0, 2e9])
def test_products_are_those_of_the_matrix_with_and_without_kept_graphs(task, limit, monkeypatch):
    model, batches, exact = task
    monkeypatch.setattr(hessian_file, "GRAPH_BYTES", limit)
    hessian = HessianOperator(model, cross_entropy, batches, dtype=torch.float64)
    for seed in range(3):
        v = noise(hessian.size, seed=seed).double()
        torch.testing.assert_close(hessian @ v, exact @ v)
    assert hessian.n_products == 3
    assert len(hessian._gradients) == (0 if limit == 0 else 2)


def test_the_sparse_subspace_is_the_sub_matrix_of_the_weights_left(task, half_pruned):
    model, batches, _ = task
    model = half_pruned(model)
    whole = exact_hessian(remove_masks(clone_model(model)), cross_entropy, batches)
    keep = {name: torch.ones_like(p, dtype=bool) for name, p in task[0].named_parameters()}
    left = ParameterLayout.of(model, which="all").flatten(keep | dict(masks_of(model))).nonzero()
    found = exact_hessian(model, cross_entropy, batches)
    torch.testing.assert_close(found, whole[left, left.T])


def test_frozen_parameters_are_constants(task):
    model, batches, exact = task
    model = clone_model(model)
    model.fc1.weight.requires_grad_(False)
    layout = ParameterLayout.of(model, which="all")
    free = [k for k in range(layout.size) if layout.locate(k)[0] != "fc1.weight"]
    found = exact_hessian(model, cross_entropy, batches)
    torch.testing.assert_close(found, exact[free][:, free])


def test_batch_normalisation_takes_its_running_statistics():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Tanh()).train()
    x, y = noise(5, 3), torch.tensor([0, 1, 1, 0, 1])
    together = exact_hessian(model, cross_entropy, [(x, y)])
    apart = exact_hessian(model, cross_entropy, [(x[i : i + 1], y[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, apart)  # statistics of a batch of one would not exist
    assert model[1].num_batches_tracked == 0


def test_the_objective_is_the_mean_over_examples_not_batches():
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    batches = [(torch.eye(2), torch.zeros(2, 1)), (torch.zeros(1, 2), torch.zeros(1, 1))]
    objective = Objective(model, mse_loss, batches)
    assert objective.mean_loss(objective.theta) == pytest.approx(2 / 3)
    assert objective.full(objective.start).tolist() == [1, 1]


class Broken(nn.Module):
    """Raises in its n-th forward pass."""

    def __init__(self, passes):
        super().__init__()
        self.passes, self.fc = passes, nn.Linear(6, 4)

    def forward(self, x):
        self.passes -= 1
        if self.passes < 0:
            raise KeyError("a fault of the model")
        return self.fc(x)


CALLS = {
    "top": lambda *a: top_eigenvalues(*a, k=1, trace_probes=2),
    "density": lambda *a: spectral_density(*a, steps=3, n_vectors=1),
    "exact": exact_hessian,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("masked", [False, True])
def test_the_model_is_left_as_it_was(task, half_pruned, state_of, call, masked):
    model, batches, _ = task
    model = (half_pruned if masked else clone_model)(model)
    model.train()
    model.fc2.eval()
    model.fc2.bias.requires_grad_(False)
    seen = []
    model.fc1.register_forward_hook(lambda module, x, out: seen.append(out.shape))
    cross_entropy(model(batches[0][0]), batches[0][1]).backward()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*batches[0]), batch_size=25, shuffle=True
    )
    before = state_of(model)
    with torch.no_grad():
        CALLS[call](model, cross_entropy, loader)
    assert state_of(model) == before
    assert len(seen) > 1  # hooks of the model's own are called


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("passes", [0, 1, 2])
def test_the_model_is_left_as_it_was_when_it_fails(task, state_of, call, passes):
    model, batches = Broken(passes).train(), task[1]
    before = state_of(model)
    with pytest.raises(KeyError, match="a fault of the model"):
        CALLS[call](model, cross_entropy, batches)
    assert state_of(model) == before


class OnlyOnce(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return g * 2


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda o, y: (o.argmax(1) == y).float().mean(), "differentiable in the weights"),
        (lambda o, y: cross_entropy(OnlyOnce.apply(o), y), "must be differentiable twice"),
        (lambda o, y: o, "a tensor with one number"),
    ],
)
def test_a_loss_without_two_derivatives_is_named(task, loss, message):
    with pytest.raises(ValueError, match=message):
        top_eigenvalues(task[0], loss, task[1])


def test_bad_input_is_named(task, half_pruned):
    model, batches, _ = task
    with pytest.raises(ValueError, match="at least one batch"):
        HessianOperator(model, cross_entropy, [])
    with pytest.raises(ValueError, match="lengths 0 and 0 in batch 0"):
        HessianOperator(model, cross_entropy, [(torch.empty(0, 6), torch.empty(0).long())])
    with pytest.raises(ValueError, match=r"dtype must be torch\.float32 or"):
        HessianOperator(model, cross_entropy, batches, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"v must have shape \(92\)"):
        HessianOperator(model, cross_entropy, batches) @ torch.ones(3)
    nothing = clone_model(model).requires_grad_(False)
    with pytest.raises(ValueError, match="neither pruned nor frozen; got 92 weights"):
        HessianOperator(nothing, cross_entropy, batches)
    with pytest.raises(ValueError, match=r"at most 3000 weights left.* got 3600"):
        exact_hessian(nn.Linear(60, 60, bias=False), mse_loss, [(torch.ones(1, 60),) * 2])


def test_curvature_that_is_not_finite_is_an_error(task):
    x, y = task[1][0]
    model = clone_model(task[0])
    with pytest.raises(FloatingPointError, match="loss of batch 0 must be finite"):
        top_eigenvalues(model, lambda o, t: cross_entropy(o, t) * math.inf, [(x, y)])
    with pytest.raises(FloatingPointError, match="product with a vector must be finite"):
        top_eigenvalues(model, lambda o, t: (o - o.detach()).abs().pow(1.5).sum(), [(x, y)])
    model.fc1.weight.data[0, 0] = math.nan
    with pytest.raises(ValueError, match="weights of model must be finite"):
        top_eigenvalues(model, cross_entropy, [(x, y)])


def test_a_loss_without_curvature_is_named_and_a_flat_network_is_not(task):
    x, y = task[1][0]
    for measure in (top_eigenvalues, spectral_density):
        with pytest.raises(ValueError, match="loss must have second derivatives"):
            measure(nn.Linear(6, 1), l1_loss, [(x, y[:, None].float())])
    dead = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4, bias=False))
    nn.init.constant_(dead[0].bias, -1e3)  # no hidden unit ever fires
    found = top_eigenvalues(dead, cross_entropy, [(x, y)], k=2)
    assert found.eigenvalues.tolist() == [0, 0]
    assert found.trace == found.trace_error == 0
    assert spectral_density(dead, cross_entropy, [(x, y)], n_vectors=2).nodes.tolist() == [0, 0]
    sure = nn.Linear(6, 4)
    nn.init.zeros_(sure.weight)
    sure.bias.data = torch.tensor([1e4, 0.0, 0.0, 0.0])  # the loss underflows to exactly 0
    assert top_eigenvalues(sure, cross_entropy, [(x, 0 * y)], k=1).eigenvalues.item() == 0
