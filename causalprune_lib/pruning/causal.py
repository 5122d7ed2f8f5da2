"""Causal pruning: keep the weights whose movements Granger-cause the change of the loss.

Shah, Challa, Danda, Mathur and Saha, "A Granger-causal perspective on gradient descent with
application to pruning", arXiv:2412.03035. The model dL_t = sum_k gamma_k (d theta_kt)^2 is fitted
to recorded steps of plain SGD under an L1 penalty, and the weights with gamma_k = 0 are pruned. As
described and as released differ:

- The released solver is a running sum: gamma = soft(sum_t w_t dL_t (d theta_kt)^2, alpha sum_t w_t)
  with the step weights w_t of the solver. It never fits the lasso. The rule here is that sum
  (`CausalScores`); `CausalLasso` is the lasso.
- Since the sum is taken weight by weight, fitting each layer and fitting the whole network with one
  alpha give the same masks. They differ where alpha is relative to alpha_max, and in rankings.
- The released code reports the epoch that is best on the test set; the paper says validation set.
  Here it is a validation split, or the last epoch.

`causal_unstructured` prunes a model in the manner of `torch.nn.utils.prune`, `CausalPruning` runs
algorithm 1, `causal_structured` (in `structured`) takes whole filters out.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from causalprune_lib._files import DRAFTS, replacing
from causalprune_lib._memory import Bytes, available_disk
from causalprune_lib._random import seeded
from causalprune_lib._validation import check_choice, check_fraction, check_int, check_positive
from causalprune_lib.causality.scores import FORMS, LOSSES, CausalScores, planned_sizes
from causalprune_lib.nets.data import Dataset, complement, stratified_rows
from causalprune_lib.nets.training import (
    History,
    Loss,
    device_and_dtype,
    refresh_pruned_weights,
    train,
)
from causalprune_lib.pruning.iterative import amount_schedule, rewind
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model, masks_of
from causalprune_lib.pruning.scores import Scores, prune_by_scores
from causalprune_lib.pruning.select import LayerCollapseWarning, masks_from_scores

# ---- causal_training: The three kinds of training in causal pruning: before, while recording, af


Pair = tuple[torch.Tensor, torch.Tensor]


OPTIONS = ("optimizer", "lr", "momentum", "weight_decay")


RELEASED = {
    "pretrain": {"optimizer": "adam", "lr": 5e-4},
    "record": {"optimizer": "sgd", "lr": 1e-3},
    "posttrain": {"optimizer": "adam", "lr": 5e-4},
}


@dataclass(frozen=True, eq=False)
class Phase:
    """What a training loop is asked to do.

    Attributes
    ----------
    kind : {"pretrain", "record", "posttrain"}
    number : int
        Position in the run: 0 before, 1..N_iter while recording, N_iter + 1 after.
    epochs : int
    seed : int
        For the order of the batches. Torch's own generators are seeded with it already.
    data : (x, y) or None
        What `fit` was given to train on.
    validation : (x, y) or None
    loss : {"two_batch", "same_batch"}
        Which change of the loss is wanted while recording.
    scores : CausalScores or None
        While recording, open. Before each `optimizer.step()` call `scores.log(loss=loss)` for the
        two-batch loss, `scores.batch(x, y)` for the same-batch loss.
    """

    kind: str
    number: int
    epochs: int
    seed: int
    data: Pair | None = None
    validation: Pair | None = None
    loss: str = "two_batch"
    scores: CausalScores | None = None


TrainFn = Callable[[nn.Module, Phase], Any]


@dataclass(frozen=True, eq=False)
class Loop:
    """The library's own training loop for all three kinds, or the user's `train_fn`."""

    options: Mapping[str, Mapping[str, Any]]  # by kind, for `train`
    batch_size: int = 512
    criterion: Loss = cross_entropy
    patience: int | None = None
    train_fn: TrainFn | None = None
    progress: bool = True

    def run(self, model: nn.Module, phase: Phase) -> list[dict[str, Any]]:
        """Train `model` in place; rows of its history, by epoch."""
        if self.train_fn is not None:
            with seeded(phase.seed, device_and_dtype(model)[0]):
                history = self.train_fn(model, phase)
            refresh_pruned_weights(model)
        else:
            history = self._train(model, phase)
        rows = history.frame.to_dict("records") if isinstance(history, History) else []
        return [{"phase": phase.kind, "number": phase.number, **row} for row in rows]

    def check(self, model: nn.Module, data: Pair | None, validation: Pair | None) -> None:
        """Raise what `train` would raise about options and data, without any training."""
        if self.train_fn is not None:
            return
        for kind in RELEASED:
            self._train(model, Phase(kind, 0, 0, 0, data, validation))

    def _train(self, model: nn.Module, phase: Phase) -> History:
        on_batch = None
        if phase.scores is not None:
            on_batch = partial(_log, phase)
        recording = phase.kind == "record"
        return train(
            model,
            *phase.data,
            epochs=phase.epochs,
            batch_size=self.batch_size,
            seed=phase.seed,
            validation=None if recording else phase.validation,
            patience=self.patience if phase.kind == "posttrain" else None,
            loss=self.criterion,
            on_batch=on_batch,
            progress=self.progress,
            **self.options[phase.kind],
        )


def _log(phase: Phase, x: torch.Tensor, y: torch.Tensor, loss: float) -> None:
    if phase.loss == "two_batch":
        phase.scores.log(loss=loss)
    else:
        phase.scores.batch(x, y)


def merged(name: str, defaults: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict:
    """Options of `train`: the released ones, with those that are given in their place."""
    for option in given or {}:
        check_choice(f"option in {name}", option, OPTIONS)
    return {**defaults, **(given or {})}


def split(
    data: Dataset | Pair | None,
    validation: Pair | None,
    patience: int | None,
    fraction: float,
    seed: int,
) -> tuple[Pair | None, Pair | None]:
    """Examples to train on and to validate on; the latter from the former where `patience` asks."""
    if data is not None and not isinstance(data, Dataset):
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise TypeError(f"data must be a Dataset or a pair (x, y); got {type(data).__name__}.")
        data = tuple(data)
    if data is None or validation is not None or patience is None:
        pair = (data.x_train, data.y_train) if isinstance(data, Dataset) else data
        return pair, validation
    if isinstance(data, Dataset):
        parts = data.split_validation(fraction, seed=seed)
        return parts[:2], parts[2:]
    x, y = data
    n_val = round(check_fraction("validation_fraction", fraction, closed=False) * len(y))
    rows = stratified_rows(y.cpu().numpy(), n_val, seed=seed, name="validation_fraction * N")
    rest = torch.from_numpy(complement(rows, len(y))).to(y.device)
    rows = torch.from_numpy(rows).to(y.device)
    return (x[rest.to(x.device)], y[rest]), (x[rows.to(x.device)], y[rows])


# ---- causal_phases: The phases of causal pruning on disk: a run that is killed goes on from the


FORMAT = "causalprune causal pruning 1"


RUN = "run.json"


SLACK = 1 << 16  # bytes for names, headers and the history of a phase


Content = dict[str, Any]


def phase_seed(seed: int, phase: int) -> int:
    """The seed of phase 0, 1, ... of a run: a function of both, so no generator is carried over.

    Examples
    --------
    >>> phase_seed(0, 1) == phase_seed(0, 1), phase_seed(0, 1) == phase_seed(1, 0)
    (True, False)
    """
    return int(np.random.SeedSequence([seed, phase]).generate_state(1)[0])


def fingerprint(tensors: Mapping[str, torch.Tensor]) -> str:
    """A short digest of tensors: their names, shapes, types and every bit of their values.

    Examples
    --------
    >>> fingerprint({"a": torch.zeros(2)}) == fingerprint({"a": torch.zeros(2)})
    True
    >>> fingerprint({"a": torch.zeros(2)}) == fingerprint({"a": torch.ones(2)})
    False
    """
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)};".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def describe(
    options: Mapping[str, Any],
    model: nn.Module,
    data: Mapping[str, tuple[torch.Tensor, torch.Tensor] | None],
) -> dict[str, Any]:
    """All that decides the result of a run, as values for `Phases`.

    A function is known by its name, a network and data by a `fingerprint`.
    """
    run = {}
    for name, value in options.items():
        if callable(value):
            named = value if hasattr(value, "__qualname__") else type(value)
            value = f"{named.__module__}.{named.__qualname__}"
        run[name] = dict(value) if isinstance(value, Mapping) else value
    run["model"] = f"{type(model).__name__} {fingerprint(model.state_dict())}"
    for name, pair in data.items():
        run[name] = None
        if pair is not None:
            digest = fingerprint({"x": pair[0], "y": pair[1]})
            run[name] = f"{len(pair[0])} examples {digest}"
    return run


class Phases:
    """Runs the phases of one run, or takes their results from a folder.

    Parameters
    ----------
    path : path, optional
        The folder; it is made if need be. None: nothing is kept.
    run : mapping
        What the run is: its options and the fingerprints of its network and data, as JSON values.

    Raises
    ------
    FileExistsError
        The folder holds something else than a run.
    ValueError
        The folder holds another run; the error names what differs.
    """

    def __init__(self, path: str | os.PathLike | None, run: Mapping[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        if self.path is not None:
            # As a reader will find it: a tuple comes back as a list.
            self._open(json.loads(json.dumps({"format": FORMAT, **run}, default=repr)))

    def run(self, name: str, work: Callable[[], Content], *, bytes_needed: int) -> Content:
        """The result of phase `name`: from its file, or from `work()`, which is then kept.

        Parameters
        ----------
        name : str
            The file's name, without its ending.
        work : callable
            Returns a dictionary of tensors, numbers, strings, lists and dictionaries.
        bytes_needed : int
            About how large the file will be. Room for it is asked for before the work is done.

        Raises
        ------
        OSError
            The disk is full, or the file cannot be written. Earlier phases are safe.
        ValueError
            The file of the phase is damaged.
        """
        if self.path is None:
            return work()
        file = self.path / f"{name}.pt"
        if file.exists():
            return _read(file)
        free = available_disk(self.path)
        if free < bytes_needed + SLACK:
            raise OSError(
                errno.ENOSPC,
                f"phase {name!r} will need {Bytes(bytes_needed + SLACK)}; the disk of {self.path} "
                f"has {free} available. {self._safe()}",
            )
        content = work()
        try:
            with replacing(file) as draft, draft.open("wb") as stream:
                torch.save(content, stream)
        except (OSError, RuntimeError) as error:  # torch wraps what its zip writer meets
            number = error.errno if isinstance(error, OSError) else None
            raise OSError(
                number or errno.EIO,
                f"phase {name!r} could not be written to {file}: {error}. {self._safe()}",
            ) from error
        return content

    def _safe(self) -> str:
        done = sorted((f for f in self.path.glob("*.pt") if f.name[0] != "."), key=os.path.getmtime)
        kept = ", ".join(file.stem for file in done) or "none yet"
        return f"Finished phases ({kept}) are safe: make room and run it again to go on."

    def _open(self, run: Mapping[str, Any]) -> None:
        file = self.path / RUN
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"path must be a folder; {self.path} is a file.")
        if not file.exists():
            if self.path.exists() and any(not entry.match(DRAFTS) for entry in self.path.iterdir()):
                raise FileExistsError(
                    f"path must be new, empty or the folder of this run; {self.path} holds "
                    "something else."
                )
            with replacing(file) as draft:
                draft.write_text(json.dumps(run, indent=1))
            return
        try:
            found = json.loads(file.read_text())
        except ValueError as error:
            raise ValueError(f"path must be the folder of a run; {file} is damaged.") from error
        check_same(found, run, self.path)
        for draft in self.path.glob(DRAFTS):  # left by a process that was killed
            draft.unlink(missing_ok=True)


def check_same(found: Mapping[str, Any], run: Mapping[str, Any], path: Path) -> None:
    """Raise a ValueError that names each entry in which the run at `path` is another one."""
    keys = [*run, *(key for key in found if key not in run)]
    # As text, because a floor of 1 is one weight and a floor of 1.0 all of them.
    unlike = [key for key in keys if json.dumps(found.get(key)) != json.dumps(run.get(key))]
    if unlike:
        listed = "; ".join(f"{k}: {found.get(k)!r} there, {run.get(k)!r} here" for k in unlike)
        raise ValueError(
            f"path must be the folder of this run; {path} holds another one ({listed}). "
            "Choose another folder, or delete that one."
        )


def _read(file: Path) -> Content:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{file} is damaged ({error}). Delete it and the files of later phases; they will be "
            "done again."
        ) from error


def state_bytes(model: nn.Module) -> int:
    """Bytes of the tensors that a file of the model's state holds."""
    return sum(t.numel() * t.element_size() for t in model.state_dict().values())


