"""The baselines: equal to `torch.nn.utils.prune` where it has them, to their formulas where not."""

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn.utils import prune

from causalprune_lib._random import seeded
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import masks_of
from causalprune_lib.pruning.scores import (
    inverse_scores,
    inverse_unstructured,
    magnitude_scores,
    magnitude_unstructured,
    obd_scores,
    obd_unstructured,
    prune_by_scores,
    random_scores,
    random_unstructured,
)

PRUNABLE = ("0", "3")


def network(seed=0):
    with seeded(seed):
        return nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 5))


def torch_masks(model):
    return {f"{name}.weight": model.get_submodule(name).weight_mask != 0 for name in PRUNABLE}


def same(model, other):
    return all(torch.equal(masks_of(model)[k], v) for k, v in torch_masks(other).items())


@pytest.mark.filterwarnings("ignore::causalprune_lib.pruning.select.LayerCollapseWarning")
@pytest.mark.parametrize("amount", [0.0, 0.3, 0.55, 17, 0.99])
@pytest.mark.parametrize("seed", [0, 1])
def test_global_magnitude_is_torchs_global_l1_in_the_first_round_and_the_next(amount, seed):
    ours, theirs = network(seed), network(seed)
    parameters = [(theirs.get_submodule(name), "weight") for name in PRUNABLE]
    for _ in range(2):
        assert magnitude_unstructured(ours, amount) is ours
        prune.global_unstructured(parameters, prune.L1Unstructured, amount=amount)
        assert same(ours, theirs)
        assert torch.equal(ours[3].weight, theirs[3].weight)


@pytest.mark.parametrize("amount", [0.0, 0.3, 0.55, 17, 0.99])
def test_layer_magnitude_is_torchs_l1_in_the_first_round_and_the_next(amount):
    ours, theirs = network(), network()
    for _ in range(2):
        magnitude_unstructured(ours, amount, scope="layer")
        for name in PRUNABLE:
            prune.l1_unstructured(theirs.get_submodule(name), "weight", amount)
        assert same(ours, theirs)


def test_importance_scores_take_the_place_of_the_weights_as_in_torch():
    ours, theirs = network(), network()
    scores = {k: v - 0.5 for k, v in random_scores(ours, seed=3).items()}  # of both signs
    magnitude_unstructured(ours, 0.4, scope="layer", importance_scores=scores)
    for name in PRUNABLE:
        module = theirs.get_submodule(name)
        prune.l1_unstructured(module, "weight", 0.4, importance_scores=scores[f"{name}.weight"])
    assert same(ours, theirs)


def test_random_masks_have_exact_counts_and_depend_on_the_seed_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = masks_of(random_unstructured(network(), 0.6, seed=1))
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is not touched
    assert first.n - first.n_kept == round(0.6 * first.n)
    torch.rand(3)
    assert masks_of(random_unstructured(network(seed=9), 0.6, seed=1)) == first
    assert masks_of(random_unstructured(network(), 0.6, seed=2)) != first
    like = masks_of(random_unstructured(network(), scope="like", like=first, seed=5))
    assert like.counts().equals(first.counts())
    assert like != first


def test_random_masks_prune_every_weight_equally_often():
    model = nn.Linear(10, 2)
    runs = 400
    pruned = torch.zeros(2, 10)
    for seed in range(runs):
        scores = random_scores(model, seed=seed)
        pruned += scores["weight"] < scores["weight"].flatten().kthvalue(6).values
    # A binomial count with p = 1/4 has standard deviation 8.7; no weight is 4.5 of them away.
    assert (pruned - runs / 4).abs().max() < 4.5 * (runs * 0.25 * 0.75) ** 0.5


def test_inverse_prunes_the_largest_and_splits_the_weights_with_magnitude():
    low = masks_of(magnitude_unstructured(network(), 0.5)).flat()
    high = masks_of(inverse_unstructured(network(), 0.5)).flat()
    assert torch.equal(low, ~high)  # no ties, an even number of weights
    scores = {"a": torch.tensor([3, -2]), "b": torch.tensor([True, False])}
    assert inverse_scores(scores)["a"].tolist() == [-3, 2]
    assert inverse_scores(scores)["b"].tolist() == [-1, 0]


def test_inverse_takes_importance_scores_with_their_sign():
    model = nn.Linear(2, 1)
    scores = {"weight": torch.tensor([[-5.0, 1.0]])}
    assert inverse_unstructured(model, 1, importance_scores=scores).weight_mask.tolist() == [[1, 0]]


def test_obd_is_theta_squared_times_movement_in_every_form_it_may_come():
    model = network()
    layout = ParameterLayout.of(model)
    movement = torch.rand(layout.size, generator=torch.Generator().manual_seed(0))
    expected = layout.flatten(model).square() * movement
    for form in (movement, movement.numpy(), layout.unflatten(movement)):
        assert torch.equal(layout.flatten(obd_scores(model, form)), expected)


