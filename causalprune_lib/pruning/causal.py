"""Causal pruning: keep the weights whose movements Granger-cause the change of the loss.

Shah, Challa, Danda, Mathur and Saha, "A Granger-causal perspective on gradient descent with
application to pruning", arXiv:2412.03035. The model dL_t = sum_k gamma_k (d theta_kt)^2 is fitted
to recorded steps of plain SGD under an L1 penalty, and the weights with gamma_k = 0 are pruned. As
described and as released differ:

- The released solver is a running sum: gamma = soft(sum_t w_t dL_t (d theta_kt)^2, alpha sum_t w_t)
  with the step weights w_t of the solver. It never fits the lasso. The rule here is that sum
  (`CausalScores`); `CausalLasso` is the lasso.
- Since the sum is taken weight by weight, fitting each layer and fitting the whole network with one
  alpha give the same masks.
- The released code reports the epoch that is best on the test set; the paper says validation set.
  Here it is a validation split, or the last epoch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from torch import nn
from tqdm.auto import tqdm

from causalprune_lib._resume import Folder, fingerprint, plain
from causalprune_lib._validation import check_choice, check_fraction, check_int, check_positive
from causalprune_lib.causality.scores import CausalScores
from causalprune_lib.nets.data import Dataset
from causalprune_lib.nets.parameters import floor_counts
from causalprune_lib.nets.tasks import task_of
from causalprune_lib.nets.training import History, Pair, Training, forward, training_pair
from causalprune_lib.pruning.iterative import amount_schedule, check_amounts, pruning_rounds, rewind
from causalprune_lib.pruning.masks import Masks, clone_model, masks_of
from causalprune_lib.pruning.scores import Scores, prune_by_scores
from causalprune_lib.pruning.select import masks_from_scores

CHANGES = ("two_batch", "same_batch")  # of the loss: from batch to batch, or on one batch
KINDS = ("released", "movement")
# As released.
PRETRAIN = Training(epochs=10, batch_size=512, lr=5e-4, optimizer="adam")
RECORD = Training(epochs=10, batch_size=512, lr=1e-3)
POSTTRAIN = Training(epochs=200, batch_size=512, lr=5e-4, optimizer="adam")


@dataclass(frozen=True, eq=False)
class Recording:
    """What one recorded training says about the weights."""

    scores: dict[str, CausalScores]  # by the change of the loss: "two_batch", "same_batch"
    losses: tuple[float, ...]  # (T,), of each batch just before its step
    history: History


def record(
    model: nn.Module,
    data: Dataset | Pair,
    training: Training = RECORD,
    *,
    changes: Sequence[str] = ("two_batch",),
    losses: Sequence[float] | None = None,
    reuse_loss: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> Recording:
    """Train `model` in place, streaming the causal scores of its weights.

    The model is pretrained; the steps depend on `seed` alone. `changes` of the loss are "two_batch"
    and "same_batch": see `CausalScores`, for `reuse_loss` too. `losses` (T,) take the place of the
    two-batch losses seen. With their changes in another order the scores are a placebo: of the same
    steps, with the link to the loss cut.
    """
    x, y = training_pair(data)
    if not isinstance(training, Training):
        raise TypeError(f"training must be a Training; got {type(training).__name__}.")
    n_steps, task = training.n_steps(len(x)), task_of(training.task)
    streams, seen = {}, []

    def probe(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return task.loss(forward(model, x, training.precision), y)

    with ExitStack() as stack:
        for change in changes:
            options: dict[str, Any] = {"n_steps": n_steps}
            if check_choice("changes: each", change, CHANGES) == "same_batch":
                options |= {"loss": change, "probe": probe, "reuse_loss": reuse_loss}
            streams[change] = stack.enter_context(CausalScores(model, **options))

        def tell(x_batch: torch.Tensor, y_batch: torch.Tensor, loss: float) -> None:
            if "two_batch" in streams:
                streams["two_batch"].log(loss=loss if losses is None else losses[len(seen)])
            if "same_batch" in streams:
                streams["same_batch"].batch(x_batch, y_batch)
                if reuse_loss:
                    streams["same_batch"].log(loss=loss)
            seen.append(loss)

        history = training.train(model, x, y, seed=seed, on_batch=tell, progress=progress)
    return Recording(streams, tuple(seen), history)


def record_scores(
    model: nn.Module,
    data: Dataset | Pair,
    training: Training = RECORD,
    *,
    change: str = "two_batch",
    seed: int = 0,
    progress: bool = False,
) -> CausalScores:
    """The causal scores of `model` from a recorded training of a copy; options as in `record`.

    >>> x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    >>> data, training = (x, (x[:, 0] > 0).long()), Training(epochs=3, batch_size=8)
    >>> record_scores(nn.Linear(2, 2), data, training).scores()["weight"].shape
    torch.Size([2, 2])
    """
    options = {"changes": [change], "seed": seed, "progress": progress}
    return record(clone_model(model), data, training, **options).scores[change]


# A ranking of what is left: `rule(model, number, record)` trains the model in round `number` by
# calling `record(losses=None)`, which gives a `Recording`, and returns scores, higher = kept.
ScoreRule = Callable[[nn.Module, int, Callable[..., Recording]], Scores]


class CausalPruning(BaseEstimator):
    """Algorithm 1 of the paper: pretrain; N_iter times record, prune and rewind; train on.

    Parameters
    ----------
    amount : float or sequence of float or int, optional
        Fraction of all weights pruned in the end, by `amount_schedule`, or that after each round.
    alpha : float, optional
        L1_coeff, instead of an amount: a weight goes if |sum_t w_t dL_t (d theta_t)^2| is at most
        alpha sum_t w_t. It has the unit of the sums, loss times squared weight.
    n_iter : int
        Rounds (N_iter).
    scope : {"global", "layer"}
        One ranking for the whole network or for each layer.
    floor : int or float
        The least number or fraction of weights that every layer keeps.
    score : {"released", "movement"} or callable
        What ranks the weights: see `CausalScores.scores`, and `ScoreRule`.
    change : {"two_batch", "same_batch"}
        Which change of the loss is recorded; see `CausalScores`.
    pretrain, record, posttrain : Training
        N_pre, N_prune and N_post are their epochs. As released: Adam with 5e-4 for 10 epochs, plain
        SGD with 1e-3 for 10, Adam with 5e-4 for 200, batches of 512. With a `patience`, training
        after pruning ends at the best epoch on `validation`.
    seed : int or callable
        Gives the seeds of phase 0 (before), 1..N_iter (rounds) and N_iter + 1 (after).

    Attributes
    ----------
    masks_, masks_by_round_ : Masks, list of Masks
        After the last round, and after each; nested.
    scores_ : dict of str to tensor
        Of the last round; higher = kept. Weights pruned before it score lowest.
    losses_by_round_ : list of list of float
        Of each batch just before its step, as in `Recording`.
    rounds_ : DataFrame
        One row per round: `round`, `amount`, `kept`, and `recorded` and `dropped` steps.
    history_ : DataFrame
        One row per epoch, with `phase` and `number`.
    rewind_state_ : dict of str to tensor
        The network after pretraining.
    model_ : nn.Module
        The network after the last phase, masked.

    Examples
    --------
    >>> x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    >>> data = (x, (x[:, 0] > 0).long())
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> short = Training(epochs=2, batch_size=16)
    >>> phases = {"pretrain": short, "record": short, "posttrain": short}
    >>> pruning = CausalPruning(amount=0.75, n_iter=2, **phases).fit(model, data)
    >>> pruning.rounds_["amount"].tolist()
    [0.5, 0.75]
    """

    def __init__(
        self,
        *,
        amount: float | Sequence[float | int] | None = None,
        alpha: float | None = None,
        n_iter: int = 10,
        scope: str = "global",
        floor: float | int = 0,
        score: str | ScoreRule = "released",
        change: str = "two_batch",
        pretrain: Training = PRETRAIN,
        record: Training = RECORD,
        posttrain: Training = POSTTRAIN,
        seed: int | Callable[[int], int] = 0,
    ) -> None:
        self.amount, self.alpha, self.n_iter = amount, alpha, n_iter
        self.scope, self.floor = scope, floor
        self.score, self.change = score, change
        self.pretrain, self.record, self.posttrain = pretrain, record, posttrain
        self.seed = seed

    def fit(
        self,
        model: nn.Module,
        data: Dataset | Pair,
        *,
        validation: Pair | None = None,
        path: str | os.PathLike | None = None,
        progress: bool = False,
    ) -> CausalPruning:
        """Run the algorithm on a copy of `model`, which is itself not changed.

        Parameters
        ----------
        model, data : nn.Module, Dataset or (x, y)
            The network at its initial weights, where masked ones stay pruned, and the training
            examples; of a Dataset, its training part.
        validation : (x, y), optional
            For the validation loss. Never the test set.
        path : path, optional
            Folder for finished phases. A run that was killed goes on from there to the same masks,
            bit for bit on the same machine; a folder of another run is an error that names what
            differs (of functions, only their names are compared). A round takes about 5 bytes per
            weight; on a full disk, finished phases are safe.
        """
        work, pair = clone_model(model), training_pair(data)
        self._check(work, pair, validation)
        folder = Folder(path, lambda: self._described(work, pair, validation))
        n_rounds, history = len(self._amounts()), []
        size = sum(t.nbytes for t in work.state_dict().values())
        bar = tqdm(total=n_rounds + 2, unit="phase", disable=not progress, leave=False)

        def done(kind: str, number: int, phase: Callable[[], dict], n_bytes: int) -> dict:
            name = f"round-{number:03d}" if kind == "record" else kind
            bar.set_postfix_str(name)
            found = folder.get(name, phase, n_bytes=n_bytes)
            history.extend({"phase": kind, "number": number, **row} for row in found["history"])
            bar.update()
            return found

        def trained(kind: str, number: int) -> dict[str, torch.Tensor]:
            def phase() -> dict:
                options = {"validation": validation, "progress": progress}
                ran = getattr(self, kind).train(work, *pair, seed=self._seed(number), **options)
                state = {name: t.detach().cpu().clone() for name, t in work.state_dict().items()}
                return {"state": state, "history": ran.frame.to_dict("records")}

            return done(kind, number, phase, size)["state"]

        def decide(twin: nn.Module, masks: Masks, number: int) -> tuple[Masks, dict]:
            phase = partial(self._round, twin, pair, masks, number, progress)
            found = done("record", number, phase, 9 * masks.n)
            return Masks(found["masks"]), found

        with bar:
            start = trained("pretrain", 0)
            rewind(work, start)
            rounds = list(pruning_rounds(work, decide, n_rounds, rewind_to=start))
            rewind(work, trained("posttrain", n_rounds + 1))
        self.model_, self.rewind_state_ = work, start
        self.masks_by_round_, self.masks_ = [r.masks for r in rounds], rounds[-1].masks
        self.scores_: Scores = rounds[-1].training["scores"]
        self.losses_by_round_ = [r.training["losses"] for r in rounds]
        self.rounds_ = pd.DataFrame([r.training["row"] for r in rounds])
        self.history_ = pd.DataFrame(history)
        return self

    def _amounts(self) -> list[float | int | None]:
        """What is pruned after each round; None where alpha decides."""
        if self.amount is None:
            return [None] * self.n_iter
        if isinstance(self.amount, Sequence):
            return list(self.amount)
        amount = check_fraction("amount", self.amount, closed=False)
        return amount_schedule(amount, self.n_iter)

    def _check(self, model: nn.Module, pair: Pair, validation: Pair | None) -> None:
        """Raise what can be known to be wrong before any training."""
        if (self.alpha is None) == (self.amount is None):
            raise ValueError(
                f"Give alpha or amount, one of them; got alpha={self.alpha}, amount={self.amount}."
            )
        if self.alpha is not None:
            _check_line(self.alpha, self.scope)
        check_int("n_iter", self.n_iter)
        check_choice("scope", self.scope, ["global", "layer"])
        check_choice("change", self.change, CHANGES)
        if not callable(self.score):
            check_choice("score", self.score, KINDS)
        if self.amount is not None:
            check_amounts(self._amounts(), masks_of(model), scope=self.scope, floor=self.floor)
        for name in ("pretrain", "record", "posttrain"):
            training = getattr(self, name)
            if not isinstance(training, Training):
                raise TypeError(f"{name} must be a Training; got {type(training).__name__}.")
            replace(training, epochs=0).train(model, *pair, validation=validation)
        needed, steps = 1 + (self.change == "two_batch"), self.record.n_steps(len(pair[0]))
        if steps < needed:
            raise ValueError(
                f"record must make at least {needed} steps (epochs times batches); got {steps}."
            )

    def _seed(self, number: int) -> int:
        return self.seed(number) if callable(self.seed) else phase_seed(self.seed, number)

    def _round(
        self, model: nn.Module, pair: Pair, before: Masks, number: int, progress: bool
    ) -> dict[str, Any]:
        """A round: what it keeps, and why."""
        made: list[Recording] = []

        def train(losses: Sequence[float] | None = None) -> Recording:
            options = {"losses": losses, "seed": self._seed(number), "progress": progress}
            made.append(record(model, pair, self.record, changes=[self.change], **options))
            return made[-1]

        if callable(self.score):
            ranking = self.score(model, number, train)
        else:
            ranking = train().scores[self.change].scores(self.score)
        if len(made) != 1:
            raise RuntimeError(f"score must call record once a round; it did {len(made)} times.")
        stream = made[0].scores[self.change]
        amount = self._amounts()[number - 1]
        if amount is None:
            amount = n_below(stream, self.alpha, floor=self.floor)
        options = {"scope": self.scope, "floor": self.floor, "within": before}
        masks = masks_from_scores(ranking, amount, **options)
        row = {"round": number, "amount": masks.amount, "kept": masks.n_kept}
        row |= {"recorded": int(stream.n_recorded), "dropped": int(stream.n_dropped)}
        return {
            "masks": {name: mask.cpu() for name, mask in masks.items()},
            "scores": {name: values.cpu() for name, values in ranking.items()},
            "losses": list(made[0].losses),
            "row": row,
            "history": made[0].history.frame.to_dict("records"),
        }

    def _described(self, model: nn.Module, pair: Pair, validation: Pair | None) -> dict[str, Any]:
        """All that decides the result: functions by name, networks and data by a digest."""
        run = {name: plain(value) for name, value in self.get_params(deep=False).items()}
        run["model"] = f"{type(model).__name__} {fingerprint(model.state_dict())}"
        for name, given in {"data": pair, "validation": validation}.items():
            digest = given and fingerprint({"x": given[0], "y": given[1]})
            run[name] = given and f"{len(given[0])} examples {digest}"
        return run


def causal_unstructured(
    model: nn.Module,
    amount: float | int | None = None,
    *,
    data: Dataset | Pair | None = None,
    importance_scores: Scores | CausalScores | None = None,
    alpha: float | None = None,
    scope: str = "global",
    like: Masks | None = None,
    floor: float | int = 0,
    training: Training = RECORD,
    change: str = "two_batch",
    seed: int = 0,
) -> nn.Module:
    """Prune `model` in place by causal pruning, once, in the manner of `torch.nn.utils.prune`.

    Parameters
    ----------
    model : nn.Module
        As it is after pretraining: a copy is trained and recorded, and `model`, which is returned,
        keeps its weights, as after the rewinding of algorithm 1.
    data : Dataset or (x, y)
        Needed unless `importance_scores` are given.
    importance_scores : dict of str to tensor, or CausalScores
        Scores of an earlier recording, for as many amounts as wanted.
    alpha : float
        L1_coeff as in `CausalPruning`, instead of an amount. It needs `CausalScores`.
    amount, scope, like, floor
        As in `masks_from_scores`.
    training, change, seed
        As in `record`.

    Examples
    --------
    >>> x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    >>> data = (x, (x[:, 0] > 0).long())
    >>> model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))
    >>> training = Training(epochs=3, batch_size=8)
    >>> pruned = causal_unstructured(model, 0.5, data=data, scope="layer", training=training)
    >>> [int(layer.weight_mask.sum()) for layer in (model[0], model[2])]
    [4, 4]
    """
    if alpha is not None and (amount is not None or like is not None):
        raise ValueError(f"alpha decides how much is pruned; got amount={amount}, like={like}.")
    if alpha is not None:
        _check_line(alpha, scope)
    if alpha is None and amount is None and scope != "like":
        raise ValueError("amount or alpha must be given; got neither.")
    scores = importance_scores
    if scores is None:
        if data is None:
            raise ValueError("data must be given, or importance_scores; got neither.")
        scores = record_scores(model, data, training, change=change, seed=seed)
    elif data is not None:
        raise TypeError("With importance_scores nothing is recorded; got data.")
    if alpha is not None:
        if not isinstance(scores, CausalScores):
            raise TypeError(
                f"alpha needs CausalScores, whose sums it is compared with; got {type(scores)}."
            )
        amount = n_below(scores, alpha, floor=floor)
    if isinstance(scores, CausalScores):
        scores = scores.scores()
    return prune_by_scores(model, scores, amount, scope=scope, like=like, floor=floor)


def _check_line(alpha: float, scope: str) -> None:
    check_positive("alpha", alpha)
    if scope != "global":
        raise ValueError(f"alpha is one line for all layers, scope='global'; got scope={scope!r}.")


def n_below(scores: CausalScores, alpha: float, *, floor: float | int = 0) -> int:
    """How many weights the released rule prunes at `alpha`, if every layer keeps its floor."""
    sums, line = scores.scores(), alpha * scores.total_step
    sizes = [values.numel() for values in sums.values()]
    below = sum(int((values <= line).sum()) for values in sums.values())
    return min(below, sum(sizes) - sum(floor_counts(floor, sizes)))


def phase_seed(seed: int, phase: int) -> int:
    """The seed of phase 0, 1, ... of a run: a function of both, so no generator is carried over."""
    mixed = np.random.SeedSequence([check_int("seed", seed, minimum=0), phase])
    return int(mixed.generate_state(1)[0])