# ---- causal_recording: A recorded training: the causal scores of a network, from where it is.


KINDS = ("released", "movement", "correlation")


def record(
    model: nn.Module, loop: Loop, phase: Phase, **options: Any
) -> tuple[CausalScores, list[dict[str, Any]]]:
    """Train `model` in place under `CausalScores(model, **options)`; these and history's rows."""
    probe = partial(_probe, loop.criterion) if phase.loss == "same_batch" else None
    scores = CausalScores(model, loss=phase.loss, probe=probe, **options)
    with scores:
        rows = loop.run(model, replace(phase, scores=scores))
    return scores, rows


def _probe(criterion: Loss, model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return criterion(model(x), y)


def record_scores(
    model: nn.Module,
    data: Dataset | Pair | None,
    *,
    epochs: int = 10,
    loss: str = "two_batch",
    n_steps: int | None = None,
    batch_size: int = 512,
    criterion: Loss = cross_entropy,
    train_fn: TrainFn | None = None,
    seed: int = 0,
    progress: bool = False,
    form: str = "vanilla",
    correlation: bool = False,
    **options: Any,
) -> CausalScores:
    """Train a copy of `model` from where it is, and stream the causal scores of its weights.

    Parameters
    ----------
    model : nn.Module
        Is not changed. Weights masked on it stay zero in the copy.
    data : Dataset or (x, y)
    epochs, batch_size, criterion, seed, progress
        Of the training; `criterion(outputs, y)` is its loss function.
    loss : {"two_batch", "same_batch"}
        Which change of the loss; see `CausalScores`.
    n_steps : int, optional
        How many steps the optimizer will make; needed where a `train_fn` does not walk `epochs`
        times through `data` in batches of `batch_size`.
    train_fn : callable, optional
        A loop of your own, `train_fn(model, phase)`; see `Phase`.
    form, correlation
        As in `CausalScores`: its features where the recording has momentum, and whether
        `scores("correlation")` is wanted.
    **options
        `lr`, `optimizer`, `momentum`, `weight_decay` of `train`; as released lr=1e-3 and plain SGD.

    Returns
    -------
    CausalScores

    Examples
    --------
    >>> x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    >>> scores = record_scores(nn.Linear(2, 2), (x, (x[:, 0] > 0).long()), epochs=3, batch_size=8)
    >>> scores.scores("released")["weight"].shape
    torch.Size([2, 2])
    """
    settings = {**RELEASED, "record": merged("options", RELEASED["record"], options)}
    loop = Loop(settings, check_int("batch_size", batch_size), criterion, None, train_fn, progress)
    check_choice("loss", loss, LOSSES)
    check_choice("form", form, FORMS)
    pair, _ = split(data, None, None, 0.0, seed)
    phase = Phase("record", 1, check_int("epochs", epochs), seed, pair, loss=loss)
    n_steps = steps_of_round(
        pair,
        epochs=epochs,
        batch_size=batch_size,
        train_fn=train_fn,
        n_steps=n_steps,
        loss=loss,
        form=form,
    )
    kept = {"n_steps": n_steps, "form": form, "correlation": correlation}
    return record(clone_model(model), loop, phase, **kept)[0]


def steps_of_round(
    data: Pair | None,
    *,
    epochs: int,
    batch_size: int,
    train_fn: TrainFn | None,
    n_steps: int | None,
    loss: str,
    form: str,
) -> int:
    """How many steps a round makes, after a check that they are known and enough."""
    if data is None and (train_fn is None or n_steps is None):
        raise ValueError("data must be given, or a train_fn and n_steps; got None.")
    if n_steps is None:
        n_steps = epochs * math.ceil(len(data[0]) / batch_size)
    planned_sizes(None, n_steps, loss=loss, form=form)
    return n_steps


# ---- causal_run: One run of algorithm 1, phase by phase, and how a round decides what it keeps.


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


# ---- causal_algorithm: Causal pruning, algorithm 1: pretrain; record, prune and rewind, N_iter t


class CausalPruning:
    """Algorithm 1 of the causal pruning paper, resumable.

    Parameters
    ----------
    alpha : float or dict of str to float, optional
        L1_coeff: a weight is kept if |sum_t w_t dL_t (d theta_t)^2| > alpha sum_t w_t. It has the
        unit of the sums, loss times squared weight.
    relative : bool
        `alpha` is a fraction of alpha_max, the value at which everything goes: of each layer's
        own with `scope="layer"`, of the whole network's with "global".
    amount : float, optional
        Prune the lowest scores up to this fraction of all weights, instead of `alpha`.
    schedule : {"geometric", "cubic"}
        How `amount` is reached over the rounds: `amount_schedule` or `cubic_schedule`.
    n_pre, n_iter, n_prune, n_post : int
        N_pre epochs of pretraining, N_iter rounds of N_prune recorded epochs, N_post epochs after.
    scope : {"layer", "global"}
        One ranking (or relative alpha) for each layer, or one for the whole network. An absolute
        alpha gives the same masks in both.
    floor : int or float
        The least number or fraction of weights that every layer keeps.
    kind : {"released", "movement", "correlation"}
        Scores by which `amount` ranks; see `CausalScores.scores`.
    loss : {"two_batch", "same_batch"}
        Which change of the loss is recorded; see `CausalScores`.
    form : {"vanilla", "momentum", "momentum_paper"}
        Features of a recording with momentum (`prune={"momentum": 0.9}`); see `CausalScores`.
    pre, prune, post : dict, optional
        `optimizer`, `lr`, `momentum`, `weight_decay` of the three kinds of training. Left out:
        Adam with 5e-4, SGD with 1e-3 and no momentum, Adam with 5e-4, as released.
    batch_size, criterion
        Of all training; `criterion(outputs, y)` is the loss function.
    patience : int, optional
        Stop training after pruning when the loss on a validation split has not fallen for so many
        epochs, and go back to the best one. The test set plays no part.
    validation_fraction : float
        Share of the training examples set aside for that.
    train_fn : callable, optional
        `train_fn(model, phase)`, a loop of your own for all phases; see `Phase`. `pre`, `prune`,
        `post`, `batch_size` and `patience` are then its own affair.
    n_steps : int, optional
        Steps that the optimizer makes in a round; needed where `train_fn` does not walk N_prune
        times through the data in batches of `batch_size`.
    seed : int
        Each phase derives its own from it.
    path : path, optional
        Folder for finished phases. A run that was killed goes on from there to the same masks,
        bit for bit on the same device. A round takes about 5 bytes per weight. Of a `train_fn` and
        a `criterion` only the names are compared with those of the run there.
    progress : bool
        Show bars.

    Attributes
    ----------
    masks_ : Masks
    scores_ : dict of str to tensor
        Of the last round; higher = kept. Weights pruned before it score lowest.
    alpha_max_ : dict of str to float
        Of the last round: the alpha at which a layer is empty.
    rounds_ : DataFrame
        One row per round: `round`, `amount`, `kept`, `recorded` and `dropped` steps.
    masks_by_round_ : list of Masks
        Nested.
    history_ : DataFrame
        One row per epoch of the library's own loop, with `phase` and `number`.
    rewind_state_ : dict of str to tensor
        The network after pretraining.
    model_ : nn.Module
        The network after the last phase, masked.

    Examples
    --------
    >>> x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    >>> data = (x, (x[:, 0] > 0).long())
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> short = {"n_pre": 1, "n_iter": 2, "n_prune": 2, "n_post": 1, "batch_size": 16}
    >>> pruning = CausalPruning(amount=0.75, **short, progress=False).fit(model, data)
    >>> pruning.rounds_["amount"].tolist()
    [0.5, 0.75]
    """

    def __init__(
        self,
        *,
        alpha: float | Mapping[str, float] | None = None,
        relative: bool = False,
        amount: float | None = None,
        schedule: str = "geometric",
        n_pre: int = 10,
        n_iter: int = 10,
        n_prune: int = 10,
        n_post: int = 200,
        scope: str = "layer",
        floor: float | int = 0,
        kind: str = "released",
        loss: str = "two_batch",
        form: str = "vanilla",
        pre: Mapping[str, object] | None = None,
        prune: Mapping[str, object] | None = None,
        post: Mapping[str, object] | None = None,
        batch_size: int = 512,
        criterion: Loss = cross_entropy,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        train_fn: TrainFn | None = None,
        n_steps: int | None = None,
        seed: int = 0,
        path: str | os.PathLike | None = None,
        progress: bool = True,
    ) -> None:
        if (alpha is None) == (amount is None):
            raise ValueError(
                f"Give alpha or amount, one of them; got alpha={alpha}, amount={amount}."
            )
        for name, value in alpha.items() if isinstance(alpha, Mapping) else [("", alpha)]:
            if value is not None:
                check_positive(f"alpha[{name!r}]" if name else "alpha", value)
        if amount is not None:
            amount = check_fraction("amount", amount, closed=False)
        self.alpha, self.relative, self.amount = alpha, relative, amount
        self.schedule = check_choice("schedule", schedule, SCHEDULES)
        self.n_pre = check_int("n_pre", n_pre, minimum=0)
        self.n_iter, self.n_prune = check_int("n_iter", n_iter), check_int("n_prune", n_prune)
        self.n_post = check_int("n_post", n_post, minimum=0)
        self.scope = check_choice("scope", scope, ["layer", "global"])
        self.floor, self.kind = floor, check_choice("kind", kind, KINDS)
        self.loss = check_choice("loss", loss, LOSSES)
        self.form = check_choice("form", form, FORMS)
        self.pre = merged("pre", RELEASED["pretrain"], pre)
        self.prune = merged("prune", RELEASED["record"], prune)
        self.post = merged("post", RELEASED["posttrain"], post)
        self.batch_size, self.criterion = check_int("batch_size", batch_size), criterion
        self.patience, self.validation_fraction = patience, validation_fraction
        self.train_fn, self.n_steps = train_fn, n_steps
        self.seed = check_int("seed", seed, minimum=0)
        self.path, self.progress = path, progress

    def fit(
        self,
        model: nn.Module,
        data: Dataset | Pair | None = None,
        *,
        validation: Pair | None = None,
    ) -> CausalPruning:
        """Run the algorithm on a copy of `model`, which is itself not changed.

        Parameters
        ----------
        model : nn.Module
            At its initial weights. Weights masked on it stay pruned.
        data : Dataset or (x, y)
            Training examples; of a Dataset, its training part. May be left out with a `train_fn`
            that has its own and `n_steps`.
        validation : (x, y), optional
            Examples for the validation loss, instead of a part of the training examples.

        Raises
        ------
        ValueError
            Before any training: options or data that do not fit, an amount that the floor forbids,
            a folder of another run (what differs is named). In a round: an alpha that leaves a
            layer empty.
        OSError
            The disk is full. Finished phases are safe.

        Warns
        -----
        LayerCollapseWarning
            An amount takes the last weight of a layer.
        """
        work = clone_model(model)
        pairs = split(data, validation, self.patience, self.validation_fraction, self.seed)
        run = self._run_of(work, *pairs)
        run.loop.check(work, run.data, run.validation)
        phases = Phases(self.path, self._described(run))
        run.go(phases, progress=self.progress)
        self.model_, self.rewind_state_ = work, run.start
        self.masks_by_round_, self.masks_ = run.masks, run.masks[-1]
        self.scores_: Scores = run.last["scores"]
        self.alpha_max_: dict[str, float] = run.last["alpha_max"]
        self.rounds_, self.history_ = pd.DataFrame(run.rows), pd.DataFrame(run.history)
        return self

    def _run_of(self, model: nn.Module, data: Pair | None, validation: Pair | None) -> Run:
        amounts = None
        if self.amount is not None:
            amounts = tuple(SCHEDULES[self.schedule](self.amount, self.n_iter))
        options = {"pretrain": self.pre, "record": self.prune, "posttrain": self.post}
        rule = Rule(self.alpha, self.relative, amounts, self.kind, self.scope, self.floor)
        if amounts is not None:  # says before any training what is wrong with them
            before = masks_of(model)
            level = {name: torch.zeros(mask.shape) for name, mask in before.items()}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LayerCollapseWarning)
                for amount in amounts:
                    rule.ranked(level, amount, before)
        known = ("batch_size", "train_fn", "n_steps", "loss", "form")
        given = {name: getattr(self, name) for name in known}
        n_steps = steps_of_round(data, epochs=self.n_prune, **given)
        settings = (self.batch_size, self.criterion, self.patience, self.train_fn, self.progress)
        correlation = self.kind == "correlation"
        epochs = (self.n_pre, self.n_iter, self.n_prune, self.n_post)
        return Run(
            model=model,
            loop=Loop(options, *settings),
            rule=rule,
            epochs=epochs,
            data=data,
            validation=validation,
            seed=self.seed,
            loss=self.loss,
            recording={"n_steps": n_steps, "form": self.form, "correlation": correlation},
        )

    def _described(self, run: Run) -> dict[str, object]:
        if self.path is None:
            return {}
        options = {name: value for name, value in vars(self).items() if name[-1] != "_"}
        for name in ("path", "progress"):  # do not decide the result
            del options[name]
        return describe(options, run.model, {"data": run.data, "validation": run.validation})


