"""What chapters 10 to 12 measure on LEGCNet's MNIST networks, as one spec for `run_grid`.

One training, three judges: the spectra of the layers, the explanations of the decisions, and the
distance to the dense network speak of the same networks.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
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
from causalprune_lib.pruning.masks import apply_masks
from causalprune_studies.ch10_spectra.exponent_checks import power_law_pvalue
from causalprune_studies.ch10_spectra.networks import PUBLISHED, JudgedNetworks, judged_networks
from causalprune_studies.ch10_spectra.random_matrices import correlation_traps, randomised_esd
from causalprune_studies.chapters import named_by_chapters
from causalprune_studies.paper_networks.mnist import MNIST_SETTINGS, mnist_settings

# ---- spectra: What WeightWatcher says of the networks that chapter 10 judges, and how much that


SHUFFLES = 20


DRAWN_SEED = 0  # only of this seed are whole spectra kept


DRAWN = 5  # WeightWatcher shuffles a layer of fewer than 100 eigenvalues so often for its figure


COLUMNS = ("pl_alpha", "alpha_weighted", "alpha_low", "alpha_high", "in_fit", "nonzero")


def spectra_points(judged: JudgedNetworks, *, seed: int, traps: bool = True) -> Iterator[Point]:
    """Points of every layer of every network.

    Coordinates are `network` and `amount` as in `JudgedNetworks` ("published" also for a network
    without a mask), `layer`, and `state`:

    - "trained", for a pruned network: retrained under its mask; all of `network_metrics`;
    - "untrained": the initial network, and what a random mask leaves of it; the same metrics;
    - "cut": the dense network under a mask, and no step further; `pl_alpha` only.

    The first of all seeds also gives the spectra behind table 4: with the further coordinate
    `place`, from the smallest on, the `eigenvalue` of X, and the `shuffled` one, of the same
    weights in random places.

    Without `traps`, `num_traps` is missing; WeightWatcher takes a second or more for each network.
    """
    for state, network, amount, model in _networks(judged):
        if state == "cut":
            rows = layer_spectra(model).itertuples()
            found = {row.layer: {"pl_alpha": row.pl_alpha} for row in rows}
        else:
            found = network_metrics(model, seed=seed, traps=traps)
        for layer, metrics in found.items():
            where = {"network": network, "amount": str(amount), "state": state, "layer": layer}
            yield Point(metrics, judge="spectra", **where)
            if seed == DRAWN_SEED and state != "cut" and amount == PUBLISHED:
                yield from _spectrum(model.get_submodule(layer).weight, where)


def _spectrum(weight: torch.Tensor, where: dict[str, str]) -> Iterator[Point]:
    pairs = zip(esd(weight), randomised_esd(weight, permutations=1)[0], strict=True)
    for place, (eigenvalue, shuffled) in enumerate(pairs):
        values = {"eigenvalue": float(eigenvalue), "shuffled": float(shuffled)}
        yield Point(values, judge="spectra", place=place, **where)


def _networks(judged: JudgedNetworks) -> Iterator[tuple[str, str, str | float, nn.Module]]:
    yield "untrained", "initial", PUBLISHED, judged.initial
    yield "trained", "other", PUBLISHED, judged.other
    for (network, amount), model in judged.trained().items():
        yield "trained", network, amount, model
    for (network, amount), model in judged.cut.items():
        yield "cut", network, amount, model
    for (network, amount), masks in judged.masks.items():
        if network == "random" and amount != PUBLISHED:
            model = apply_masks(copy.deepcopy(judged.initial), masks)
            yield "untrained", "initial", amount, model


def network_metrics(
    model: nn.Module, *, seed: int, traps: bool = True, resamples: int = 300
) -> dict[str, dict[str, float]]:
    """Columns of `layer_spectra` and the `layer_metrics` of each layer, by its name."""
    frame = layer_spectra(model, interval=True, traps=traps, resamples=resamples, seed=seed)
    weights = ParameterLayout.of(model).tensors(model).values()
    columns = (*COLUMNS, "num_traps") if traps else COLUMNS
    return {
        row["layer"]: {name: float(row[name]) for name in columns}
        | layer_metrics(weight, seed=seed)
        for (_, row), weight in zip(frame.iterrows(), weights, strict=True)
    }


def layer_metrics(weight: torch.Tensor, *, seed: int) -> dict[str, float]:
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


# ---- judged: What chapters 10 to 12 measure on LEGCNet's MNIST networks, as one spec for `run_gr


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
        judged = judged_networks(
            mnist_settings(self.dataset), seed=seed, amounts=self.amounts, device=self.on
        )
        yield from accuracy_points(judged)
        for judge in named_by_chapters("MNIST_JUDGE"):
            yield from judge(judged, seed=seed)


def accuracy_points(judged: JudgedNetworks) -> Iterator[Point]:
    """The test accuracy of every network."""
    stages = {"trained": judged.trained(), "cut": judged.cut}
    stages["trained"] |= {(name, "none"): getattr(judged, name) for name in ("initial", "other")}
    for state, networks in stages.items():
        for (network, amount), model in networks.items():
            accuracy = evaluate(model, judged.data.x_test, judged.data.y_test).accuracy
            where = {"network": network, "amount": str(amount), "state": state}
            yield Point({"accuracy": accuracy}, judge="accuracy", **where)


JUDGED_STUDIES: dict[str, tuple[JudgedMNIST, ...]] = {
    "quick": (JudgedMNIST("digits", amounts=(0.3,)),),
    "full": (JudgedMNIST(profile="full"),),
}
