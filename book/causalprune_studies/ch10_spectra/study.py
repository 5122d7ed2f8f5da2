"""What chapters 10 to 12 measure on LEGCNet's MNIST networks, as one spec for `run_grid`.

One training, three judges: the spectra of the layers, the explanations of the decisions, and the
distance to the dense network speak of the same networks. The judge of the spectra stands here: what
WeightWatcher says of every layer, and how much of that a layer has that was never trained.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.diagnostics.spectra import NOISE, esd, layer_spectra, power_law_fit
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.training import evaluate
from causalprune_lib.pruning.masks import apply_masks, clone_model
from causalprune_studies.ch10_spectra.exponent_checks import power_law_pvalue
from causalprune_studies.ch10_spectra.networks import PUBLISHED, MNISTNetworks, mnist_networks
from causalprune_studies.ch10_spectra.random_matrices import correlation_traps, randomised_esd
from causalprune_studies.chapters import named_by_chapters
from causalprune_studies.paper_networks.mnist import (
    MNIST_SETTINGS,
    ImageSettings,
    mnist_settings,
)

SHUFFLES = 20
DRAWN_SEED = 0  # only of this seed are whole spectra kept
DRAWN = 5  # WeightWatcher shuffles a layer of fewer than 100 eigenvalues so often for its figure
RESAMPLES = 300  # behind the interval of an exponent
EXPONENTS = ("pl_alpha", "alpha_low", "alpha_high")
COLUMNS = ("pl_alpha", "alpha_weighted", "alpha_low", "alpha_high", "in_fit", "nonzero")
COLUMNS += ("num_traps",)


@dataclass(frozen=True)
class JudgedMNIST:
    """One seed of LEGCNet's MNIST network: dense, pruned and controls, before three judges.

    Gives the points of every chapter's `MNIST_JUDGE` (spectra, explanations, closeness), told apart
    by the coordinate `judge`. Judge "accuracy" gives the test accuracy of every network, by
    `network`, `amount` and `state`: "trained", or "cut", the dense network under the mask.

    Parameters
    ----------
    dataset : str
        A key of `MNIST_SETTINGS`.
    amounts : tuple of float
        Fractions of each layer to prune, beside the paper's numbers of weights.
    on, profile : str
        Device, and the size class that rows are filed under.
    """

    dataset: str = "mnist"
    amounts: tuple[float, ...] = (0.5,)
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Train the networks of a seed and judge them."""
        check_choice("dataset", self.dataset, MNIST_SETTINGS)
        check_int("seed", seed, minimum=0)
        networks = mnist_networks(
            mnist_settings(self.dataset), seed=seed, amounts=self.amounts, device=self.on
        )
        yield from judge_accuracy(networks)
        for judge in named_by_chapters("MNIST_JUDGE"):
            yield from judge(networks, seed=seed)


def judge_accuracy(networks: MNISTNetworks) -> Iterator[Point]:
    """The test accuracy of every network."""
    stages = {"trained": networks.trained(), "cut": networks.cut}
    stages["trained"] |= {(name, "none"): getattr(networks, name) for name in ("initial", "other")}
    for state, found in stages.items():
        for (network, amount), model in found.items():
            accuracy = evaluate(model, networks.data.x_test, networks.data.y_test).accuracy
            where = {"network": network, "amount": str(amount), "state": state}
            yield Point({"accuracy": accuracy}, judge="accuracy", **where)


def judge_spectra(
    networks: MNISTNetworks, *, seed: int, exponents_only: bool = False
) -> Iterator[Point]:
    """Points of every layer of every network.

    Coordinates are `network` and `amount` as in `MNISTNetworks` ("published" also for a network
    without a mask), `layer`, and `state`:

    - "trained", for a pruned network: retrained under its mask; all of `layer_metrics`;
    - "untrained": the initial network, and what a random mask leaves of it; the same metrics;
    - "cut": the dense network under a mask, and no step further; `pl_alpha` only.

    The first of all seeds also gives the spectra behind table 4: with the further coordinate
    `place`, from the smallest on, the `eigenvalue` of X, and the `shuffled` one, of the same
    weights in random places.

    With `exponents_only`, for a quick look, there are the `EXPONENTS` and nothing else.
    """
    for state, network, amount, model in _networks(networks):
        if exponents_only or state == "cut":
            frame = layer_spectra(model, interval=state != "cut", resamples=RESAMPLES, seed=seed)
            found = frame.set_index("layer").filter(EXPONENTS).to_dict("index")
        else:
            found = layer_metrics(model, seed=seed)
        for layer, metrics in found.items():
            where = {"network": network, "amount": str(amount), "state": state, "layer": layer}
            yield Point(metrics, judge="spectra", **where)
            drawn = seed == DRAWN_SEED and not exponents_only
            if drawn and state != "cut" and amount == PUBLISHED:
                yield from _spectrum(model.get_submodule(layer).weight, where)