# ---- causal: Causal pruning: keep the weights whose movements Granger-cause the change of the lo


def causal_unstructured(
    model: nn.Module,
    amount: float | int | None = None,
    *,
    data: Dataset | Pair | None = None,
    importance_scores: Scores | CausalScores | None = None,
    alpha: float | dict[str, float] | None = None,
    relative: bool = False,
    scope: str = "layer",
    like: Masks | None = None,
    floor: float | int = 0,
    kind: str = "released",
    **options: object,
) -> nn.Module:
    """Prune `model` in place by causal pruning, once, in the manner of `torch.nn.utils.prune`.

    Parameters
    ----------
    model : nn.Module
        As it is after pretraining: a copy is trained and recorded, and `model` keeps its weights,
        as after the rewinding of algorithm 1.
    amount : float or int, optional
        Fraction or number of the weights not pruned yet, the lowest scores first. Left out with
        `alpha` and with `scope="like"`.
    data : Dataset or (x, y)
        Needed unless `importance_scores` are given.
    importance_scores : dict of str to tensor, or CausalScores
        Scores of an earlier recording, for as many amounts as wanted.
    alpha, relative
        As in `CausalPruning`, instead of an amount. Of `importance_scores` it needs `CausalScores`.
    scope, like, floor
        As in `masks_from_scores`.
    kind : {"released", "movement", "correlation"}
        As in `CausalScores.scores`.
    **options
        Those of `record_scores`: `epochs`, `batch_size`, `loss`, `lr`, `seed` and so on.

    Returns
    -------
    nn.Module
        `model`, masked.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    >>> data = (x, (x[:, 0] > 0).long())
    >>> model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))
    >>> pruned = causal_unstructured(model, 0.5, data=data, epochs=3, batch_size=8)
    >>> [int(layer.weight_mask.sum()) for layer in (model[0], model[2])]
    [4, 4]
    """
    check_choice("scope", scope, ["global", "layer", "like"])
    if alpha is not None and (amount is not None or like is not None):
        raise ValueError(f"alpha decides how much is pruned; got amount={amount}, like={like}.")
    if alpha is None and amount is None and scope != "like":
        raise ValueError("amount or alpha must be given; got neither.")
    scores = importance_scores
    check_choice("kind", kind, KINDS)
    if scores is None:
        if data is None:
            raise ValueError("data must be given, or importance_scores; got neither.")
        correlation = kind == "correlation"
        scores = record_scores(model, data, correlation=correlation, **options)
    elif options or data is not None:
        raise TypeError(f"With importance_scores nothing is recorded; got {[*options] or 'data'}.")
    if alpha is not None:
        if not isinstance(scores, CausalScores):
            raise TypeError(
                f"alpha needs CausalScores, whose sums it is compared with; got {type(scores)}."
            )
        rule = Rule(alpha, relative, None, kind, scope, floor)
        return apply_masks(model, rule.masks(scores, 1, masks_of(model)))
    if isinstance(scores, CausalScores):
        scores = scores.scores(kind)
    return prune_by_scores(model, scores, amount, scope=scope, like=like, floor=floor)
