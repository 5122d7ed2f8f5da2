"""Estimated curvature against the exact Hessian, and a model that shows no trace of it."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, l1_loss, mse_loss

from causalprune_lib.diagnostics.curvature import (
    gauss_rule,
    lanczos,
    spectral_density,
    top_eigenvalues,
)
from causalprune_lib.diagnostics.hessian import HessianOperator, exact_hessian
from causalprune_lib.nets.models import MLP
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model, remove_masks


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def labelled(n, features, classes, seed=1):
    y = torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))
    return noise(n, features, seed=seed) + 2 * noise(classes, features)[y], y


def trained(model, x, y, steps=60):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    model.zero_grad()
    return model


def build(sizes, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MLP(sizes)


@pytest.fixture(scope="module")
def task():
    """A small trained network, its batches of unequal size, and its exact Hessian (147, 147)."""
    x, y = labelled(90, 8, 4)
    model = trained(build([8, 11, 4]), x, y)
    batches = [(x[:50], y[:50]), (x[50:], y[50:])]
    return model, batches, exact_hessian(model, cross_entropy, batches)


def half_pruned(model, seed=5):
    layout = ParameterLayout.of(model)
    return Masks.from_flat(layout, noise(layout.size, seed=seed) > 0)


# The Hessian itself


def test_a_quadratic_loss_has_the_hessian_of_the_formula():
    x = noise(20, 5).double()
    model = nn.Linear(5, 1, bias=False).double()
    found = exact_hessian(model, mse_loss, [(x[:13], x[:13, :1]), (x[13:], x[13:, :1])])
    torch.testing.assert_close(found, 2 * x.T @ x / 20)  # whatever the batches


def test_the_exact_hessian_agrees_with_torch_func(task):
    model, batches, exact = task
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    layout = ParameterLayout.of(model, which="all")
    theta = layout.flatten(model).double()

    def loss_at(flat):
        return cross_entropy(
            torch.func.functional_call(model, layout.unflatten(flat), (x.double(),)), y
        )

    torch.testing.assert_close(exact, torch.func.hessian(loss_at)(theta))


@pytest.mark.parametrize("gigabytes", [0.0, 2.0])
def test_products_are_those_of_the_matrix_with_and_without_kept_graphs(task, gigabytes):
    model, batches, exact = task
    hessian = HessianOperator(
        model, cross_entropy, batches, dtype=torch.float64, graph_gigabytes=gigabytes
    )
    for seed in range(3):
        v = noise(hessian.size, seed=seed).double()
        torch.testing.assert_close(hessian @ v, exact @ v)
    assert hessian.n_products == 3


@pytest.mark.parametrize("how", ["argument", "live", "both"])
def test_the_sparse_subspace_is_the_sub_matrix_of_the_weights_left(task, how):
    model, batches, _ = task
    masks = half_pruned(model)
    model = apply_masks(clone_model(model), masks)
    permanent = remove_masks(clone_model(model))
    whole = exact_hessian(permanent, cross_entropy, batches, which="prunable")
    left = masks.flat().nonzero()[:, 0]
    found = exact_hessian(
        permanent if how == "argument" else model,
        cross_entropy,
        batches,
        which="prunable",
        masks=None if how == "live" else masks,
    )
    torch.testing.assert_close(found, whole[left][:, left])


def test_frozen_parameters_are_constants(task):
    model, batches, exact = task
    model = clone_model(model)
    model.fc1.weight.requires_grad_(False)
    layout = ParameterLayout.of(model, which="all")
    free = [k for k in range(layout.size) if layout.locate(k)[0] != "fc1.weight"]
    found = exact_hessian(model, cross_entropy, batches)
    torch.testing.assert_close(found, exact[free][:, free])


def test_batch_normalisation_takes_its_running_statistics():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).train()
    x, y = labelled(12, 3, 2)
    together = exact_hessian(model, cross_entropy, [(x, y)])
    apart = exact_hessian(model, cross_entropy, [(x[i : i + 1], y[i : i + 1]) for i in range(12)])
    torch.testing.assert_close(together, apart)  # statistics of a batch of one would not exist
    assert model[1].num_batches_tracked == 0


# Eigenvalues and trace


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("by", ["algebraic", "magnitude"])
def test_top_eigenvalues_of_a_network(task, dtype, by):
    model, batches, exact = task
    found = top_eigenvalues(model, cross_entropy, batches, k=6, dtype=dtype, by=by, tol=1e-4)
    truth = torch.linalg.eigvalsh(exact).flip(0)
    torch.testing.assert_close(found.eigenvalues, truth[:6], rtol=1e-4, atol=0)
    assert (found.residuals <= 2e-4 * found.eigenvalues).all()
    assert abs(found.trace - exact.trace()) < 4 * found.trace_error
    assert found.mean_eigenvalue == found.trace / found.size == found.trace / 147
    assert found.n_products < 147  # fewer than the matrix itself


def test_magnitude_finds_negative_eigenvalues_that_algebraic_does_not():
    def saddle(output, target):
        return 0.5 * (output**2 * target).sum(1).mean()

    curvatures = torch.linspace(-10, 9, 96)
    model = nn.Linear(1, 96, bias=False)
    batches = [(torch.ones(3, 1), curvatures.expand(3, 96))]  # H = diag(curvatures)
    algebraic = top_eigenvalues(model, saddle, batches, k=2, by="algebraic").eigenvalues
    size = top_eigenvalues(model, saddle, batches, k=2, by="magnitude").eigenvalues
    ordered = curvatures.double().sort().values
    torch.testing.assert_close(algebraic, ordered.flip(0)[:2], rtol=1e-3, atol=0)
    torch.testing.assert_close(size, ordered[:2].flip(0), rtol=1e-3, atol=0)


def test_k_may_be_every_weight(task):
    model, batches, exact = task
    found = top_eigenvalues(model, cross_entropy, batches, k=147, dtype=torch.float64)
    torch.testing.assert_close(found.eigenvalues, torch.linalg.eigvalsh(exact).flip(0))
    assert found.trace == pytest.approx(float(exact.trace()), rel=1e-10)  # nothing is left to guess


def test_the_trace_is_unbiased_and_its_error_is_honest(task):
    model, batches, exact = task
    found = [top_eigenvalues(model, cross_entropy, batches, k=6, seed=seed) for seed in range(12)]
    z = [(one.trace - float(exact.trace())) / one.trace_error for one in found]
    assert abs(sum(z) / len(z)) < 4 / math.sqrt(len(z))
    assert 0.4 < torch.tensor(z).square().mean().sqrt() < 2  # chi-squared with 12 degrees: 1e-4


def test_pruned_weights_add_no_zero_eigenvalues(task):
    model, batches, _ = task
    masks = half_pruned(model)
    model = apply_masks(clone_model(model), masks)
    found = top_eigenvalues(model, cross_entropy, batches, k=3)
    exact = exact_hessian(model, cross_entropy, batches)
    assert found.size == len(exact) == masks.n_kept + 15  # and 15 biases
    truth = torch.linalg.eigvalsh(exact).flip(0)[:3]
    torch.testing.assert_close(found.eigenvalues, truth, rtol=1e-4, atol=0)


@pytest.mark.parametrize("masked", [False, True])
def test_pyhessian_agrees_within_its_own_residuals(task, masked):
    model, batches, _ = task
    if masked:
        model = apply_masks(clone_model(model), half_pruned(model))
    ours = top_eigenvalues(model, cross_entropy, batches, k=2)
    peer = top_eigenvalues(
        model, cross_entropy, batches, k=2, method="pyhessian", tol=1e-6, trace_probes=60
    )
    assert peer.by == "magnitude"
    assert peer.size == ours.size
    torch.testing.assert_close(peer.eigenvalues, ours.eigenvalues, rtol=1e-3, atol=0)
    spread = 4 * math.hypot(peer.trace_error, ours.trace_error)
    assert abs(peer.trace - ours.trace) < max(spread, 0.05 * ours.trace)
    assert ours.n_products - 30 < peer.n_products  # power iteration needs more


@pytest.mark.parametrize("by", ["algebraic", "magnitude"])
def test_hessian_eigenthings_agrees(task, by):
    model, batches, _ = task  # of unequal sizes, which it would weigh alike
    model = apply_masks(clone_model(model), half_pruned(model))
    exact = exact_hessian(model, cross_entropy, batches)
    peer = top_eigenvalues(
        model,
        cross_entropy,
        batches,
        k=3,
        method="hessian-eigenthings",
        by=by,
        trace_probes=60,
        dtype=torch.float64,
    )
    truth = torch.linalg.eigvalsh(exact).flip(0)[:3]
    torch.testing.assert_close(peer.eigenvalues, truth, rtol=1e-6, atol=0)
    assert abs(peer.trace - exact.trace()) < 4 * peer.trace_error


def test_the_seed_decides_everything(task):
    model, batches, _ = task
    first, again, other = (
        top_eigenvalues(model, cross_entropy, batches, k=1, seed=seed, trace_probes=3)
        for seed in (4, 4, 5)
    )
    assert torch.equal(first.eigenvalues, again.eigenvalues)
    assert first.trace == again.trace != other.trace


def test_without_convergence_the_missing_ones_are_nan():
    model = nn.Linear(1, 200, bias=False)
    scale = 1 + 1e-3 * torch.rand(200, generator=torch.Generator().manual_seed(0))
    batches = [(torch.ones(1, 1), scale.expand(1, 200))]

    def loss(output, target):
        return (output**2 * target).sum()

    with pytest.warns(RuntimeWarning, match="of 3 eigenvalues converged to tol=1e-12"):
        found = top_eigenvalues(model, loss, batches, k=3, tol=1e-12, max_products=1)
    assert found.eigenvalues.isnan().any()
    assert found.eigenvalues.isnan().equal(found.residuals.isnan())
    assert math.isfinite(found.trace)


# Density


def test_the_density_has_mass_one_and_the_moments_of_the_matrix(task):
    model, batches, exact = task
    found = spectral_density(model, cross_entropy, batches, steps=40, probes=20)
    assert found.weights.sum() == pytest.approx(1, abs=1e-9)
    assert torch.trapezoid(found.density, found.grid) == pytest.approx(1, abs=1e-4)
    assert abs(found.mean - exact.trace() / 147) < 4 * found.mean_error
    assert found.moment(1) == pytest.approx(found.mean)
    assert found.moment(2) == pytest.approx(float(exact.square().sum()) / 147, rel=0.25)
    top = float(torch.linalg.eigvalsh(exact)[-1])
    assert float(found.nodes[-1]) == pytest.approx(top, rel=1e-4)
    assert found.mass_within(-1e9, 1e9) == pytest.approx(1)


def test_with_as_many_steps_as_weights_the_rule_is_exact_for_its_vector():
    matrix = noise(12, 12).double()
    matrix = matrix + matrix.T
    start = noise(12, seed=3).double()
    diagonal, beside, basis = lanczos(matrix, start, 12)
    torch.testing.assert_close(basis @ basis.T, torch.eye(12).double())
    tridiagonal = torch.diag(diagonal) + torch.diag(beside, 1) + torch.diag(beside, -1)
    torch.testing.assert_close(basis @ matrix @ basis.T, tridiagonal)
    nodes, weights = gauss_rule(diagonal, beside)
    torch.testing.assert_close(nodes, torch.linalg.eigvalsh(matrix))
    v = start / start.norm()
    exact = v @ torch.linalg.matrix_exp(matrix / 4) @ v
    torch.testing.assert_close((weights * torch.exp(nodes / 4)).sum(), exact)


def test_lanczos_stops_where_the_space_is_used_up():
    matrix = torch.diag(torch.tensor([2.0] * 50 + [5.0] * 50))  # two distinct eigenvalues
    diagonal, _, basis = lanczos(matrix, torch.ones(100), 30)
    assert len(diagonal) == len(basis) == 2


# No trace, and errors


class Broken(nn.Module):
    """Raises in its n-th forward pass."""

    def __init__(self, passes):
        super().__init__()
        self.passes, self.fc = passes, nn.Linear(8, 4)

    def forward(self, x):
        self.passes -= 1
        if self.passes < 0:
            raise KeyError("a fault of the model")
        return self.fc(x)


def state_of(model):
    modules = list(model.modules())
    return (
        [module.training for module in modules],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules],
        [p.requires_grad for p in model.parameters()],
        [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        [t.tolist() for t in model.state_dict().values()],
        [id(t) for m in modules for t in vars(m).values() if isinstance(t, torch.Tensor)],
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
    )


CALLS = {
    "lanczos": lambda *a: top_eigenvalues(*a, k=1, trace_probes=2),
    "pyhessian": lambda *a: top_eigenvalues(*a, k=1, trace_probes=2, method="pyhessian"),
    "density": lambda *a: spectral_density(*a, steps=3, probes=1),
    "exact": exact_hessian,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("masked", [False, True])
def test_the_model_is_left_as_it_was(task, call, masked):
    model, batches, _ = task
    model = clone_model(model)
    if masked:
        apply_masks(model, half_pruned(model))
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
def test_the_model_is_left_as_it_was_when_it_fails(task, call, passes):
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


def test_bad_input_is_named(task):
    model, batches, _ = task

    def curvature(loss=cross_entropy, data=batches, net=model, **options):
        return top_eigenvalues(net, loss, data, **options)

    with pytest.raises(ValueError, match="at least one batch"):
        curvature(data=[])
    with pytest.raises(ValueError, match="lengths 0 and 0 in batch 0"):
        curvature(data=[(torch.empty(0, 8), torch.empty(0).long())])
    with pytest.raises(ValueError, match="k must be at most 147, the weights left; got 148"):
        curvature(k=148)
    with pytest.raises(ValueError, match="Did you mean 'pyhessian'"):
        curvature(method="pyhesian")
    with pytest.raises(ValueError, match="'magnitude' with method='pyhessian'"):
        curvature(method="pyhessian", by="algebraic")
    with pytest.raises(ValueError, match=r"must be torch\.float32 for method='pyhessian'"):
        curvature(method="pyhessian", dtype=torch.float64)
    with pytest.raises(ValueError, match=r"dtype must be torch\.float32 or"):
        curvature(dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="differentiable in the weights"):
        curvature(loss=lambda output, y: (output.argmax(1) == y).float().mean())
    with pytest.raises(ValueError, match="must be differentiable twice"):
        curvature(loss=lambda output, y: cross_entropy(OnlyOnce.apply(output), y))
    with pytest.raises(ValueError, match="a tensor with one number"):
        curvature(loss=lambda output, y: output)
    with pytest.raises(ValueError, match=r"layer of masks .* Did you mean"):
        curvature(masks=Masks({"fc3.weight": torch.ones(2, 2, dtype=torch.bool)}))
    nothing = Masks.from_flat(ParameterLayout.of(model), torch.zeros(132, dtype=torch.bool))
    with pytest.raises(ValueError, match="neither pruned nor frozen"):
        curvature(which="prunable", masks=nothing)
    with pytest.raises(ValueError, match="at most 100 weights left"):
        exact_hessian(model, cross_entropy, batches, max_size=100)
    torch.testing.assert_close(curvature(data=iter(batches)).eigenvalues, curvature().eigenvalues)


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
    with pytest.raises(ValueError, match="loss must have second derivatives"):
        top_eigenvalues(nn.Linear(8, 1), l1_loss, [(x, y[:, None].float())])
    with pytest.raises(ValueError, match="loss must have second derivatives"):
        spectral_density(nn.Linear(8, 1), l1_loss, [(x, y[:, None].float())])
    dead = build([8, 11, 4])
    nn.init.constant_(dead.fc1.bias, -1e3)  # no hidden unit ever fires
    found = top_eigenvalues(dead, cross_entropy, [(x, y)], which="prunable", k=2)
    assert found.eigenvalues.tolist() == [0, 0]
    assert found.trace == found.trace_error == 0
    sure = nn.Linear(8, 4)
    nn.init.zeros_(sure.weight)
    sure.bias.data = torch.tensor([1e4, 0.0, 0.0, 0.0])  # the loss underflows to exactly 0
    assert top_eigenvalues(sure, cross_entropy, [(x, 0 * y)], k=1).eigenvalues.item() == 0


def test_a_method_that_is_not_installed_says_so(task, monkeypatch):
    model, batches, _ = task
    for method, module in (
        ("pyhessian", "pyhessian"),
        ("hessian-eigenthings", "hessian_eigenthings"),
    ):
        monkeypatch.setitem(__import__("sys").modules, module, None)
        with pytest.raises(ImportError, match="pip install"):
            top_eigenvalues(model, cross_entropy, batches, method=method)