@pytest.mark.parametrize("which", ["prunable", "all"])
def test_obd_reads_a_trajectory_of_the_prunable_or_of_all_parameters(which):
    model = network()
    layout = ParameterLayout.of(model, which=which)
    steps = torch.randn(4, layout.size, generator=torch.Generator().manual_seed(0))
    walk = Trajectory(range(4), steps, layout)
    squares = layout.unflatten(steps.double().diff(dim=0).square().sum(0))
    for name, score in obd_scores(model, walk).items():
        theta = model.get_parameter(name).detach()
        assert torch.allclose(score, theta.square() * squares[name], rtol=1e-6)
    half = Trajectory(range(4), steps[:, ::2], layout, index=range(0, layout.size, 2))
    with pytest.raises(ValueError, match="movement must have shape"):
        obd_scores(model, half)


def test_movement_of_sgd_at_a_minimum_is_proportional_to_the_curvature():
    # Least squares with unit noise and independent inputs of variance v_k, at the true weights: the
    # Hessian is v_k, and so is the variance of a one-example gradient. 4000 steps of a rate so
    # small that the weights hardly move: relative error of a mean of chi-squared products, 5%.
    generator = torch.Generator().manual_seed(0)
    variance = torch.tensor([0.1, 0.5, 1.0, 4.0])
    x = torch.randn(4000, 4, generator=generator) * variance.sqrt()
    noise = torch.randn(4000, generator=generator)
    model, rate = nn.Linear(4, 1, bias=False), 1e-4
    theta = model.weight.data.flatten().clone()
    y = x @ theta + noise
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    movement = torch.zeros(4)
    for i in range(4000):
        before = model.weight.detach().clone()
        optimizer.zero_grad()
        ((model(x[i]) - y[i]) ** 2 / 2).sum().backward()
        optimizer.step()
        movement += (model.weight.detach() - before).square().flatten()
    assert torch.allclose(movement / (4000 * rate**2), variance, rtol=0.2)


def test_entries_prune_by_their_scores():
    model, layout = network(), ParameterLayout.of(network())
    movement = torch.rand(layout.size, generator=torch.Generator().manual_seed(0))
    by_entry = masks_of(obd_unstructured(network(), 0.7, movement=movement, floor=3))
    by_hand = masks_of(prune_by_scores(model, obd_scores(network(), movement), 0.7, floor=3))
    assert by_entry == by_hand
    assert magnitude_scores(model)["3.weight"].count_nonzero() == by_hand["3.weight"].sum()


def test_two_calls_leave_a_quarter_and_never_revive_a_weight():
    model = random_unstructured(network(), 0.5, seed=0)
    first = masks_of(model)
    second = masks_of(random_unstructured(model, 0.5, seed=1))
    assert second.n_kept == round(0.25 * first.n)
    assert second & first == second


@pytest.mark.parametrize(
    ("movement", "words"),
    [
        (torch.ones(3), "movement must have shape"),
        ({"0.weight": torch.ones(6, 2, 3, 3)}, "'3.weight' is missing"),
        ({"0.weight": torch.ones(2), "3.weight": torch.ones(5, 24)}, "shape"),
        (-torch.ones(228), "movement must be >= 0"),
    ],
)
def test_a_movement_that_does_not_fit_is_an_error(movement, words):
    with pytest.raises(ValueError, match=words):
        obd_scores(network(), movement)


def test_nan_weights_unknown_layers_and_empty_models_are_errors():
    model = network()
    with torch.no_grad():
        model[3].weight[0, :2] = float("nan")
    with pytest.raises(ValueError, match=r"2 in layer '3\.weight'"):
        magnitude_unstructured(model, 0.5)
    with pytest.raises(ValueError, match=r"Did you mean '3\.weight'"):
        prune_by_scores(network(), {"3.weigth": torch.ones(5, 24)}, 0.5)
    with pytest.raises(ValueError, match=r"0\.weight"):
        prune_by_scores(network(), {"3.weight": torch.ones(5, 24)}, 0.5)
    with pytest.raises(ValueError, match="linear or convolution"):
        magnitude_unstructured(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3)), 0.5)
    with pytest.raises(ValueError, match="amount"):
        magnitude_unstructured(network(), 1.5)
    with pytest.raises(ValueError, match="seed"):
        random_unstructured(network(), 0.5, seed=-1)


def test_random_masks_ignore_the_seed_that_made_the_weights():
    """PyTorch draws the initial weights from the same numbers: the rank correlation would be 1."""
    for seed in range(5):
        with seeded(seed):
            layer = nn.Linear(64, 50)
        scores = random_scores(layer, seed=seed)["weight"]
        rho = spearmanr(layer.weight.detach().flatten(), scores.flatten()).statistic
        assert abs(rho) < 4 / scores.numel() ** 0.5  # four standard errors
