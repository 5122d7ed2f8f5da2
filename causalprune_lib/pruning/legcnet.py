"""LEGCNet: keep the weights whose Lyapunov exponents Granger-cause the network's error.

Sahu, Chadda, Nagaraj, Mathur and Saha, "To prune or not to prune: a chaos-causality approach to
principled pruning of dense neural networks", arXiv:2308.09955. The method in five steps: train and
record every weight at every step; cut each weight's series into windows and estimate an exponent
for each; read the error rate at each window's end; ask which series of exponents Granger-cause that
of the error; prune the weights that do not, and train again from the initial weights.

FT records the full training, PT the first tenth of its steps. As described and as released differ:

- The paper's exponents come from a training and a perturbed twin, the released ones from one raw
  series of weights (`legcnet_windows`).
- The paper prunes non-causal weights in section 3.6 and causal ones in section 4; the released code
  prunes non-causal ones. Its test takes the smallest of 14 uncorrected p-values
  (`legcnet_decision`).
- The paper does not say whose error is meant; the released code takes that of the test set. Here it
  is the training set's unless another is asked for.

The paper's own networks and masks are in `legcnet_released`, for many trials at once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from causalprune_lib._random import seeded
from causalprune_lib._validation import (
    check_choice,
    check_finite,
    check_fraction,
    check_int,
    check_positive,
    check_shape,
)
from causalprune_lib.causality.decisions import RULES, causal_decision
from causalprune_lib.causality.granger import granger_test, min_length
from causalprune_lib.dynamics.recorder import TrajectoryRecorder, undisturbed
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.data import Dataset
from causalprune_lib.nets.training import (
    Loss,
    check_data,
    check_step,
    check_weights,
    device_and_dtype,
    in_mode,
    iterate_batches,
    try_forward,
)
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model, masks_of
from causalprune_lib.pruning.scores import Scores
from causalprune_lib.pruning.select import masks_from_scores
from causalprune_lib.pruning.windows import (
    DECIMALS,
    Estimator,
    Windows,
    cut_windows,
    windowed_exponents,
)


def targets_of(y: torch.Tensor, n_outputs: int) -> torch.Tensor:
    """What the outputs are trained towards, (N, K) of float64: 0 or 1 (K = 1), or one-hot."""
    n_classes = max(2, n_outputs)
    if y.dim() != 1 or y.is_floating_point():
        raise ValueError(f"y must hold classes (N,) as integers; got {tuple(y.shape)} {y.dtype}.")
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < n_classes:
        found = f"{int(y.min())}..{int(y.max())}"
        raise ValueError(f"y must hold classes 0..{n_classes - 1}; got {found}.")
    if n_outputs == 1:
        return y[:, None].double()
    return torch.nn.functional.one_hot(y.long(), n_outputs).double()


# ---- legcnet_recording: Train any small network while its weights and its errors are recorded, a


Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Recording:
    """A recorded training.

    Attributes
    ----------
    trajectory : Trajectory
        Rows 0..T; its `error` holds the error rate at the windows' ends, NaN elsewhere.
    windows : Windows
        Where the W windows lie.
    error : array (W,) of float64
        Error rate at each window's end.
    """

    trajectory: Trajectory
    windows: Windows
    error: np.ndarray


def record_training(
    model: nn.Module,
    train: Pair,
    judged: Pair,
    *,
    steps: int,
    window: int,
    overlap: float = 0.1,
    lr: float = 0.1,
    batch_size: int = 1,
    loss: str | Loss = "cross_entropy",
    seed: int = 0,
    path: str | os.PathLike | None = None,
    progress: bool = False,
) -> Recording:
    """Train `model` in place by plain SGD for `steps` steps, the data always in the same order.

    Parameters
    ----------
    model : nn.Module
        Maps a batch (B, ...) to outputs (B, K).
    train, judged : (x, y)
        Examples to train on, and those whose error rate is taken at each window's end.
    steps : int
        T, optimizer steps.
    window, overlap
        As in `cut_windows`.
    lr, batch_size : float, int
        The paper's networks are trained with one example per step.
    loss : {"cross_entropy", "squared_error"} or callable
        "squared_error": the sum over the outputs of their squared distance from the one-hot label
        (K = 1: from 0 or 1), a mean over the batch. A callable takes (outputs, labels).
    seed : int
        For dropout; the global generators are left as they were.
    path : path, optional
        Record to this new folder instead of memory.
    progress : bool
        Show a bar.

    Returns
    -------
    Recording

    Raises
    ------
    FloatingPointError
        The loss stops being finite.

    Examples
    --------
    >>> x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    >>> data = (x, (x[:, 0] > 0).long())
    >>> recording = record_training(nn.Linear(2, 2), data, data, steps=90, window=20)
    >>> recording.trajectory.weights.shape, recording.error.shape
    ((91, 4), (4,))
    """
    check_int("steps", steps)
    check_positive("lr", lr)
    check_weights(model)
    measure = LOSSES.get(loss, loss) if isinstance(loss, str) else loss
    if not callable(measure):
        known = ", ".join(map(repr, LOSSES))
        raise ValueError(f"loss must be one of {known} or a callable; got {loss!r}.")
    n_outputs = _check_pair(model, train, ("x", "y"))
    _check_pair(model, judged, ("judged[0]", "judged[1]"))
    if loss == "cross_entropy" and n_outputs == 1:
        raise ValueError(
            "loss='cross_entropy' needs two outputs or more; got one, which goes with "
            "loss='squared_error'."
        )
    device, _ = device_and_dtype(model)
    (x, y), judged = (tuple(t.to(device) for t in pair) for pair in (train, judged))
    windows = cut_windows(steps + 1, window=window, overlap=overlap)
    due = set(windows.ends.tolist())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    recorder = TrajectoryRecorder(model, steps=steps, path=path, optimizer=optimizer)
    bar = tqdm(total=steps, unit="step", disable=not progress, leave=False)
    with bar, seeded(seed, device), in_mode(model, training=True), recorder:
        for step, batch in enumerate(_endless(x, y, batch_size), start=1):
            optimizer.zero_grad()
            value = measure(model(batch[0]), batch[1])
            check_step(value, epoch=1 + (step - 1) * batch_size // len(x), step=step, lr=lr)
            value.backward()
            optimizer.step()
            if step in due:
                recorder.log(error=error_rate(model, *judged))
            bar.update()
            if step == steps:
                break
    trajectory = recorder.trajectory()
    return Recording(trajectory, windows, trajectory.error[windows.ends])


def error_rate(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Share of the examples that `model` gets wrong, in evaluation mode, leaving no trace.

    With one output, a class is that output rounded to 0 or 1; otherwise it is the highest output.
    """
    with undisturbed(model, batch_statistics=False):
        parts = [model(part) for part, _ in iterate_batches(x, y, batch_size=1024)]
    outputs = torch.cat(parts)
    predicted = (outputs[:, 0] >= 0.5).long() if outputs.shape[1] == 1 else outputs.argmax(1)
    return float((predicted != y).double().mean())


