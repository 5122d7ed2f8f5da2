"""One run of algorithm 1, phase by phase, and how a round decides what it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from causalprune_lib._validation import check_fraction, check_int
from causalprune_lib.causality.streaming import CausalScores
from causalprune_lib.pruning.causal_phases import Phases, phase_seed, state_bytes
from causalprune_lib.pruning.causal_recording import record
from causalprune_lib.pruning.causal_training import Loop, Pair, Phase
from causalprune_lib.pruning.iterative import amount_schedule
from causalprune_lib.pruning.masks import Masks, apply_masks, masks_from_scores, masks_of
from causalprune_lib.pruning.rewinding import rewind
from causalprune_lib.pruning.scores import Scores

Alpha = float | Mapping[str, float]


def cubic_schedule(final: float, rounds: int) -> list[float]:
    """Cumulative amounts that rise fast at first: round r of R ends at final (1 - (1 - r/R)^3).

    The schedule of Zhu and Gupta ("To prune, or not to prune", 2017), which the later code of the
    causal pruning paper follows.

    Examples
    --------
    >>> cubic_schedule(0.5, 2)
    [0.4375, 0.5]
    """
    check_fraction("final", final, closed=False)
    check_int("rounds", rounds)
    return [final * (1 - (1 - r / rounds) ** 3) for r in range(1, rounds)] + [float(final)]


SCHEDULES = {"geometric": amount_schedule, "cubic": cubic_schedule}


@dataclass(frozen=True)
class Rule:
    """How a round decides: by an alpha, or by a ranking up to an amount.

    Attributes
    ----------
    alpha : float or dict of str to float, optional
        L1_coeff. None: by amounts.
    relative : bool
        `alpha` is a fraction of alpha_max.
    amounts : tuple of float, optional
        Cumulative, one per round.
    kind, scope, floor
        As in `CausalPruning`.
    """

    alpha: Alpha | None = None
    relative: bool = False
    amounts: tuple[float, ...] | None = None
    kind: str = "released"
    scope: str = "layer"
    floor: float | int = 0

    def masks(self, scores: CausalScores, number: int, before: Masks) -> Masks:
        """What round `number` keeps of what `before` keeps."""
        if self.amounts is not None:
            amount = self.amounts[number - 1]
            return self.ranked(scores.scores(self.kind), amount, before)
        kept = Masks(scores.support(self._alpha(scores), floor=self.floor)).flat(before.layout)
        if self.floor:  # of the weights that are left; the support's own floor may take any
            released = scores.scores("released")
            best = masks_from_scores(released, 1.0, scope="layer", floor=self.floor, within=before)
            kept |= best.flat(before.layout)
        return Masks.from_flat(before.layout, kept & before.flat().to(kept.device))

    def ranked(self, scores: Scores, amount: float, before: Masks) -> Masks:
        """The weights of highest score, `amount` of all pruned, those that `before` prunes too."""
        return masks_from_scores(scores, amount, scope=self.scope, floor=self.floor, within=before)

    def _alpha(self, scores: CausalScores) -> Alpha:
        if not self.relative:
            return self.alpha
        top = dict(scores.alpha_max)
        if self.scope == "global":
            top = dict.fromkeys(top, max(top.values()))
        for name, value in top.items():
            if value == 0 and not self.floor:
                raise ValueError(
                    f"alpha cannot be relative in layer {name!r}: its alpha_max is 0, as none of "
                    "its weights moved. floor= keeps some; amount= does without alpha."
                )
            top[name] = value or 1.0  # any number is above a sum of 0
        if isinstance(self.alpha, Mapping):
            return {name: self.alpha[name] * top[name] for name in self.alpha}
        return {name: self.alpha * value for name, value in top.items()}


@dataclass(eq=False)
class Run:
    """Algorithm 1 on one network, which it changes.

    Attributes
    ----------
    epochs : (int, int, int, int)
        N_pre, N_iter, N_prune, N_post.
    recording : dict
        Options of `CausalScores`.
    start : dict of str to tensor
        The network after pretraining.
    masks : list of Masks
        By round.
    rows, history : list of dict
        One per round, one per epoch.
    last : dict
        Scores and alpha_max of the last round.
    """

    model: nn.Module
    loop: Loop
    rule: Rule
    epochs: tuple[int, int, int, int]
    data: Pair | None
    validation: Pair | None
    seed: int
    loss: str
    recording: Mapping[str, Any]
    start: dict[str, torch.Tensor] = field(default_factory=dict)
    masks: list[Masks] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)

    def go(self, phases: Phases, *, progress: bool) -> None:
        """Go through all phases, or through those that `phases` does not hold yet."""
        model, (n_pre, n_iter, n_prune, n_post) = self.model, self.epochs
        with tqdm(total=n_iter + 2, unit="phase", disable=not progress, leave=False) as bar:

            def done(name: str, work, bytes_needed: int) -> dict[str, Any]:
                bar.set_postfix_str(name)
                content = phases.run(name, work, bytes_needed=bytes_needed)
                self.history += content["history"]
                bar.update()
                return content

            pretrain = self._phase("pretrain", 0, n_pre)
            size = state_bytes(model)
            self.start = done("pretrain", lambda: self._train(pretrain), size)["state"]
            rewind(model, self.start)
            masks = masks_of(model)
            for number in range(1, n_iter + 1):
                phase = self._phase("record", number, n_prune)
                work = lambda phase=phase, masks=masks: self._round(phase, masks)  # noqa: E731
                self.last = done(f"round-{number:03d}", work, 9 * masks.n)
                masks = Masks(self.last["masks"])
                self.masks.append(masks)
                self.rows.append(self.last["row"])
                apply_masks(model, masks)
                rewind(model, self.start)
            phase = self._phase("posttrain", n_iter + 1, n_post)
            rewind(
                model, done("posttrain", lambda: self._train(phase), state_bytes(model))["state"]
            )

    def _phase(self, kind: str, number: int, epochs: int) -> Phase:
        seed = phase_seed(self.seed, number)
        return Phase(kind, number, epochs, seed, self.data, self.validation, self.loss)

    def _train(self, phase: Phase) -> dict[str, Any]:
        rows = self.loop.run(self.model, phase)
        state = {name: t.detach().cpu().clone() for name, t in self.model.state_dict().items()}
        return {"state": state, "history": rows}

    def _round(self, phase: Phase, before: Masks) -> dict[str, Any]:
        scores, history = record(self.model, self.loop, phase, **self.recording)
        masks = self.rule.masks(scores, phase.number, before)
        ranks = scores.scores(self.rule.kind)
        return {
            "masks": {name: mask.cpu() for name, mask in masks.items()},
            "scores": {name: values.cpu() for name, values in ranks.items()},
            "alpha_max": {name: float(value) for name, value in scores.alpha_max.items()},
            "row": {
                "round": phase.number,
                "amount": masks.amount,
                "kept": masks.n_kept,
                "recorded": int(scores.n_recorded),
                "dropped": int(scores.n_dropped),
            },
            "history": history,
        }
