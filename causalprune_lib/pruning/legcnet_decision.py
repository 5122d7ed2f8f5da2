"""Which weights LEGCNet prunes: from windowed exponents and errors to scores and a decision.

A weight is causal if its windowed exponents Granger-cause the error. Section 3.6 of the paper
(arXiv:2308.09955) prunes the weights that are not causal, and so does the released code; section 4
of the paper says the opposite. Both orientations are here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._validation import check_choice, check_int, check_shape
from causalprune_lib.causality.decisions import RULES, causal_decision
from causalprune_lib.causality.granger import granger_test
from causalprune_lib.causality.results import min_length
from causalprune_lib.pruning.maskset import Masks
from causalprune_lib.pruning.scores import Scores
from causalprune_lib.pruning.selection import masks_from_scores

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
