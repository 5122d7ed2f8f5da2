r"""Scores of the causal model, summed up while any PyTorch loop trains the network.

The causal model of gradient descent, :math:`\Delta L_t = \sum_k \gamma_k (\Delta\theta_{kt})^2`,
is fitted by the released code to checkpoints of every step. Its result needs none of them: see
`step_sizes`. So the sums below are all there is to keep.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim.optimizer import Optimizer

from causalprune_lib._files import replacing
from causalprune_lib._validation import check_choice
from causalprune_lib.causality.booking import FORMS, LOSSES, UpdateBook, planned_sizes
from causalprune_lib.causality.released_rule import released_sums, released_support
from causalprune_lib.causality.score_reading import ScoreReading
from causalprune_lib.causality.step_sizes import solver_step_sizes
from causalprune_lib.dynamics.listening import StepListener, WeightReader
from causalprune_lib.dynamics.losses import StepLosses
from causalprune_lib.dynamics.room import check_room
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.parameters import ParameterLayout

__all__ = ["CausalScores", "released_sums", "released_support", "solver_step_sizes"]


class CausalScores(ScoreReading):
    r"""Sums :math:`\sum_t w_t\, \Delta L_t\, (\Delta\theta_{kt})^2` during a `with` block.

    No checkpoint is kept, but five vectors as long as the weights. What counts as a step, and how
    to use the block in Lightning or with Hugging Face's `Trainer`, is as in `TrajectoryRecorder`.

    Parameters
    ----------
    model : nn.Module
        The network; its own loop trains it. Only steps may change its weights in the block.
    loss : {"two_batch", "same_batch"}
        What :math:`\Delta L_t` is. "two_batch", as in the paper: L(b', theta') - L(b, theta), from
        the losses that the loop logs before each step, where b is the batch of this step and b'
        that of the next. So an update is booked when the next step is made, and the last one of
        the block is left over (`n_unfinished`), as in the released code. "same_batch", as in later
        code: L(b, theta') - L(b, theta), measured by the `probe`.
    n_steps : int, optional
        How many steps the block will make: the solver's step sizes depend on it. With "two_batch"
        they have T = n_steps - 1 samples, with "same_batch" T = n_steps.
    step_sizes : "solver", "constant" or tensor (T,), optional
        w. Default: "solver", which needs `n_steps`. "constant": 1 for every update, however many
        come. A tensor: one for each update that will be finished.
    which : {"prunable", "all"}
        Which parameters; see `ParameterLayout.of`.
    probe : callable, optional
        `probe(model, *batch) -> loss`, called with what `batch(...)` was given, with the noise of
        training off and no trace in it. With "two_batch" once per step, in place of logged losses.
    reuse_loss : bool
        With a probe and "same_batch": take the loss before the step from `log(loss=...)`.
    optimizer : torch.optim.Optimizer, optional
        Count the steps of this optimizer only.
    form : {"vanilla", "momentum", "momentum_paper"}
        Features: (d theta)^2, or those of `momentum_features`, "derived" or "paper". With momentum
        the first step of the block has none, and T is less by one. `support` and `scores` then
        look at the feature with the largest sum.
    correlation : bool
        Keep what `scores("correlation")` needs, one vector more. With constant step sizes it is
        there anyway.

    Attributes
    ----------
    n_recorded, n_dropped, n_late, n_unfinished : int
        Updates in the sums; those left out because a loss was NaN, infinite or missing; those that
        came after the T announced; and the one (or none) whose second loss has not come. An update
        that is dropped keeps its place in the sequence of step sizes.
    total_step : float
        :math:`\sum_t w_t` over the updates in the sums.

    Warns
    -----
    UserWarning
        Once, at the end of the block, if updates were dropped, or if more or fewer came than
        announced.

    Notes
    -----
    Sums are float64 where a weight is, and float32 otherwise. Read them in the block or after it.

    Examples
    --------
    >>> model = nn.Linear(3, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with CausalScores(model, n_steps=5) as scores:
    ...     for x, y in [(torch.ones(8, 3), torch.zeros(8, 1))] * 5:
    ...         loss = nn.functional.mse_loss(model(x), y)
    ...         optimizer.zero_grad()
    ...         loss.backward()
    ...         scores.log(loss=loss)
    ...         optimizer.step()
    >>> scores
    CausalScores(two_batch, 4 updates, 3 weights, 60 bytes)
    >>> half = 0.5 * scores.alpha_max["weight"]
    >>> scores.support(half)["weight"].shape
    torch.Size([1, 3])
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: str = "two_batch",
        n_steps: int | None = None,
        step_sizes: str | torch.Tensor | np.ndarray | None = None,
        which: str = "prunable",
        probe: Callable[..., torch.Tensor] | None = None,
        reuse_loss: bool = False,
        optimizer: Optimizer | None = None,
        form: str = "vanilla",
        correlation: bool = False,
    ) -> None:
        self.loss, self.form = check_choice("loss", loss, LOSSES), check_choice("form", form, FORMS)
        if loss == "same_batch" and probe is None:
            raise ValueError("loss='same_batch' needs probe=, to measure a batch twice; got none.")
        if reuse_loss and loss == "two_batch":
            raise ValueError("reuse_loss needs loss='same_batch'; got loss='two_batch'.")
        if correlation and form != "vanilla":
            raise ValueError(f"correlation needs form='vanilla'; got {form!r}.")
        sizes = planned_sizes(step_sizes, n_steps, loss=loss, form=form)
        self.layout = ParameterLayout.of(model, which=which)
        self._model, self._reader = model, WeightReader(model, self.layout)
        self._listener = StepListener(self._reader, self.step, optimizer=optimizer)
        self._losses = StepLosses(model, self._listener, probe, reuse=reuse_loss)
        weights = self._reader.parameters()
        doubles = any(parameter.dtype == torch.float64 for parameter in weights)
        vectors = {"dtype": torch.float64 if doubles else torch.float32}
        vectors |= {"device": weights[0].device, "plain": correlation and sizes is not None}
        self._book = UpdateBook(self.layout, loss=loss, form=form, sizes=sizes, **vectors)
        self._open = self._used = self._logged = False

    def __enter__(self) -> CausalScores:
        if self._used:
            raise RuntimeError(
                "CausalScores records once; to go on, give a new one state_dict() of this one."
            )
        if self._book.held is None:
            self._book.start(self._reader.read_into)
        else:
            now = torch.empty_like(self._book.held.weights)
            self._reader.read_into(now)
            if not torch.equal(now, self._book.held.weights):
                raise ValueError(
                    "model must hold the weights at which the scores were saved, to go on from "
                    "there: save both after the same step."
                )
        self._used = self._open = True
        self._listener.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._listener.stop()
        self._open = False
        if kind is not None:
            return
        heard = self._reader.parameters()
        self._replaced = tuple(
            name
            for (name, own), old in zip(
                self.layout.parameters(self._model).items(), heard, strict=True
            )
            if own is not old
        )
        if self.loss == "two_batch" and self.n_unfinished:
            closing, _ = self._losses.take(due=False)
            if not math.isnan(closing):
                self._book.close(closing)
        self._complain()

    def batch(self, *batch: object) -> None:
        """Announce the batch of the coming step, for the probe."""
        self._must_be_open()
        self._losses.announce(batch, due=True)

    def log(self, *, loss: object) -> None:
        """Book the loss of the coming step's batch: before `optimizer.step()` or in its closure.

        With constant step sizes, or a tensor of them that is long enough, one more loss may be
        logged after the last step: it finishes the last update.

        Raises
        ------
        ValueError
            The first loss comes after the first step, or a probe measures the losses.
        """
        self._must_be_open()
        if not self._logged and self._listener.begun > self._listener.inside:
            raise ValueError(
                "loss must be logged before the step of its batch; the first one came after the "
                "first step."
            )
        self._losses.log(loss)
        self._logged = True

    def step(self) -> None:
        """Count one step. Optimizers do this by themselves; a loop without one calls it."""
        self._must_be_open()
        losses = self._losses.take(due=self.loss == "same_batch")
        self._book.advance(self._reader.read_into, *losses)

    def replay(self, trajectory: Trajectory) -> CausalScores:
        """Take the steps of a recording instead of a block; returns itself.

        The sums are those of streaming, bit for bit, where the weights were recorded as they are.

        Parameters
        ----------
        trajectory : Trajectory
            Every step and every weight of `layout`, with the losses. For a placebo, one with
            shuffled losses (`dataclasses.replace`).

        Raises
        ------
        ValueError
            Steps or weights are missing, or the recording is of another network.
        """
        if self._used or self._book.held is not None:
            raise RuntimeError("CausalScores records once; make a new one to replay a recording.")
        self._used = True
        self._book.replay(trajectory)
        self._complain()
        return self

    def state_dict(self) -> dict[str, object]:
        """All that is needed to go on in another process; tensors are the live ones, not copies.

        Take it between two steps, together with the state of the model and the optimizer.
        """
        return self._book.state_dict()

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take over what `state_dict` gave, to read it or to go on in a `with` block.

        Raises
        ------
        ValueError
            It was recorded of other weights or with other options, or, on entering the block, the
            model does not hold the weights at which it was saved.
        """
        if self._used:
            raise RuntimeError("load_state_dict needs fresh CausalScores; these were used.")
        self._book.load_state_dict(state)

    def save(self, path: str | os.PathLike) -> None:
        """Write `state_dict()` to the file `path`, in one move: an old file is whole until then."""
        check_room("Saving causal scores", self.nbytes, Path(path))
        with replacing(path) as draft:
            torch.save(self.state_dict(), draft)

    def load(self, path: str | os.PathLike) -> CausalScores:
        """`load_state_dict` of what `save` wrote; returns itself."""
        self.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return self

    def _complain(self) -> None:
        complaints = self._book.complaints()
        if complaints:
            warnings.warn(". Also, ".join(complaints) + ".", stacklevel=3)

    def _must_be_open(self) -> None:
        if not self._open:
            raise RuntimeError("CausalScores works inside its with block only.")
