"""PyHessian and hessian-eigenthings find what the library finds."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from toys import half_pruned_copy, trained_on_clouds

from causalprune_lib.diagnostics.curvature import top_eigenvalues
from causalprune_studies.ch09_flat_minima.peers import by_eigenthings, by_pyhessian


@pytest.fixture(scope="module", params=[False, True], ids=["dense", "masked"])
def task(request):
    """A trained network and its batches, of unequal sizes, which a peer would weigh alike."""
    model, batches = trained_on_clouds()
    return (half_pruned_copy(model) if request.param else model), batches


@pytest.mark.parametrize(("peer", "tol"), [(by_pyhessian, 1e-6), (by_eigenthings, 1e-4)])
def test_a_peer_finds_the_same_eigenvalues_and_leaves_the_model_as_it_was(task, peer, tol):
    model, batches = task
    ours = top_eigenvalues(model, cross_entropy, batches, k=2, tol=1e-4)
    model.train()
    state, random = [p.tolist() for p in model.state_dict().values()], torch.get_rng_state()
    found = peer(model, cross_entropy, batches, k=2, tol=tol)
    torch.testing.assert_close(found.eigenvalues, ours.eigenvalues, rtol=1e-3, atol=0)
    assert (found.residuals < 0.1 * found.eigenvalues).all()
    assert found.size == ours.size
    assert found.n_products > 2
    assert model.training
    assert [p.tolist() for p in model.state_dict().values()] == state
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_pyhessian_needs_more_products(task):
    model, batches = task
    ours = top_eigenvalues(model, cross_entropy, batches, k=2, trace_probes=0)
    assert ours.n_products < by_pyhessian(model, cross_entropy, batches, k=2, tol=1e-6).n_products


def test_pyhessian_takes_the_largest_by_size():
    def saddle(output, target):
        return 0.5 * (output**2 * target).sum(1).mean()  # at an input of 1: H = diag(target)

    batches = [(torch.ones(2, 1), torch.tensor([-5.0, 1.0, 2.0]).expand(2, 3))]
    found = by_pyhessian(nn.Linear(1, 3, bias=False), saddle, batches, k=1, tol=1e-6)
    assert found.eigenvalues.item() == pytest.approx(-5, rel=1e-3)
