"""Masks and rankings from the sums of the causal model."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from causalprune_lib._validation import check_choice
from causalprune_lib.causality.booking import UpdateBook
from causalprune_lib.causality.increment_sums import SquareSums
from causalprune_lib.causality.released_rule import alpha_max, alpha_per_layer, keep_above
from causalprune_lib.dynamics.room import Bytes
from causalprune_lib.nets.parameters import ParameterLayout

Tensors = dict[str, torch.Tensor]  # one per layer, by name and of the shape of its weight
FLAT = 1e-6  # a feature whose variance is below this fraction of its mean square counts as constant


class ScoreReading:
    """The reading half of `CausalScores`; every dictionary has one entry per layer.

    Reading raises RuntimeError where no update has been booked, and ValueError where the model has
    other layers than the recorded ones, or where a sum is NaN or infinite.
    """

    layout: ParameterLayout
    _model: nn.Module
    _book: UpdateBook
    _replaced: tuple[str, ...] = ()

    @property
    def n_recorded(self) -> int:
        """Updates in the sums."""
        return self._book.n_recorded

    @property
    def n_dropped(self) -> int:
        """Updates left out because the change of their loss is NaN, infinite or missing."""
        return self._book.n_dropped

    @property
    def n_late(self) -> int:
        """Updates left out because more came than were announced."""
        return self._book.n_late

    @property
    def n_unfinished(self) -> int:
        """1 if the last update waits for the loss that comes after it, else 0."""
        return int(self._book.waiting)

    @property
    def total_step(self) -> float:
        """sum_t w_t over the updates in the sums."""
        return self._book.total_step

    @property
    def nbytes(self) -> Bytes:
        """Bytes of the vectors that are kept; prints as, say, `8.62 MB`."""
        return self._book.nbytes

    def __repr__(self) -> str:
        size = f"{self.layout.size:,} weights, {self.nbytes}"
        return f"CausalScores({self._book.loss}, {self.n_recorded} updates, {size})"

    @property
    def sums(self) -> Tensors:
        """sum_t w_t dL_t (d theta_kt)^2, in units of the loss times those of squared weights."""
        return self._named(self._held().feature_sums("square"))

    @property
    def movement(self) -> Tensors:
        """sum_t (d theta_kt)^2 over the updates in the sums."""
        held = self._held()
        return self._named(held.movement * held.unit**2)

    @property
    def squared_norms(self) -> Tensors:
        """sum_t (d theta_kt)^4, the squared length of each column of the design, in float64.

        Float64 because fourth powers of increments may be too small for float32. The vanilla form
        only.
        """
        held = self._held(vanilla="squared_norms")
        return self._named(held.squares.double() * held.unit**4)

    def feature_sums(self) -> dict[str, Tensors]:
        """Weighted sums of each feature, by its name.

        With d1 the increment of the step and d0 the one before it: "square" is d1^2, with momentum
        "cross" is d0 d1, and in the paper's form "lagged" is d0^2.
        """
        held = self._held()
        return {name: self._named(held.feature_sums(name)) for name in held.features}

    @property
    def alpha_max(self) -> dict[str, float]:
        """The least alpha at which the released rule keeps nothing, by layer."""
        return alpha_max(self.scores(), total_step=self._book.total_step)

    def alpha_ratio(self, alpha: float | Mapping[str, float]) -> dict[str, float]:
        """alpha / alpha_max by layer: how strong one alpha is in layers of different scale.

        Infinite for a layer whose weights never moved.
        """
        highest = self.alpha_max
        alphas = alpha_per_layer(alpha, highest)
        return {name: alphas[name] / top if top else math.inf for name, top in highest.items()}

    def scores(self, kind: str = "released") -> Tensors:
        r"""A score per weight, higher = kept, for `masks_from_scores` at any amount and scope.

        Parameters
        ----------
        kind : {"released", "movement", "correlation"}
            "released": :math:`|\sum_t w_t \Delta L_t (\Delta\theta_{kt})^2|`. One threshold for all
            layers (`scope="global"`) is what one alpha for all layers does. "movement":
            :math:`\sum_t (\Delta\theta_{kt})^2`. "correlation": the absolute correlation of
            :math:`(\Delta\theta_{kt})^2` with :math:`\Delta L_t` over the updates in the sums, 0
            where one of them does not vary.
        """
        check_choice("kind", kind, ["released", "movement", "correlation"])
        if kind == "movement":
            return self.movement
        if kind == "correlation":
            return self._correlations()
        held = self._held()
        largest = held.feature_sums(held.features[0]).abs_()
        for name in held.features[1:]:
            torch.maximum(largest, held.feature_sums(name).abs_(), out=largest)
        return self._named(largest)

    def support(
        self,
        alpha: float | Mapping[str, float],
        *,
        floor: float | int = 0,
        empty: str = "error",
    ) -> Tensors:
        """What the released code keeps at its L1 coefficient `alpha`; True = keep.

        Weight k is kept if |sum_t w_t dL_t (d theta_kt)^2| > alpha sum_t w_t; with momentum, if
        that holds of one of its features.

        Parameters
        ----------
        alpha : float or mapping of str to float
            > 0, in the units of `sums` over those of w: one for all layers, or one for each.
        floor : int or float
            The least number (int) or fraction (float) of weights that a layer keeps: where fewer
            pass, those with the largest sums are kept.
        empty : {"error", "allow"}
            What to do about a layer that keeps no weight, where the floor is 0.

        Raises
        ------
        ValueError
            alpha is not above 0, or not below `alpha_max` of a layer, which is named.
        """
        options = {"alpha": alpha, "floor": floor, "empty": empty}
        return keep_above(self.scores(), total_step=self._book.total_step, **options)

    def _correlations(self) -> Tensors:
        book, held = self._book, self._held(vanilla="correlation")
        n, products = book.n_recorded, getattr(held, "plain", held.sums)
        if products is held.sums and book.sizes is not None:
            raise RuntimeError(
                "correlation needs the sums without step sizes: pass correlation=True, or "
                'step_sizes="constant".'
            )
        if n < 2:
            raise RuntimeError("correlation needs at least two updates in the sums; got one.")
        spread = n * book.sum_yy - book.sum_y**2
        found = torch.zeros_like(held.sums)
        for name in self.layout.names:  # float64 for one layer at a time
            span = self.layout.span(name)
            x, xx, xy = (v[span].double() for v in (held.movement, held.squares, products))
            variance = n * xx - x * x
            shared = n * xy - book.sum_y * x
            varies = (variance > FLAT * n * xx) & (spread > FLAT * n * book.sum_yy)
            value = shared.abs() / (variance.clamp(min=0) * spread).sqrt()
            found[span] = torch.where(varies, value.clamp(max=1), 0).to(found.dtype)
        return self._named(found)

    def _held(self, *, vanilla: str = "") -> SquareSums:
        book = self._book
        if not book.n_recorded:
            raise RuntimeError(
                "No update is recorded: it takes a step of the model's optimizer in the with block "
                f"and a finite loss before and after it; {book.n_dropped} updates were dropped."
            )
        if vanilla and book.form != "vanilla":
            raise RuntimeError(f"{vanilla} is kept with form='vanilla' only; got {book.form!r}.")
        self.layout.parameters(self._model)  # raises where a layer is gone or has changed
        if self._replaced:
            raise ValueError(
                f"The parameters of {', '.join(self._replaced)} were replaced in the block: the "
                "sums are not those of the model."
            )
        return book.held

    def _named(self, flat: torch.Tensor) -> Tensors:
        tensors = self.layout.unflatten(flat)
        for name, values in tensors.items():
            if not math.isfinite(float(values.sum())) and not bool(values.isfinite().all()):
                raise ValueError(
                    f"The sums of {name!r} hold NaN or infinity: its weights diverged while the "
                    "loss stayed finite."
                )
        return tensors
