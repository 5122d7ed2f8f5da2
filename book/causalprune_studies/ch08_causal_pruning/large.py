"""Table 2 for the larger networks of the causal pruning paper: AlexNet and ResNet18, as specs.

Where images have 32 pixels or fewer AlexNet is the paper's small one, of 23 million parameters; on
Tiny ImageNet it is the large one. ResNet18 has no batch normalisation, as released. "paper" has the
rows of the table, with the settings of table 3, and is work for a GPU. "full" is what a CPU does in
a night or two: 10,000 images, and 3 rounds that prune as much as the paper's 10.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

from collections.abc import Iterator

from causalprune_studies.ch08_causal_pruning.paper import (
    FULL,
    MAIN,
    QUICK,
    PaperTable2,
    methods_of,
    row_of_table2,
)
from causalprune_studies.tables import published

N_ITER, ROUNDS = 10, 3  # the paper's, and those of "full"


def _printed() -> Iterator[tuple[str, str, float, float, float]]:
    """Model, data set, fraction of a round, amount of causal pruning and L1_coeff, as printed."""
    set_to = published("causal_table3").set_index(["row", "column"]).value
    came_to = published("causal_table2").set_index(["row", "column"]).value
    for model in ("resnet18", "alexnet"):
        for dataset in ("cifar10", "fashion_mnist", "tiny_imagenet"):
            row = f"{model}/{dataset}"
            fraction, l1_coeff = (set_to[row, name] for name in ("mag_prune_frac", "L1_coeff"))
            amount = came_to[row, "Causal Pruning: percent pruned"] / 100
            yield model, dataset, fraction, round(amount, 4), l1_coeff


def in_rounds(fraction: float, n_iter: int) -> float:
    """The fraction of each of `n_iter` rounds that prune as much as ten of `fraction`.

    >>> round(in_rounds(0.275, 3), 3)
    0.658
    """
    return round(1 - (1 - fraction) ** (N_ITER / n_iter), 6)


def _full(model: str, dataset: str, fraction: float) -> tuple[PaperTable2, ...]:
    """The main methods on 10,000 images, in few rounds."""
    size = FULL | {"model": model, "dataset": dataset, "n_iter": ROUNDS}
    return methods_of(MAIN, **size, fraction=in_rounds(fraction, ROUNDS))


_TINY = QUICK | {
    "model": "resnet18",
    "subset": (128, 100),
    "image_size": 8,
    "epochs": 1,
    "n_iter": 1,
    "post_epochs": 1,
}

LARGE_STUDIES: dict[str, tuple[PaperTable2, ...]] = {
    "quick": methods_of(MAIN[:2], **_TINY),
    "full": tuple(
        spec
        for model, dataset, fraction, _, _ in _printed()
        if dataset != "tiny_imagenet"  # whose images have four times the pixels
        for spec in _full(model, dataset, fraction)
    ),
    "paper": tuple(
        spec
        for model, dataset, fraction, amount, l1_coeff in _printed()
        for spec in row_of_table2(dataset, fraction, amount, l1_coeff, model=model)
    ),
}
