"""Do explanations survive on MNIST? Attributions of the judged networks, pixel by pixel.

The LEGCNet paper (arXiv:2308.09955) shows SHAP values of its tables only; its MNIST network is
judged here in the same way as those, with as many controls. There are too many pixels for exact
Shapley values; Deep SHAP takes their place. The tables are in `agreement.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from causalprune_lib._validation import check_int
from causalprune_lib.diagnostics.agreement import rank_agreement
from causalprune_lib.diagnostics.attribution import shap_values
from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.studies.mnist_networks.networks import PUBLISHED, JudgedNetworks
from causalprune_lib.nets.evaluation import evaluate


def explanation_points(
    judged: JudgedNetworks, *, seed: int, examples: int = 60, background: int = 30
) -> Iterator[Point]:
    """Compare the attributions of every network with those of the dense one.

    Deep SHAP of the class scores for `examples` test images before `background` training images,
    both drawn by `seed`. Pixels that are equal in all of these cannot matter to any network; they
    are left out, for they would only raise the agreement.

    Yields
    ------
    Point
        `judge` "explanations", `network` and `amount` as in `judged_networks`, and `state`: "kept"
        for the networks without a mask ("other", the yardstick, and "initial"), "retrained" and
        "cut". Metrics: those of `rank_agreement`, a tenth of the pixels being the top ones;
        `accuracy`; `pixels`, how many vary.
    """
    x, rest = _drawn(judged, seed, examples, background)
    both = torch.cat([x, rest]).flatten(1)
    varies = (both != both[0]).any(0).cpu().numpy()  # (F,)
    reference = _attributions(judged.dense, x, rest)[:, varies]
    networks = {("other", PUBLISHED, "kept"): judged.other}
    networks["initial", PUBLISHED, "kept"] = judged.initial
    for state in ("retrained", "cut"):
        for (name, amount), model in getattr(judged, state).items():
            networks[name, amount, state] = model
    for (name, amount, state), model in networks.items():
        values = _attributions(model, x, rest)[:, varies]
        found = rank_agreement(reference, values, k=max(1, varies.sum() // 10), resamples=0)
        metrics = dict(zip(found.statistic, found.value, strict=True))
        accuracy = evaluate(model, judged.data.x_test, judged.data.y_test).accuracy
        metrics |= {"accuracy": accuracy, "pixels": int(varies.sum())}
        yield Point(metrics, judge="explanations", network=name, amount=amount, state=state)


def _attributions(model: nn.Module, x: torch.Tensor, background: torch.Tensor) -> np.ndarray:
    """Deep SHAP of the class scores, (N, pixels, K)."""
    return shap_values(model, x, background=background, method="deep")


def _drawn(
    judged: JudgedNetworks, seed: int, examples: int, background: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Test images to explain and training images as their background."""
    rng = np.random.default_rng(seed)
    x, rest = (
        images[rng.permutation(len(images))[: check_int(name, n)]]
        for name, images, n in (
            ("examples", judged.data.x_test, examples),
            ("background", judged.data.x_train, background),
        )
    )
    return x, rest
