"""Which change of the loss belongs to which update, and with what step size it is booked.

The state behind `CausalScores`, apart from hearing steps (`streaming`) and from reading the result
(`score_reading`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.causality.increment_sums import Read, SquareSums
from causalprune_lib.causality.momentum import MomentumSums, PaperMomentumSums
from causalprune_lib.causality.step_sizes import check_step_sizes, solver_step_sizes
from causalprune_lib.dynamics.room import Bytes, check_room
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.parameters import ParameterLayout

LOSSES = ("two_batch", "same_batch")
FORMS = {"vanilla": SquareSums, "momentum": MomentumSums, "momentum_paper": PaperMomentumSums}
SETTINGS = ("loss", "form", "sizes", "plain")
COUNTS = ("n_recorded", "n_dropped", "n_late", "total_step", "sum_y", "sum_yy")
COUNTS += ("last_loss", "waiting", "finished")  # of the update that was made last


class UpdateBook:
    """Books one update after the other.

    Parameters
    ----------
    layout : ParameterLayout
        Of the weights.
    loss, form
        As in `CausalScores`.
    sizes : tensor (T,) or None
        Step sizes; None for ones.
    **vectors
        Of `SquareSums`: dtype, device, plain.

    Attributes
    ----------
    held : SquareSums or None
        The sums; None before the first weights are read.
    n_recorded, n_dropped, n_late : int
        Updates booked, without a finite change of the loss, and beyond T.
    total_step, sum_y, sum_yy : float
        sum_t w_t, sum_t y_t and sum_t y_t^2 over booked updates.
    waiting : bool
        Whether the last update waits for its second loss.
    """

    def __init__(
        self,
        layout: ParameterLayout,
        *,
        loss: str,
        form: str,
        sizes: torch.Tensor | None,
        **vectors: object,
    ) -> None:
        self.layout, self.loss, self.form, self.sizes = layout, loss, form, sizes
        self._vectors, self.plain = vectors, bool(vectors.get("plain"))
        self.held: SquareSums | None = None
        self.n_recorded = self.n_dropped = self.n_late = self.finished = 0
        self.total_step = self.sum_y = self.sum_yy = 0.0
        self.last_loss, self.waiting = math.nan, False

    @property
    def full(self) -> bool:
        """Whether all T announced updates are finished."""
        return self.sizes is not None and self.finished >= len(self.sizes)

    @property
    def nbytes(self) -> Bytes:
        """Bytes of the vectors that are kept."""
        kind, dtype = FORMS[self.form], self._vectors["dtype"]
        return Bytes(kind.bytes_for(self.layout.size, dtype, plain=self.plain))

    def start(self, read: Read) -> None:
        """Make the vectors, and take the weights that the first step leaves from."""
        self.held = self._empty()
        self.held.start(read)

    def replay(self, trajectory: Trajectory) -> None:
        """Take all steps of a recording."""
        if trajectory.layout != self.layout or len(trajectory.index) != self.layout.size:
            raise ValueError(f"trajectory must hold all {self.layout.size:,} weights of the model.")
        if (np.diff(trajectory.steps) != 1).any():
            raise ValueError("trajectory must hold every step (every=1); steps are missing.")
        losses = zip(trajectory.loss_before, trajectory.loss_after, strict=True)
        for weights, (before, after) in zip(trajectory.weights, losses, strict=True):
            now = torch.from_numpy(np.array(weights))
            if self.held is None:
                self.start(lambda row, now=now: row.copy_(now))
            else:
                self.advance(lambda row, now=now: row.copy_(now), float(before), float(after))

    def advance(self, read: Read, before: float, after: float) -> None:
        """A step has been made: its batch's loss was `before`, and is `after` where that counts."""
        if self.loss == "two_batch":
            self.finish(before - self.last_loss)
        self.held.move(read)
        self.last_loss, self.waiting = before, self.held.ready
        if self.loss == "same_batch":
            self.finish(after - before)

    def close(self, loss: float) -> None:
        """Finish the last update with a loss that came after it, if it waits for one."""
        if not self.full:
            self.finish(loss - self.last_loss)

    def finish(self, y: float) -> None:
        """Book the last update, if it waits, with the change `y` of the loss."""
        if not self.waiting:
            return
        self.waiting = False
        if self.full:
            self.n_late += 1
            return
        w = 1.0 if self.sizes is None else float(self.sizes[self.finished])
        self.finished += 1
        if not math.isfinite(y):
            self.n_dropped += 1
            return
        self.held.book(y, w)
        self.n_recorded += 1
        self.total_step += w
        self.sum_y += y
        self.sum_yy += y * y

    def complaints(self) -> list[str]:
        """What a user should know at the end, in sentences; empty if all is well."""
        found = []
        if self.held.moves == 0:
            return [
                "No optimizer step of this model was seen. Without an optimizer, call scores.step()"
            ]
        if self.n_dropped:
            ready = "log(loss=...) before each step" if self.loss == "two_batch" else "the probe"
            found.append(
                f"{self.n_dropped} of {self.finished} updates are not in the sums, because the "
                f"change of their loss is NaN, infinite or missing ({ready} gives it)"
            )
        if self.n_late:
            found.append(
                f"{self.n_late} updates came after the {len(self.sizes)} announced and are not in "
                "the sums (n_steps is too small)"
            )
        elif self.sizes is not None and not self.full:
            found.append(
                f"only {self.finished} of the {len(self.sizes)} announced updates came, so the "
                "step sizes are not quite the solver's (n_steps is too large)"
            )
        return found

    def state_dict(self) -> dict[str, object]:
        """Layout, settings, counts and sums."""
        state = {name: getattr(self, name) for name in (*SETTINGS, *COUNTS)}
        held = None if self.held is None else self.held.state_dict()
        return state | {"layout": self._named_shapes(), "held": held}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take over what `state_dict` gave, if it was recorded with the same settings."""
        shapes = [(name, tuple(shape)) for name, shape in state["layout"]]
        if shapes != self._named_shapes():
            raise ValueError(
                "state must be of a model with the same layers, of the same shapes; got "
                f"{shapes} for {self._named_shapes()}."
            )
        for name in ("loss", "form", "plain"):
            own = getattr(self, name)
            if state[name] != own:
                word = "correlation" if name == "plain" else name
                raise ValueError(
                    f"state must have been recorded with {word}={own!r}; got {state[name]!r}."
                )
        mine, theirs = self.sizes, state["sizes"]
        either = mine is None or theirs is None
        if not (mine is theirs if either else torch.equal(mine, theirs)):
            lengths = ["ones" if s is None else f"T = {len(s)}" for s in (mine, theirs)]
            raise ValueError(
                "state must have been recorded with the same step sizes (n_steps); "
                f"these are {lengths[0]}, those {lengths[1]}."
            )
        if state["held"] is not None:
            self.held = self._empty()
            self.held.load_state_dict(state["held"])
        for name in COUNTS:
            setattr(self, name, state[name])

    def _named_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        return list(zip(self.layout.names, map(tuple, self.layout.shapes), strict=True))

    def _empty(self) -> SquareSums:
        if self._vectors["device"].type == "cpu":
            check_room(f"Streaming scores of {self.layout.size:,} weights", self.nbytes, None)
        return FORMS[self.form](self.layout.size, **self._vectors)


def planned_sizes(
    step_sizes: str | torch.Tensor | np.ndarray | None,
    n_steps: int | None,
    *,
    loss: str,
    form: str = "vanilla",
) -> torch.Tensor | None:
    """The step sizes (T,) of a block of `n_steps` steps; None for ones, however many come.

    Examples
    --------
    >>> len(planned_sizes("solver", 980, loss="two_batch"))
    979
    >>> planned_sizes("constant", None, loss="two_batch") is None
    True
    """
    if step_sizes is not None and not isinstance(step_sizes, str):
        if n_steps is not None:
            raise ValueError("n_steps must be None with a tensor of step_sizes: its length is T.")
        return check_step_sizes(step_sizes)
    kind = "solver" if step_sizes is None else step_sizes
    if check_choice("step_sizes", kind, ["solver", "constant"]) == "constant":
        return None
    if n_steps is None:
        raise ValueError(
            "n_steps must be given: the solver's step sizes depend on the number of steps. "
            'step_sizes="constant" does without.'
        )
    unused = (loss == "two_batch") + FORMS[form].warm_up
    return solver_step_sizes(check_int("n_steps", n_steps, minimum=1 + unused) - unused)
