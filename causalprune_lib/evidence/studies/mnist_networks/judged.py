"""What chapters 10 to 12 measure on LEGCNet's MNIST networks, as one spec for `run_grid`.

One training, three judges: the spectra of the layers, the explanations of the decisions, and the
distance to the dense network speak of the same networks.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.studies.closeness.points import closeness_points
from causalprune_lib.evidence.studies.explanations.points import explanation_points
from causalprune_lib.evidence.studies.mnist_networks.networks import JudgedNetworks, judged_networks
from causalprune_lib.evidence.studies.mnist_networks.spectra import spectra_points
from causalprune_lib.nets.evaluation import evaluate
from causalprune_lib.pruning.legcnet_mnist import MNIST_SETTINGS, mnist_settings


@dataclass(frozen=True)
class JudgedMNIST:
    """One seed of LEGCNet's MNIST network: dense, pruned and controls, before three judges.

    Gives the points of `spectra_points`, `explanation_points` and `closeness_points`, told apart by
    the coordinate `judge`. Judge "accuracy" gives the test accuracy of every network, by `network`,
    `amount` and `state`: "trained", or "cut", the dense network under the mask.

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
        for judge in (spectra_points, explanation_points, closeness_points):
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
