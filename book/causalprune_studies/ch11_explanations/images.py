"""Do explanations survive on images? What chapter 11 asks of the MNIST networks of chapter 10.

784 pixels have too many coalitions for exact Shapley values; Deep SHAP stands for them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from causalprune_lib.diagnostics.attribution import rank_agreement, shap_values
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.training import evaluate
from causalprune_studies.ch10_spectra.networks import PUBLISHED, MNISTNetworks
from causalprune_studies.ch11_explanations.study import draw_examples


def image_agreement(
    networks: MNISTNetworks, *, seed: int, examples: int = 60, background: int = 30
) -> Iterator[Point]:
    """Compare the attributions of every network with those of the dense one.

    Deep SHAP of the class scores for `examples` test images before `background` training images,
    both drawn by `seed`. Pixels that are equal in all of these cannot matter to any network; they
    are left out, for they would only raise the agreement.

    Yields
    ------
    Point
        `judge` "explanations", `network` and `amount` as in `mnist_networks`, and `state`: "kept"
        for the networks without a mask ("other", the yardstick, and "initial"), "retrained" and
        "cut". Metrics: those of `rank_agreement`, a tenth of the pixels being the top ones;
        `accuracy`; `pixels`, how many vary.
    """
    data = networks.data
    x, rest = draw_examples(data, examples, background, seed=seed)
    both = torch.cat([x, rest]).flatten(1)
    varies = (both != both[0]).any(0).cpu().numpy()  # (F,)

    def attributions(model: nn.Module) -> np.ndarray:
        """Of the class scores, (N, pixels that vary, K)."""
        return shap_values(model, x, background=rest, method="deep")[:, varies]

    reference = attributions(networks.dense)
    compared = {("other", PUBLISHED, "kept"): networks.other}
    compared["initial", PUBLISHED, "kept"] = networks.initial
    for state in ("retrained", "cut"):
        for (name, amount), model in getattr(networks, state).items():
            compared[name, amount, state] = model
    for (name, amount, state), model in compared.items():
        k = max(1, varies.sum() // 10)
        found = rank_agreement(reference, attributions(model), k=k, resamples=0)
        metrics = dict(zip(found.statistic, found.value, strict=True))
        accuracy = evaluate(model, data.x_test, data.y_test).accuracy
        metrics |= {"accuracy": accuracy, "pixels": int(varies.sum())}
        yield Point(metrics, judge="explanations", network=name, amount=amount, state=state)
