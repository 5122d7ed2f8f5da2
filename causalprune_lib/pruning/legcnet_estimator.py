"""The LEGCNet estimator: from a network and its data to exponents, scores and masks.

Paper: arXiv:2308.09955; the method in five steps is in `legcnet`.
"""

from __future__ import annotations

import math
import os

import numpy as np
import torch
from torch import nn

from causalprune_lib._validation import check_choice, check_fraction, check_int
from causalprune_lib.causality.decisions import RULES
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.nets.evaluation import Loss
from causalprune_lib.pruning.legcnet_decision import (
    ORIENTATIONS,
    UnscoredError,
    legcnet_decision,
    rank_scored,
)
from causalprune_lib.pruning.legcnet_recording import Pair, record_training
from causalprune_lib.pruning.legcnet_windows import (
    DECIMALS,
    Estimator,
    cut_windows,
    windowed_exponents,
)
from causalprune_lib.pruning.masks import Masks, clone_model
from causalprune_lib.pruning.scores import Scores

VARIANTS = ("FT", "PT")
ERRORS = ("train", "validation", "test")


class LEGCNet:
    """Scores, and a decision, for every weight of a network from one recorded training.

    Parameters
    ----------
    variant : {"FT", "PT"}
        Record the full training, or the share `partial` of its steps.
    rule : {"as_released", "corrected"}
        How the causality test decides; see `legcnet_decision`. "as_released" also rounds weights
        and exponents to six decimals.
    orientation : {"prune_non_causal", "prune_causal"}
        Sections 3.6 and 4 of the paper differ in what is pruned; the released code does the first.
    window, overlap : int, float
        Steps per window, and the share of it that the next window has in common with it.
    max_lag : int
        Largest lag of the test, in windows. Lag L needs 3 L + 2 windows.
    error : {"train", "validation", "test"}
        On which examples the error rate is taken. "test" lets the test set into the mask.
    amount : float or int, optional
        Prune the lowest scores up to this fraction or number of weights, instead of the decision.
    alpha : float
        Level of the test.
    horizon, estimator
        As in `windowed_exponents`.
    gate : bool, optional
        As there. Default: True with rule="as_released", False with "corrected".
    epochs, lr, batch_size, loss, seed, path, progress
        How `fit` trains and records; see `record_training`. `epochs` is that of the full training.
    partial : float
        Share of the steps that PT records.
    validation_fraction : float
        Share of the training examples set aside by `fit` for error="validation".

    Attributes
    ----------
    masks_ : Masks
        What to keep: the decision, or the ranking where `amount` was given.
    scores_ : dict of str to tensor
        One tensor per layer for `masks_from_scores`; higher = kept, NaN = not estimable.
    exponents_ : tensor (W, P) of float64
    error_ : array (W,) of float64
        Error rate at each window's end.
    pvalue_ : tensor (P,) of float64
        What was compared with `alpha`.
    decision_ : LEGCNetDecision
        With `summary()`, and `reason` where a test failed.
    windows_ : Windows
    trajectory_ : Trajectory
        The recording.
    model_ : nn.Module
        The dense network as trained (after `fit` only).

    Examples
    --------
    >>> from causalprune_lib.nets.datasets import load_dataset
    >>> from causalprune_lib.nets.models import build_model
    >>> data = load_dataset("iris")
    >>> model = build_model("mlp", dataset=data, hidden=[6])
    >>> legcnet = LEGCNet(window=40, epochs=8, lr=0.02, max_lag=4, amount=0.25).fit(model, data)
    >>> legcnet.exponents_.shape, legcnet.masks_.amount  # 42 weights
    (torch.Size([26, 42]), 0.23809523809523808)
    >>> from causalprune_lib.pruning.masks import apply_masks
    >>> pruned = apply_masks(model, legcnet.masks_)  # still at its initial weights
    """

    def __init__(
        self,
        *,
        variant: str = "FT",
        rule: str = "as_released",
        orientation: str = "prune_non_causal",
        window: int = 200,
        overlap: float = 0.1,
        max_lag: int = 14,
        error: str = "train",
        amount: float | int | None = None,
        alpha: float = 0.05,
        horizon: int = 3,
        estimator: Estimator | None = None,
        gate: bool | None = None,
        epochs: int = 50,
        partial: float = 0.1,
        lr: float = 0.1,
        batch_size: int = 1,
        loss: str | Loss = "cross_entropy",
        validation_fraction: float = 0.1,
        seed: int = 0,
        path: str | os.PathLike | None = None,
        progress: bool = False,
    ) -> None:
        self.variant = check_choice("variant", variant, VARIANTS)
        self.rule = check_choice("rule", rule, RULES)
        self.orientation = check_choice("orientation", orientation, ORIENTATIONS)
        self.error = check_choice("error", error, ERRORS)
        self.window, self.overlap, self.max_lag = window, overlap, check_int("max_lag", max_lag)
        self.amount, self.alpha = amount, check_fraction("alpha", alpha)
        self.horizon, self.estimator = horizon, estimator
        self.gate = rule == "as_released" if gate is None else gate
        self.epochs, self.partial = check_int("epochs", epochs), check_fraction("partial", partial)
        self.lr, self.batch_size = lr, check_int("batch_size", batch_size)
        self.loss, self.seed, self.path, self.progress = loss, seed, path, progress
        self.validation_fraction = validation_fraction
        cut_windows(0, window=window, overlap=overlap)  # says what is wrong with them

    def fit(self, model: nn.Module, data: Dataset | Pair, *, judged: Pair | None = None) -> LEGCNet:
        """Train a copy of `model`, record it, and decide. `model` itself is not changed.

        Parameters
        ----------
        model : nn.Module
            At its initial weights.
        data : Dataset or (x, y)
            Examples to train on.
        judged : (x, y), optional
            Examples for the error rate, in place of those that `error` names.
        """
        train, judged = self._split(data, judged)
        share = self.partial if self.variant == "PT" else 1.0
        full = self.epochs * math.ceil(len(train[0]) / self.batch_size)
        self.model_ = clone_model(model)
        recording = record_training(
            self.model_,
            train,
            judged,
            steps=max(1, round(share * full)),
            window=self.window,
            overlap=self.overlap,
            lr=self.lr,
            batch_size=self.batch_size,
            loss=self.loss,
            seed=self.seed,
            path=self.path,
            progress=self.progress,
        )
        return self.fit_trajectory(recording.trajectory)

    def fit_trajectory(
        self, trajectory: Trajectory, *, error: np.ndarray | torch.Tensor | None = None
    ) -> LEGCNet:
        """Decide from a recording of a training of your own.

        Parameters
        ----------
        trajectory : Trajectory
            Every step and every weight recorded.
        error : array (W,), optional
            Error rate at the windows' ends. Default: those logged in the trajectory.
        """
        if len(trajectory.index) != trajectory.layout.size:
            raise ValueError(
                f"trajectory must hold all {trajectory.layout.size} weights; got "
                f"{len(trajectory.index)}."
            )
        windowed = windowed_exponents(
            trajectory,
            window=self.window,
            overlap=self.overlap,
            gate=self.gate,
            decimals=DECIMALS if self.rule == "as_released" else None,
            horizon=self.horizon,
            estimator=self.estimator,
        )
        ends = windowed.windows.ends
        self.error_ = trajectory.error[ends] if error is None else np.asarray(error, np.float64)
        if error is None and np.isnan(self.error_).any():
            step = trajectory.steps[ends[np.isnan(self.error_)][0]]
            raise ValueError(
                "trajectory must hold an error rate at each window's end (recorder.log(error=...) "
                f"after the steps cut_windows({len(trajectory)}, ...).ends); step {step} has none."
            )
        self.decision_ = legcnet_decision(
            windowed.exponent,
            self.error_,
            rule=self.rule,
            orientation=self.orientation,
            max_lag=self.max_lag,
            alpha=self.alpha,
        )
        self.trajectory_, self.windows_ = trajectory, windowed.windows
        self.exponents_, self.pvalue_ = windowed.exponent, self.decision_.pvalue
        self.scores_: Scores = trajectory.layout.unflatten(self.decision_.scores)
        if self.amount is None:
            self.masks_ = Masks.from_flat(trajectory.layout, self.decision_.keep)
        else:
            self.masks_ = self.masks_at(self.amount)
        return self

    def masks_at(self, amount: float | int, **options: object) -> Masks:
        """Prune the lowest scores, after `fit`; weights that could not be scored come last.

        `options` are those of `masks_from_scores`, `scope` and `floor` for instance.

        Raises
        ------
        ValueError
            `amount` is more than the number of weights that have a score.
        """
        try:
            return rank_scored(self.scores_, amount, **options)
        except UnscoredError as error:
            raise UnscoredError(f"{error} {self.decision_.summary()}") from None

    def _split(self, data: Dataset | Pair, judged: Pair | None) -> tuple[Pair, Pair]:
        if not isinstance(data, Dataset):
            if self.error != "train" and judged is None:
                raise ValueError(f"error={self.error!r} needs a Dataset, or judged=(x, y).")
            return data, data if judged is None else judged
        train = data.x_train, data.y_train
        if judged is not None or self.error == "train":
            return train, train if judged is None else judged
        if self.error == "test":
            return train, (data.x_test, data.y_test)
        parts = data.split_validation(self.validation_fraction, seed=self.seed)
        return parts[:2], parts[2:]