def squared_error(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean over the batch of sum_k (o_k - t_k)^2, with t the one-hot label (K = 1: 0 or 1)."""
    return (outputs - targets_of(y, outputs.shape[1]).to(outputs)).square().sum(1).mean()


LOSSES: dict[str, Callable] = {"cross_entropy": cross_entropy, "squared_error": squared_error}


def _endless(x: torch.Tensor, y: torch.Tensor, batch_size: int):
    while True:
        yield from iterate_batches(x, y, batch_size=batch_size)


def _check_pair(model: nn.Module, pair: Pair, names: tuple[str, str]) -> int:
    """The number of outputs K, after a check that the examples fit the model."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise TypeError(f"{names[0]}, {names[1]} must be a pair of tensors; got {type(pair)}.")
    x, y = pair
    with undisturbed(model, batch_statistics=False):
        n_outputs = try_forward(model, x[:1].to(device_and_dtype(model)[0]), names[0]).shape[-1]
    if n_outputs > 1:
        check_data(model, x, y, names=names)
        return n_outputs
    check_finite(names[0], x)
    targets_of(y, 1)
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(f"{names[0]} and {names[1]} must have one length; got {len(x)}, {len(y)}.")
    return 1


# ---- legcnet_decision: Which weights LEGCNet prunes: from windowed exponents and errors to score


ORIENTATIONS = ("prune_non_causal", "prune_causal")


@dataclass(frozen=True, eq=False)
class LEGCNetDecision:
    """What the causality test says about P weights.

    Attributes
    ----------
    keep : tensor (P,) of bool
        The decision. A weight that could not be tested is kept, whatever the orientation.
    causal : tensor (P,) of bool
        Whether the weight was called causal. As released, a failed test counts as causal.
    pvalue : tensor (P,) of float64
        What was compared with alpha: rule "as_released", the smallest chi2 p-value over all lags,
        each rounded to four digits, and 0 for a failed test; rule "corrected", the F test's at one
        lag, adjusted over the weights, and NaN for a failed test.
    scores : tensor (P,) of float64
        For a ranking; higher = kept. -log10 of the p-value before rounding and adjustment, taken
        over those lags that there are enough windows for, and with the opposite sign where causal
        weights are pruned. NaN where no lag can be tested.
    missing : tensor (P,) of bool
        Whether the test failed.
    reason : array (P,) of str
        Why numbers are missing; "" where none is.
    n_windows, max_lag : int
        W, and the largest lag asked for.
    rule, orientation : str
        As given.
    """

    keep: torch.Tensor
    causal: torch.Tensor
    pvalue: torch.Tensor
    scores: torch.Tensor
    missing: torch.Tensor
    reason: np.ndarray
    n_windows: int
    max_lag: int
    rule: str
    orientation: str

    @property
    def n_pruned(self) -> int:
        """How many weights the decision prunes."""
        return int((~self.keep).sum())

    @property
    def n_missing(self) -> int:
        """For how many weights the test failed."""
        return int(self.missing.sum())

    def summary(self) -> str:
        """The decision in words, with what a reader must know about failed tests."""
        n = len(self.keep)
        text = (
            f"rule {self.rule!r}, {self.orientation.replace('_', ' ')}: {self.n_pruned} of {n} "
            f"weights pruned, {int(self.causal.sum())} called causal; {self.n_windows} windows, "
            f"lags 1..{self.max_lag}."
        )
        if not self.n_missing:
            return text
        reasons, counts = np.unique(self.reason[self.missing.cpu().numpy()], return_counts=True)
        listed = "; ".join(f"{r} ({c})" for r, c in zip(reasons, counts, strict=True))
        text += f" The test failed for {self.n_missing}, which are kept: {listed}."
        if self.rule == "as_released":
            text += " As released, a failed test counts as causal."
        if self.n_windows < min_length(self.max_lag):
            text += f" {self.max_lag} lags need {min_length(self.max_lag)} windows."
        if not self.n_pruned:
            text += " The decision is empty."
        return text


def legcnet_decision(
    exponents: torch.Tensor | np.ndarray,
    error: torch.Tensor | np.ndarray,
    *,
    rule: str = "as_released",
    orientation: str = "prune_non_causal",
    max_lag: int = 14,
    alpha: float = 0.05,
    lag: str | int = "bic",
) -> LEGCNetDecision:
    """Test whether the exponents of each weight Granger-cause the error, and decide.

    Parameters
    ----------
    exponents : tensor or array (W, P)
        One exponent per window and weight; NaN makes a weight's test fail.
    error : tensor or array (W,)
        Error rate at each window's end; finite.
    rule : {"as_released", "corrected"}
        "as_released": the smallest chi2 p-value over lags 1..`max_lag`, rounded, uncorrected,
        below `alpha`; a failed test counts as causal. "corrected": the F test at one lag, chosen
        for each weight by `lag`, with the false discovery rate over the weights held at `alpha`.
    orientation : {"prune_non_causal", "prune_causal"}
        What is pruned.
    max_lag : int
        Lag L needs 3 L + 2 windows: 14 need 44.
    alpha : float
        Level.
    lag : {"bic", "aic"} or int
        How "corrected" chooses its lag.

    Returns
    -------
    LEGCNetDecision

    Notes
    -----
    Of pure noise the rule "as_released" calls 0.85 of the weights causal with 60 windows and 14
    lags, and 0.50 with 151 windows and 20 lags: a p-value of the chi2 form is too small in short
    series, and the smallest of many smaller still.

    Raises
    ------
    ValueError, TypeError
        Lengths that differ, an error rate that is NaN, an option out of range.

    Examples
    --------
    >>> noise = torch.Generator().manual_seed(0)
    >>> error = torch.randn(100, generator=noise).double()
    >>> exponents = torch.randn(100, 3, generator=noise).double()
    >>> exponents[:-1, 2] += error[1:]  # the third foretells the error
    >>> decision = legcnet_decision(exponents, error, rule="corrected", max_lag=4)
    >>> decision.keep.tolist(), int(decision.scores.argmax())
    ([False, False, True], 2)
    >>> few = legcnet_decision(exponents[:10], error[:10])
    >>> few.n_pruned, few.n_missing, str(few.reason[0])
    (0, 3, 'too short: lag 3 needs 11 samples')
    """
    check_choice("rule", rule, RULES)
    check_choice("orientation", orientation, ORIENTATIONS)
    exponents, error = torch.as_tensor(exponents), torch.as_tensor(error)
    check_shape("exponents", exponents, (len(error), None))
    check_int("max_lag", max_lag)
    result = granger_test(error, exponents, max_lag=max_lag, lag=lag)
    decision = causal_decision(result, rule=rule, alpha=alpha)
    if rule == "as_released":
        pvalue = result.chi2_pvalue.nan_to_num(nan=torch.inf).amin(0)
        pvalue = pvalue.masked_fill(pvalue.isinf(), torch.nan)
    else:
        pvalue = result.chosen_pvalue
    evidence = -pvalue.log10()
    prunes_causal = orientation == "prune_causal"
    spared = ~decision.causal if prunes_causal else decision.causal
    return LEGCNetDecision(
        keep=spared | decision.missing,
        causal=decision.causal,
        pvalue=decision.pvalue,
        scores=-evidence if prunes_causal else evidence,
        missing=decision.missing,
        reason=result.reason,
        n_windows=len(error),
        max_lag=max_lag,
        rule=rule,
        orientation=orientation,
    )


class UnscoredError(ValueError):
    """A ranking would have to prune weights that have no score."""


def rank_scored(
    scores: Scores, amount: float | int | None, *, within: Masks | None = None, **options: object
) -> Masks:
    """`masks_from_scores`, with an error where it would prune a weight whose score is NaN.

    Examples
    --------
    >>> scores = {"fc": torch.tensor([0.2, torch.nan, 0.1])}
    >>> rank_scored(scores, 1)["fc"]
    tensor([ True,  True, False])
    """
    masks = masks_from_scores(scores, amount, nan="keep", within=within, **options)
    kept, unscored = masks.flat(), torch.cat([s.isnan().flatten() for s in scores.values()])
    alive = torch.ones_like(kept) if within is None else within.flat(masks.layout)
    if bool((unscored & alive & ~kept).any()):
        raise UnscoredError(
            f"amount must leave the {int((unscored & alive).sum())} weights that have no score; "
            f"got {amount}."
        )
    return masks


# ---- legcnet_estimator: The LEGCNet estimator: from a network and its data to exponents, scores


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
    >>> from causalprune_lib.nets.data import load_dataset
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


# ---- legcnet: LEGCNet: keep the weights whose Lyapunov exponents Granger-cause the network's err


def legcnet_unstructured(
    model: nn.Module,
    amount: float | int | None = None,
    *,
    data: Dataset | Pair | None = None,
    importance_scores: Scores | None = None,
    scope: str = "global",
    like: Masks | None = None,
    floor: float | int = 0,
    **options: object,
) -> nn.Module:
    """Prune `model` in place by LEGCNet, in the manner of `torch.nn.utils.prune`.

    Parameters
    ----------
    model : nn.Module
        At its initial weights; a copy is trained and recorded.
    amount : float or int, optional
        Fraction or number of the weights not pruned yet, the lowest scores first. Left out with
        `scope="like"`; left out otherwise, the causality test's own decision is applied.
    data : Dataset or (x, y)
        Needed unless `importance_scores` are given.
    importance_scores : dict of str to tensor, optional
        `scores_` of an earlier fit.
    scope, like, floor
        As in `masks_from_scores`.
    **options
        Those of `LEGCNet`, but `amount`.

    Returns
    -------
    nn.Module
        `model`, with its initial weights, masked.

    Raises
    ------
    UnscoredError
        A ValueError: so much is to be pruned that weights without a score would go too.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    >>> model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))
    >>> data = (x, (x[:, 0] > 0).long())
    >>> pruned = legcnet_unstructured(model, 4, data=data, window=30, epochs=10, max_lag=4)
    >>> int(sum((layer.weight_mask == 0).sum() for layer in (model[0], model[2])))
    4
    """
    if importance_scores is None:
        if data is None:
            raise ValueError("data must be given, or importance_scores; got neither.")
        legcnet = LEGCNet(**options).fit(model, data)
        if amount is None and scope != "like":
            return apply_masks(model, legcnet.masks_)
        rank = legcnet.masks_at
    elif options:
        raise TypeError(f"With importance_scores nothing is fitted; got the options {[*options]}.")
    else:
        rank = partial(rank_scored, importance_scores)
    chosen = {"scope": scope, "like": like, "floor": floor, "amount_of": "remaining"}
    return apply_masks(model, rank(amount, within=masks_of(model), **chosen))
