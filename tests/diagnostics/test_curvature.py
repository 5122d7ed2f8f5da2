"""Estimated curvature against the exact Hessian."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from toys import exact_hessian

from causalprune_lib.diagnostics.curvature import (
    gauss_rule,
    lanczos,
    spectral_density,
    top_eigenvalues,
)
from causalprune_lib.pruning.masks import masks_of


def random_symmetric(n):
    matrix = torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return matrix + matrix.T


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_top_eigenvalues_of_a_network(task, dtype):
    model, batches, exact = task
    found = top_eigenvalues(model, cross_entropy, batches, k=6, dtype=dtype, tol=1e-4)
    truth = torch.linalg.eigvalsh(exact).flip(0)
    torch.testing.assert_close(found.eigenvalues, truth[:6], rtol=1e-4, atol=0)
    assert (found.residuals <= 2e-4 * found.eigenvalues).all()
    assert abs(found.trace - exact.trace()) < 4 * found.trace_error
    assert found.size == 92
    assert found.n_products < 92  # fewer than the matrix itself


def saddle(output, target):
    """At one input of 1 the Hessian is diag(target)."""
    return 0.5 * (output**2 * target).sum(1).mean()


def test_the_largest_are_those_by_value_and_not_by_size():
    curvatures = torch.linspace(-10, 9, 96)
    batches = [(torch.ones(3, 1), curvatures.expand(3, 96))]
    found = top_eigenvalues(nn.Linear(1, 96, bias=False), saddle, batches, k=2, trace_probes=0)
    torch.testing.assert_close(
        found.eigenvalues, curvatures.double().flip(0)[:2], rtol=1e-3, atol=0
    )
    assert math.isnan(found.trace)


def test_k_may_be_every_weight(task):
    model, batches, exact = task
    found = top_eigenvalues(model, cross_entropy, batches, k=92, dtype=torch.float64)
    torch.testing.assert_close(found.eigenvalues, torch.linalg.eigvalsh(exact).flip(0))
    assert found.trace == pytest.approx(float(exact.trace()), rel=1e-10)  # nothing is left to guess


def test_the_trace_is_unbiased_and_its_error_is_honest(task):
    model, batches, exact = task
    found = [
        top_eigenvalues(model, cross_entropy, batches, k=2, seed=seed, trace_probes=12)
        for seed in range(12)
    ]
    z = [(one.trace - float(exact.trace())) / one.trace_error for one in found]
    assert abs(sum(z) / len(z)) < 4 / math.sqrt(len(z))
    assert 0.4 < torch.tensor(z).square().mean().sqrt() < 2  # chi-squared with 12 degrees: 1e-4


def test_pruned_weights_add_no_zero_eigenvalues(task, half_pruned):
    model, batches, _ = task
    model = half_pruned(model)
    found = top_eigenvalues(model, cross_entropy, batches, k=3)
    exact = exact_hessian(model, cross_entropy, batches)
    assert found.size == len(exact) == masks_of(model).n_kept + 12  # and 12 biases
    truth = torch.linalg.eigvalsh(exact).flip(0)[:3]
    torch.testing.assert_close(found.eigenvalues, truth, rtol=1e-4, atol=0)


def test_the_seed_decides_everything(task):
    model, batches, _ = task
    first, again, other = (
        top_eigenvalues(model, cross_entropy, data, k=1, seed=seed, trace_probes=3)
        for seed, data in ((4, batches), (4, iter(batches)), (5, batches))
    )
    assert torch.equal(first.eigenvalues, again.eigenvalues)
    assert first.trace == again.trace != other.trace


def test_without_convergence_the_missing_ones_are_nan():
    scale = 1 + 1e-3 * torch.rand(200, generator=torch.Generator().manual_seed(0))
    batches = [(torch.ones(1, 1), scale.expand(1, 200))]
    options = {"k": 3, "tol": 1e-12, "max_products": 1}
    with pytest.warns(RuntimeWarning, match="of 3 eigenvalues converged to tol=1e-12"):
        found = top_eigenvalues(nn.Linear(1, 200, bias=False), saddle, batches, **options)
    assert found.eigenvalues.isnan().any()
    assert found.eigenvalues.isnan().equal(found.residuals.isnan())
    assert math.isfinite(found.trace)


def test_more_eigenvalues_than_weights_is_an_error(task):
    with pytest.raises(ValueError, match="k must be at most 92, the weights left; got 93"):
        top_eigenvalues(task[0], cross_entropy, task[1], k=93)


def test_the_density_has_mass_one_and_the_moments_of_the_matrix(task):
    model, batches, exact = task
    found = spectral_density(model, cross_entropy, batches, steps=20, n_vectors=12)
    assert found.weights.sum() == pytest.approx(1, abs=1e-9)
    assert abs(found.mean - exact.trace() / 92) < 4 * found.mean_error
    mean, square = ((found.weights * found.nodes**power).sum() for power in (1, 2))
    assert mean == pytest.approx(found.mean)
    assert square == pytest.approx(float(exact.square().sum()) / 92, rel=0.25)
    top = float(torch.linalg.eigvalsh(exact)[-1])
    assert float(found.nodes[-1]) == pytest.approx(top, rel=1e-4)
    assert found.mass_within(-1e9, 1e9) == pytest.approx(1)
    assert found.n_products <= 20 * 12


def test_with_as_many_steps_as_weights_the_rule_is_exact_for_its_vector():
    matrix = random_symmetric(12)
    start = torch.arange(1.0, 13.0, dtype=torch.float64)
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
