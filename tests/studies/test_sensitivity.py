"""Many trainings side by side give what one twin and one tangent vector at a time give."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from causalprune_lib.dynamics.tangent import SGDMap, tangent_exponent
from causalprune_lib.dynamics.twins import twin_trajectories
from causalprune_lib.nets.models import MLP
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_studies.ch02_chaos.sensitivity import orbits, sensitivity_paths, sharpness

LOSS = nn.functional.mse_loss
LRS = (0.1, 1.5)


def networks(n=2):
    made = []
    for seed in range(n):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            made.append(MLP([3, 4, 2], "tanh").double())
    return made


def batches(n=12, seed=0):
    random = torch.Generator().manual_seed(seed)
    draw = {"generator": random, "dtype": torch.float64}
    return [(torch.randn(5, 3, **draw), torch.randn(5, 2, **draw)) for _ in range(n)]


@pytest.fixture(scope="module")
def paths():
    return sensitivity_paths(networks(), LOSS, batches(), lrs=LRS, indices=[5, 14])


@pytest.mark.parametrize("network", [0, 1])
@pytest.mark.parametrize("rate", [0, 1])
def test_each_path_is_that_of_one_twin_and_one_tangent_vector(paths, network, rate):
    model, index, lr = networks()[network], [5, 14][network], LRS[rate]
    twin = twin_trajectories(model, LOSS, batches(), lr=lr, indices=[index])
    torch.testing.assert_close(
        paths.distance[:, network, rate], twin.distance[:, 0], rtol=1e-6, atol=1e-15
    )
    whole, prunable = ParameterLayout.of(model, which="all"), ParameterLayout.of(model)
    name, inside = prunable.locate(index)
    first = {n: torch.zeros(s) for n, s in zip(whole.names, whole.shapes, strict=True)}
    first[name][inside] = 1.0
    vector = torch.cat([first[n].flatten() for n in whole.names]).double()[None]
    tangent = tangent_exponent(model, LOSS, batches(), lr=lr, vectors=vector)
    torch.testing.assert_close(
        paths.log_stretch[:, network, rate], tangent.log_stretch[:, 0], rtol=1e-9, atol=1e-12
    )
    torch.testing.assert_close(paths.weights[network, rate], tangent.state, rtol=1e-12, atol=1e-13)
    assert paths.exponent[network, rate].item() == pytest.approx(tangent.exponent.item(), rel=1e-9)


def test_a_twin_that_is_near_enough_follows_the_tangent_vector(paths):
    """The difference is of second order in the distance, so relatively about the distance."""
    near = paths.distance < 1e-6
    assert near[:, :, 0].all()
    torch.testing.assert_close(
        paths.distance[near], paths.tangent_distance[near], rtol=1e-5, atol=0
    )


def test_every_network_can_have_batches_of_its_own():
    mine, yours = batches(seed=1), batches(seed=2)
    both = [
        (torch.stack([a[0], b[0]]), torch.stack([a[1], b[1]]))
        for a, b in zip(mine, yours, strict=True)
    ]
    together = sensitivity_paths(networks(), LOSS, both, lrs=LRS, indices=[0, 0])
    for place, own in enumerate((mine, yours)):
        alone = sensitivity_paths([networks()[place]], LOSS, own, lrs=LRS, indices=[0])
        torch.testing.assert_close(together.log_stretch[:, place], alone.log_stretch[:, 0])
        torch.testing.assert_close(together.weights[place], alone.weights[0])


@pytest.mark.parametrize("product", [0.5, 1.9, 2.0, 2.5])
def test_on_a_parabola_the_exponent_is_ln_of_one_minus_lr_times_curvature(product):
    model = nn.Linear(1, 1, bias=False)
    batch = (torch.ones(1, 1), torch.zeros(1, 1))  # curvature 2
    found = sensitivity_paths([model], LOSS, [batch] * 10, lrs=[product / 2], indices=[0])
    assert found.exponent.item() == pytest.approx(math.log(abs(1 - product)), abs=1e-12)


def test_models_are_left_as_they_are():
    model = networks(1)[0]
    before = copy.deepcopy(model.state_dict())
    sensitivity_paths([model], LOSS, batches(3), lrs=[0.5], indices=[0])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"indices": [0]}, "models and indices must have one length"),
        ({"indices": [0, 20]}, r"indices must be in 0\.\.19; got 20"),
        ({"lrs": [0.1, -1.0]}, "lrs must be a finite number > 0"),
        ({"delta": 0.0}, "delta must be a finite number > 0"),
        ({"batches": []}, "batches must hold at least one"),
    ],
)
def test_what_cannot_be_run_is_refused(change, said):
    given = {"batches": batches(2), "lrs": LRS, "indices": [0, 0], **change}
    with pytest.raises(ValueError, match=said):
        sensitivity_paths(networks(), LOSS, given.pop("batches"), **given)


def test_sharpness_is_the_top_eigenvalue_of_the_hessian_for_one_and_for_many():
    model, batch = networks(1)[0], batches(1)[0]
    step = SGDMap(model, LOSS, lr=0.1)
    states = torch.stack([step.start, 2 * step.start])
    found = sharpness(step, states, batch, iterations=300)
    torch.testing.assert_close(sharpness(step, states[1], batch, iterations=300), found[1])
    for theta, value in zip(states, found, strict=True):
        hessian = torch.func.hessian(lambda t: step.loss_at(t, batch))(theta)
        eigenvalues = torch.linalg.eigvalsh(hessian)
        assert value.item() == pytest.approx(eigenvalues[-1].item(), rel=1e-6)
        assert eigenvalues[-1] > -eigenvalues[0]  # the largest is also the largest in size


def test_orbits_are_those_of_the_map_for_every_rate_and_batch_of_its_own():
    step = SGDMap(networks(1)[0], LOSS, lr=LRS[1])
    mine, yours = batches(3, seed=1), batches(3, seed=2)
    both = [
        (torch.stack([a[0], b[0]]), torch.stack([a[1], b[1]]))
        for a, b in zip(mine, yours, strict=True)
    ]
    rates = torch.tensor(LRS, dtype=torch.float64)
    path = torch.stack(list(orbits(step, step.start.expand(2, -1), both, rates)))
    assert path.shape == (4, 2, step.size)
    alone = [step.start]
    for batch in yours:
        alone.append(step(alone[-1], batch))
    torch.testing.assert_close(path[:, 1], torch.stack(alone))
