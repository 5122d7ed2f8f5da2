"""LEGCNet: keep the weights whose Lyapunov exponents Granger-cause the network's error.

Sahu, Chadda, Nagaraj, Mathur and Saha, "To prune or not to prune: a chaos-causality approach to
principled pruning of dense neural networks", arXiv:2308.09955. The method in five steps: train and
record every weight at every step; cut each weight's series into windows and estimate an exponent
for each; read the error rate at each window's end; ask which series of exponents Granger-cause that
of the error; prune the weights that do not, and train again from the initial weights.

FT records the full training, PT a tenth of its epochs. As described and as released differ:

- The paper's exponents come from a training and a perturbed twin, the released ones from one raw
  series of weights (`windows`).
- The paper prunes non-causal weights in section 3.6 and causal ones in section 4; the released code
  prunes non-causal ones. Its test takes the smallest of 14 uncorrected p-values.
- The paper does not say whose error is meant; the released code takes that of the test set. Here it
  is the training set's unless another is asked for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import nn

from causalprune_lib._validation import check_choice, check_fraction, check_int, check_shape
from causalprune_lib.causality.decisions import RULES, causal_decision
from causalprune_lib.causality.granger import granger_test, min_length
from causalprune_lib.dynamics.listener import undisturbed
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.data import Dataset
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.tasks import task_of
from causalprune_lib.nets.training import Pair, Training, check_data, evaluate, training_pair
from causalprune_lib.pruning.masks import Masks, clone_model
from causalprune_lib.pruning.scores import Scores
from causalprune_lib.pruning.select import masks_from_scores
from causalprune_lib.pruning.windows import DECIMALS, Estimator, cut_windows, windowed_exponents

ORIENTATIONS = ("prune_non_causal", "prune_causal")
TRAINING = Training(epochs=50, batch_size=1, lr=0.1, shuffle=False)  # the data in a fixed order


class LEGCNet(BaseEstimator):
    """Scores, and a decision, for every weight of a network from one recorded training.

    Parameters
    ----------
    rule, orientation, max_lag, alpha
        As in `legcnet_decision`. "as_released" also rounds weights and exponents to six decimals.
    window, overlap, horizon, estimator, gate
        As in `windowed_exponents`. Windows are `gate`d by default if the rule is "as_released".
    amount : float or int, optional
        Prune the lowest scores up to this fraction or number of weights, instead of the decision.
    training, seed : Training, int
        How `fit` trains: 50 epochs of SGD, one example at a time, in a fixed order; for PT, 5.

    Attributes
    ----------
    masks_ : Masks
        What to keep: the decision, or the ranking where `amount` was given.
    scores_ : dict of str to tensor
        One tensor per layer for `masks_from_scores`; higher = kept, NaN = not estimable.
    exponents_, error_ : tensor (W, P), array (W,), of float64
        Of each window, and the error rate at its end.
    decision_ : LEGCNetDecision
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
    >>> short = Training(epochs=8, batch_size=1, lr=0.02, shuffle=False)
    >>> legcnet = LEGCNet(window=40, max_lag=4, amount=0.25, training=short).fit(model, data)
    >>> legcnet.exponents_.shape, legcnet.masks_.amount  # 42 weights
    (torch.Size([26, 42]), 0.23809523809523808)
    >>> from causalprune_lib.pruning.masks import apply_masks
    >>> pruned = apply_masks(model, legcnet.masks_)  # still at its initial weights
    """

    def __init__(
        self,
        *,
        rule: str = "as_released",
        orientation: str = "prune_non_causal",
        window: int = 200,
        overlap: float = 0.1,
        max_lag: int = 14,
        alpha: float = 0.05,
        amount: float | int | None = None,
        horizon: int = 3,
        estimator: Estimator | None = None,
        gate: bool | None = None,
        training: Training = TRAINING,
        seed: int = 0,
    ) -> None:
        self.rule, self.orientation = rule, orientation
        self.window, self.overlap, self.max_lag = window, overlap, max_lag
        self.alpha, self.amount = alpha, amount
        self.horizon, self.estimator, self.gate = horizon, estimator, gate
        self.training, self.seed = training, seed

    def fit(
        self,
        model: nn.Module,
        data: Dataset | Pair,
        *,
        error_on: str | Pair = "train",
        path: str | os.PathLike | None = None,
        progress: bool = False,
    ) -> LEGCNet:
        """Train a copy of `model`, at its initial weights, record it, and decide.

        It is trained on the pair `data`, or on the training part of a Dataset. `error_on` says on
        which examples the error rate is taken: those ("train"), the test set, which is let into the
        mask so ("test"), or a pair of its own. A `path` to a new folder records on disk.
        """
        check_choice("rule", self.rule, RULES)
        check_choice("orientation", self.orientation, ORIENTATIONS)
        check_int("max_lag", self.max_lag)
        check_int("horizon", self.horizon)
        check_fraction("alpha", self.alpha)
        if isinstance(self.amount, float):
            check_fraction("amount", self.amount)
        if not isinstance(self.training, Training):
            raise TypeError(f"training must be a Training; got {type(self.training).__name__}.")
        x, y = training_pair(data)
        if isinstance(error_on, str):
            check_choice("error_on", error_on, ["train", "test"])
            if error_on == "test" and not isinstance(data, Dataset):
                raise ValueError("error_on='test' needs a Dataset; got a pair. Give (x, y) itself.")
            error_on = (x, y) if error_on == "train" else (data.x_test, data.y_test)
        task = self.training.task
        if task_of(task).metric_name != "accuracy":
            raise ValueError(f"training.task must be judged by accuracy; got {task!r}.")
        check_int("training.epochs", self.training.epochs)
        replace(self.training, epochs=0).train(model, x, y)  # says what is wrong with them
        check_data(model, *error_on, task=task, names=("error_on[0]", "error_on[1]"))
        steps = self.training.n_steps(len(x))
        due = set(cut_windows(steps + 1, window=self.window, overlap=self.overlap).ends.tolist())
        self.model_, step = clone_model(model), 0

        def judge() -> None:
            if step in due:
                with undisturbed(self.model_, batch_statistics=False):
                    error = evaluate(self.model_, *error_on, task=task).error_rate
                recorder.log(error=error)

        def before_step(*_: object) -> None:
            nonlocal step
            judge()  # the weights are those after the step before
            step += 1

        recorder = TrajectoryRecorder(self.model_, steps=steps, path=path)
        with recorder:
            options = {"seed": self.seed, "on_batch": before_step, "progress": progress}
            self.training.train(self.model_, x, y, **options)
            judge()
        return self.fit_trajectory(recorder.trajectory())

    def fit_trajectory(
        self,
        trajectory: Trajectory | torch.Tensor,
        *,
        error: np.ndarray | torch.Tensor | None = None,
        layout: ParameterLayout | None = None,
    ) -> LEGCNet:
        """Decide from a recording of a training of your own.

        Every step and every weight must be recorded; a tensor (T+1, P) needs a `layout`. `error`
        (W,) is the error rate at the ends of the windows, or of the first ones, if only they shall
        be read. Default: what was logged in the trajectory.
        """
        if isinstance(trajectory, Trajectory):
            layout = trajectory.layout
            if len(trajectory.index) != layout.size:
                raise ValueError(
                    f"trajectory must hold all {layout.size} weights; got {len(trajectory.index)}."
                )
        elif layout is None or error is None:
            raise ValueError(
                "a tensor of weights needs a layout and an error; one of them is None."
            )
        released = self.rule == "as_released"
        windowed = windowed_exponents(
            trajectory,
            window=self.window,
            overlap=self.overlap,
            gate=released if self.gate is None else self.gate,
            decimals=DECIMALS if released else None,
            horizon=self.horizon,
            estimator=self.estimator,
        )
        if error is None:
            ends = windowed.windows.ends
            error = trajectory.error[ends]
            if np.isnan(error).any():
                step = trajectory.steps[ends[np.isnan(error)][0]]
                raise ValueError(
                    "trajectory must hold an error rate at each window's end "
                    f"(recorder.log(error=...) after the steps cut_windows({len(trajectory)}, "
                    f"...).ends); step {step} has none."
                )
        self.trajectory_ = trajectory
        self.error_ = np.asarray(torch.as_tensor(error).cpu(), np.float64)  # (W,)
        self.exponents_ = windowed.exponent[: len(error)]  # (W, P)
        self.decision_ = legcnet_decision(
            self.exponents_,
            torch.as_tensor(error).to(self.exponents_.device),
            rule=self.rule,
            orientation=self.orientation,
            max_lag=self.max_lag,
            alpha=self.alpha,
        )
        self.scores_: Scores = layout.unflatten(self.decision_.scores)
        if self.amount is None:
            self.masks_ = Masks.from_flat(layout, self.decision_.keep)
        else:
            self.masks_ = self.masks_at(self.amount)
        return self

    def masks_at(
        self, amount: float | int | None, *, within: Masks | None = None, **options: object
    ) -> Masks:
        """Prune the lowest scores, after a fit; `options` are those of `masks_from_scores`.

        An UnscoredError says that weights without a score would have to go too.
        """
        masks = masks_from_scores(self.scores_, amount, nan="keep", within=within, **options)
        unscored = self.decision_.scores.isnan()  # (P,)
        if within is not None:
            unscored &= within.flat(masks.layout).to(unscored.device)
        if bool((unscored & ~masks.flat()).any()):
            raise UnscoredError(
                f"amount must leave the {int(unscored.sum())} weights that have no score; got "
                f"{amount}. {self.decision_.summary()}"
            )
        return masks


@dataclass(frozen=True, eq=False)
class LEGCNetDecision:
    """What the causality test says about P weights."""

    keep: torch.Tensor  # (P,) of bool; what could not be tested is kept, whatever the orientation
    causal: torch.Tensor  # (P,) of bool; as released, a failed test counts as causal
    # (P,) of float64, what was compared with alpha. "as_released": the smallest chi2 p-value over
    # all lags, each rounded to four digits, 0 for a failed test. "corrected": that of the F test at
    # one lag, adjusted over the weights, NaN for a failed test.
    pvalue: torch.Tensor
    # (P,) of float64, for a ranking; higher = kept. -log10 of the p-value before rounding and
    # adjustment, over the lags that there are enough windows for; with the opposite sign where
    # causal weights are pruned. NaN where no lag can be tested.
    scores: torch.Tensor
    missing: torch.Tensor  # (P,) of bool, where the test failed
    reason: np.ndarray  # (P,) of str, why numbers are missing; "" where none is
    n_windows: int  # W
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
) -> LEGCNetDecision:
    """Test whether the exponents of each weight Granger-cause the error, and decide.

    Parameters
    ----------
    exponents : tensor or array (W, P)
        One exponent per window and weight; NaN makes a weight's test fail.
    error : tensor or array (W,)
        Error rate at each window's end; finite.
    rule : {"as_released", "corrected"}
        "as_released": the smallest chi2 p-value over lags 1..`max_lag`, rounded, uncorrected, below
        `alpha`. Of pure noise it calls 0.85 of the weights causal with 60 windows and 14 lags, and
        0.50 with 151 windows and 20 lags: such a p-value is too small in short series, and the
        smallest of many smaller still. "corrected": the F test at one lag, chosen for each weight
        by the BIC, with the false discovery rate over the weights held at `alpha`.
    orientation : {"prune_non_causal", "prune_causal"}
        Sections 3.6 and 4 of the paper differ in what is pruned; the released code does the first.
    max_lag : int
        Largest lag of the test, in windows. Lag L needs 3 L + 2 windows: 14 need 44.

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
    result = granger_test(error, exponents, max_lag=max_lag, lag="bic")
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