def _networks(networks: MNISTNetworks) -> Iterator[tuple[str, str, str | float, nn.Module]]:
    yield "untrained", "initial", PUBLISHED, networks.initial
    yield "trained", "other", PUBLISHED, networks.other
    for (network, amount), model in networks.trained().items():
        yield "trained", network, amount, model
    for (network, amount), model in networks.cut.items():
        yield "cut", network, amount, model
    for (network, amount), masks in networks.masks.items():
        if network == "random" and amount != PUBLISHED:
            yield "untrained", "initial", amount, apply_masks(clone_model(networks.initial), masks)


def _spectrum(weight: torch.Tensor, where: dict[str, str]) -> Iterator[Point]:
    pairs = zip(esd(weight), randomised_esd(weight, permutations=1)[0], strict=True)
    for place, (eigenvalue, shuffled) in enumerate(pairs):
        values = {"eigenvalue": float(eigenvalue), "shuffled": float(shuffled)}
        yield Point(values, judge="spectra", place=place, **where)


def layer_metrics(model: nn.Module, *, seed: int) -> dict[str, dict[str, float]]:
    """`COLUMNS` of `layer_spectra`, and what is `beside` them, by the name of the layer."""
    options = {"interval": True, "traps": True, "resamples": RESAMPLES, "seed": seed}
    frame = layer_spectra(model, **options)
    weights = ParameterLayout.of(model).tensors(model).values()
    return {
        row["layer"]: {name: float(row[name]) for name in COLUMNS} | beside(weight, seed=seed)
        for (_, row), weight in zip(frame.iterrows(), weights, strict=True)
    }


def beside(weight: torch.Tensor, *, seed: int) -> dict[str, float]:
    """What WeightWatcher does not say of a layer.

    Returns
    -------
    dict of str to float
        - `pvalue`, of the fitted power law; `clauset_alpha`, the exponent by the textbook's rule;
        - `shuffled_alpha`, the mean exponent of the same weights in random places, and
          `shuffled_inside`, the share of these within 2 to 6;
        - `spikes`, eigenvalues beyond the threshold of `correlation_traps`, and `reach`, the
          largest over the Marchenko-Pastur edge;
        - `trap_share`, `trap_share_centred` (the mean of the entries taken off first): the shuffled
          layers with an eigenvalue beyond the threshold; `orange`: the largest eigenvalue of five
          shuffled layers over the edge, where WeightWatcher's figure draws its orange line.
    """
    values = esd(weight, normalise=False)
    values = values[values > NOISE]
    shuffled = randomised_esd(weight, permutations=SHUFFLES, seed=seed, normalise=False)
    alphas = pd.Series([power_law_fit(row[row > NOISE]).alpha for row in shuffled])
    traps = correlation_traps(weight, permutations=SHUFFLES, seed=seed)
    centred = correlation_traps(weight, permutations=SHUFFLES, seed=seed, centre=True)
    normalised = esd(weight)
    return {
        "pvalue": power_law_pvalue(values, seed=seed),
        "clauset_alpha": power_law_fit(values, rule="clauset").alpha,
        "shuffled_alpha": float(alphas.mean()),
        "shuffled_inside": float(alphas.between(2, 6).mean()),
        "spikes": float((normalised > traps.threshold).sum()),
        "reach": float(normalised[-1] / traps.edge),
        "trap_share": traps.share,
        "trap_share_centred": centred.share,
        "orange": float(np.mean(traps.largest.reshape(-1, DRAWN).max(1)) / traps.edge),
    }


def quick_look(settings: ImageSettings, *, seeds: Iterable[int], amount: float) -> pd.DataFrame:
    """Exponents and accuracies of the networks of some seeds, as rows of `JudgedMNIST`."""
    rows = []
    for seed in seeds:
        networks = mnist_networks(settings, seed=seed, amounts=(amount,))
        points = [*judge_accuracy(networks)]
        points += judge_spectra(networks, seed=seed, exponents_only=True)
        rows += [
            {**point.coordinates, "seed": seed, "metric": metric, "value": value}
            for point in points
            for metric, value in point.metrics.items()
        ]
    return pd.DataFrame(rows)


def weightwatcher_traps(weights: Iterable[torch.Tensor]) -> list[float]:
    """How many correlation traps WeightWatcher counts in each layer (R, C), in all its shuffles."""
    layers = nn.ModuleList()
    for weight in weights:
        layers.append(nn.Linear(*reversed(weight.shape), bias=False))
        layers[-1].weight = nn.Parameter(weight.detach())
    return layer_spectra(layers, traps=True).num_traps.tolist()


MNIST_STUDIES: dict[str, tuple[JudgedMNIST, ...]] = {
    "quick": (JudgedMNIST("digits", amounts=(0.3,)),),
    "full": (JudgedMNIST(profile="full"),),
}
MNIST_STUDIES["paper"] = MNIST_STUDIES["full"]  # which have the paper's size
