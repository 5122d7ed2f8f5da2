"""The rankings: equal to `torch.nn.utils.prune` where it has them, to their formulas where not."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn.utils import prune

from causalprune_lib._random import seeded
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import Masks, masks_of
from causalprune_lib.pruning.scores import (
    inverse_scores,
    magnitude_scores,
    magnitude_unstructured,
    obd_scores,
    prune_by_scores,
    random_scores,
    random_unstructured,
)
from causalprune_lib.pruning.select import random_masks_like

LAYERS = ("0", "4")  # of `convnet`


def torch_masks(model):
    return Masks({f"{name}.weight": model.get_submodule(name).weight_mask != 0 for name in LAYERS})


@pytest.mark.filterwarnings("ignore::causalprune_lib.pruning.select.LayerCollapseWarning")
@pytest.mark.parametrize("amount", [0.0, 0.3, 0.55, 17, 0.99])
def test_magnitude_is_torchs_l1_in_the_first_round_and_the_next(amount, convnet):
    ours, theirs = convnet(), convnet()
    parameters = [(theirs.get_submodule(name), "weight") for name in LAYERS]
    for number in range(2):
        prune.global_unstructured(parameters, prune.L1Unstructured, amount=amount)
        expected = torch_masks(theirs)
        # Torch takes an amount of the weights that are left, we of all of them.
        of_all = amount if number == 0 else expected.n - expected.n_kept
        assert magnitude_unstructured(ours, of_all) is ours
        assert masks_of(ours) == expected
        assert torch.equal(ours[4].weight, theirs[4].weight)
    ours, theirs = convnet(), convnet()
    for options in ({"amount": amount, "scope": "layer"}, {"scope": "like"}):
        for name in LAYERS:
            prune.l1_unstructured(theirs.get_submodule(name), "weight", amount)
        if options["scope"] == "like":
            options["like"] = torch_masks(theirs)
        assert masks_of(magnitude_unstructured(ours, **options)) == torch_masks(theirs)


def test_importance_scores_take_the_place_of_the_weights_as_in_torch(convnet):
    ours, theirs = convnet(), convnet()
    scores = {k: v - 0.5 for k, v in random_scores(ours, seed=3).items()}  # of both signs
    magnitude_unstructured(ours, 0.4, scope="layer", importance_scores=scores)
    for name in LAYERS:
        module = theirs.get_submodule(name)
        prune.l1_unstructured(module, "weight", 0.4, importance_scores=scores[f"{name}.weight"])
    assert masks_of(ours) == torch_masks(theirs)


def test_an_amount_is_of_all_weights_however_many_calls_it_takes(convnet):
    model = random_unstructured(convnet(), 0.5, seed=0)
    first = masks_of(model)
    second = masks_of(random_unstructured(model, 0.75, seed=1))
    assert second.n_kept == round(0.25 * first.n)
    assert second & first == second
    assert masks_of(magnitude_unstructured(model, 180)).n_kept == first.n - 180
    with pytest.raises(ValueError, match="at least the 180 weights that are pruned already"):
        magnitude_unstructured(model, 0.5)
    by_layer = random_unstructured(convnet(), 0.5, seed=0, scope="layer")
    random_unstructured(by_layer, 0.75, seed=1, scope="layer")
    assert masks_of(by_layer).counts()["kept"].tolist() == [9, 48]


def test_random_pruning_depends_on_the_seed_alone_and_takes_over_counts(convnet):
    first = masks_of(random_unstructured(convnet(), 0.6, seed=1))
    assert first.n - first.n_kept == round(0.6 * first.n)
    assert masks_of(random_unstructured(convnet(seed=9), 0.6, seed=1)) == first
    assert masks_of(random_unstructured(convnet(), 0.6, seed=2)) != first
    like = masks_of(random_unstructured(convnet(), scope="like", like=first, seed=5))
    assert like == random_masks_like(first, seed=5) != first


def test_random_masks_prune_every_weight_equally_often():
    model = nn.Linear(10, 2)
    runs = 400
    pruned = torch.zeros(2, 10)
    for seed in range(runs):
        scores = random_scores(model, seed=seed)
        pruned += scores["weight"] < scores["weight"].flatten().kthvalue(6).values
    # A binomial count with p = 1/4 has standard deviation 8.7; no weight is 4.5 of them away.
    assert (pruned - runs / 4).abs().max() < 4.5 * (runs * 0.25 * 0.75) ** 0.5


def test_random_masks_ignore_the_seed_that_made_the_weights():
    """PyTorch draws the initial weights from the same numbers: the rank correlation would be 1."""
    for seed in range(5):
        with seeded(seed):
            layer = nn.Linear(64, 50)
        scores = random_scores(layer, seed=seed)["weight"]
        rho = spearmanr(layer.weight.detach().flatten(), scores.flatten()).statistic
        assert abs(rho) < 4 / scores.numel() ** 0.5  # four standard errors


def test_inverse_prunes_the_largest_and_splits_the_weights_with_magnitude(convnet):
    model = convnet()
    high = prune_by_scores(model, inverse_scores(magnitude_scores(model)), 0.5)
    low = masks_of(magnitude_unstructured(convnet(), 0.5))
    assert torch.equal(low.flat(), ~masks_of(high).flat())  # no ties, an even number of weights
    scores = {"a": torch.tensor([3, -2]), "b": torch.tensor([True, False])}
    assert inverse_scores(scores)["a"].tolist() == [-3, 2]
    assert inverse_scores(scores)["b"].tolist() == [-1, 0]


def test_obd_is_theta_squared_times_movement_in_every_form_it_may_come(convnet):
    model = convnet()
    layout = ParameterLayout.of(model)
    movement = torch.rand(layout.size, generator=torch.Generator().manual_seed(0))
    expected = layout.flatten(model).square() * movement
    for form in (movement, movement.numpy(), layout.unflatten(movement)):
        assert torch.equal(layout.flatten(obd_scores(model, form)), expected)


@pytest.mark.parametrize("which", ["prunable", "all"])
def test_obd_reads_a_trajectory_of_the_prunable_or_of_all_parameters(which, convnet):
    model = convnet()
    layout = ParameterLayout.of(model, which=which)
    steps = torch.randn(4, layout.size, generator=torch.Generator().manual_seed(0))
    walk = Trajectory(range(4), steps, layout)
    squares = layout.unflatten(steps.double().diff(dim=0).square().sum(0))
    for name, score in obd_scores(model, walk).items():
        theta = model.get_parameter(name).detach()
        # Trajectories hold float32: a few roundings of 6e-8 each.
        assert torch.allclose(score.double(), theta.double().square() * squares[name], rtol=1e-6)
    half = Trajectory(range(4), steps[:, ::2], layout, index=range(0, layout.size, 2))
    with pytest.raises(ValueError, match="movement must have shape"):
        obd_scores(model, half)


def test_obd_of_a_recorded_sgd_at_a_minimum_ranks_by_the_curvature():
    # Least squares with unit noise and independent inputs of variance v_k, at the true weights: the
    # Hessian is v_k, and so is the variance of a one-example gradient. 4000 steps of a rate so
    # small that the weights hardly move: relative error of a mean of chi-squared products, 5%.
    rng, rate = np.random.default_rng(0), 1e-3
    variance = np.array([0.1, 0.5, 1.0, 4.0])
    x = rng.normal(size=(4000, 4)) * np.sqrt(variance)
    model = nn.Linear(4, 1, bias=False)
    true = model.weight.data.flatten().double().numpy()
    walk = [true]
    for row, noise in zip(x, rng.normal(size=4000), strict=True):
        walk.append(walk[-1] - rate * ((walk[-1] - true) @ row - noise) * row)
    recorded = Trajectory(range(4001), np.array(walk), ParameterLayout.of(model))
    saliency = obd_scores(model, recorded)["weight"].flatten() / (4000 * rate**2)
    assert np.allclose(saliency, true**2 * variance, rtol=0.2)


@pytest.mark.parametrize(
    ("movement", "words"),
    [
        (torch.ones(3), "movement must have shape"),
        ({"0.weight": torch.ones(4, 1, 3, 3)}, "'4.weight' is missing"),
        ({"0.weight": torch.ones(2), "4.weight": torch.ones(3, 64)}, "shape"),
        (-torch.ones(228), r"movement must be >= 0, a sum of squares; got -1\.0"),
    ],
)
def test_a_movement_that_does_not_fit_is_an_error(movement, words, convnet):
    with pytest.raises(ValueError, match=words):
        obd_scores(convnet(), movement)


def test_nan_weights_unknown_layers_and_empty_models_are_errors(convnet):
    model = convnet()
    with torch.no_grad():
        model[4].weight[0, :2] = float("nan")
    with pytest.raises(ValueError, match=r"2 in layer '4\.weight'"):
        magnitude_unstructured(model, 0.5)
    with pytest.raises(ValueError, match=r"Did you mean '4\.weight'"):
        prune_by_scores(convnet(), {"4.weigth": torch.ones(3, 64)}, 0.5)
    with pytest.raises(ValueError, match=r"0\.weight"):
        prune_by_scores(convnet(), {"4.weight": torch.ones(3, 64)}, 0.5)
    with pytest.raises(ValueError, match="linear or convolution"):
        magnitude_unstructured(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3)), 0.5)
    with pytest.raises(ValueError, match="amount"):
        magnitude_unstructured(convnet(), 1.5)
    with pytest.raises(ValueError, match="seed"):
        random_unstructured(convnet(), 0.5, seed=-1)
    with pytest.raises(TypeError, match="scopes"):
        magnitude_unstructured(convnet(), 0.5, scopes="layer")
