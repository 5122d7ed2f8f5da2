"""Figures 1 and 2 of the causal pruning paper at its own scale, as specs: LeNet on CIFAR-10.

Figure 1(a) is accuracy against the amount pruned in rounds, 1(b) compares the masks of those
rounds; figure 2 changes the number of rounds, the epochs of each and L1_coeff, one at a time. The
point where all three are as suggested is a cell of table 2, and stands in its rows.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from causalprune_lib.evidence.grid import Point
from causalprune_studies.ch08_causal_pruning.controls import overlap_metrics
from causalprune_studies.ch08_causal_pruning.paper import (
    FULL,
    QUICK,
    PaperTable2,
    methods_of,
    phases_folder,
)

COMPARED = ("causal", "magnitude", "shuffled loss")  # the last one is the control
AMOUNTS = (0.5, 0.8, 0.9, 0.98, 0.99)  # of figure 1(a), beside 95.99% in table 2
N_ITERS = (1, 2, 5, 15, 20)  # beside 10
N_PRUNES = (1, 2, 5, 15, 20)  # beside 10
L1_COEFFS = tuple(float(f"1e-{k}") for k in (18, 17, 16, 15, 13, 12, 11))  # beside 1e-14


@dataclass(frozen=True)
class MaskOverlap(PaperTable2):
    """What the masks of two rankings, each pruned in rounds of its own, have in common.

    Gives points with the coordinates `a`, `b` (of `COMPARED`), `amount_a` and `amount_b`: the
    `overlap_metrics` of their masks after each of the rounds in `report`. Eleven rounds of the
    fraction 0.275 prune 97.1%, the amount that the paper speaks of. Nothing is trained afterwards.
    """

    n_iter: int = 11
    report: tuple[int, ...] = (2, 5, 8, 11)

    @property
    def most_epochs(self) -> int:
        """Epochs of all phases."""
        return self.epochs + len(COMPARED) * self.n_iter * self.prune_epochs

    def run(self, seed: int) -> Iterator[Point]:
        """Train, go the rounds of each ranking, compare."""
        data, _ = self.split()
        network, _ = self.started(data, seed=seed)
        path = phases_folder(self, seed)
        found = {}
        for ranking in COMPARED:
            rounds = self.rounds(network, data, ranking, path, seed=seed).masks_by_round_
            found[ranking] = [rounds[number - 1] for number in self.report]
        for a, b in (("causal", "magnitude"), ("causal", "shuffled loss")):
            for mask_a in found[a]:
                for mask_b in found[b]:
                    amounts = {"amount_a": round(mask_a.amount, 4)}
                    amounts["amount_b"] = round(mask_b.amount, 4)
                    yield Point(overlap_metrics(mask_a, mask_b), a=a, b=b, **amounts)


def amount_curve(amounts: tuple[float, ...], **options: object) -> tuple[PaperTable2, ...]:
    """Figure 1(a): rounds of equal fractions that come to each of the amounts."""
    methods = (("causal", "causal"), ("magnitude", "magnitude"), ("random", "causal"))
    n_iter = options.get("n_iter", PaperTable2.n_iter)
    return tuple(
        spec
        for amount in amounts
        for spec in methods_of(
            methods, **options, fraction=round(1 - (1 - amount) ** (1 / n_iter), 6)
        )
    )


def settings_changed(changes: dict[str, tuple], **options: object) -> tuple[PaperTable2, ...]:
    """Figure 2: causal pruning and its control, with each value of one setting at a time."""
    methods = (("causal", "causal"), ("random", "causal"))
    return tuple(
        spec
        for name, values in changes.items()
        for value in values
        for spec in methods_of(methods, **{"l1_coeff": 1e-14, **options, name: value})
    )


_PAPER = {"dataset": "cifar10", "profile": "paper"}
_CHANGES = {"n_iter": N_ITERS, "prune_epochs": N_PRUNES, "l1_coeff": L1_COEFFS}

FIGURE_STUDIES: dict[str, tuple[PaperTable2, ...]] = {
    "quick": (
        MaskOverlap(**QUICK, report=(1, 3)),
        *amount_curve((0.9,), **QUICK),
        *settings_changed({"n_iter": (1,), "l1_coeff": (1e-16,)}, **QUICK),
    ),
    "full": (
        MaskOverlap(**FULL),
        *amount_curve((0.8, 0.9, 0.98), **FULL),
        *settings_changed(
            {"n_iter": (1, 20), "prune_epochs": (1, 20), "l1_coeff": (1e-18, 1e-16, 1e-12, 1e-11)},
            **FULL,
        ),
    ),
    "paper": (
        MaskOverlap(**_PAPER),
        *amount_curve(AMOUNTS, **_PAPER),
        *settings_changed(_CHANGES, **_PAPER),
    ),
}
