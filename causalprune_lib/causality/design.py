"""A lasso problem in its own units: centred where asked, scaled, its column norms known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from causalprune_lib._validation import check_finite, check_shape
from causalprune_lib.causality.columns import Columns

EPS = np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False)
class Design:
    """The problem 1/2 |y - Z w|^2 + lam |w|_1 that the solvers see.

    Z = (X - mean) / scale and y = (effect - y_mean) / y_scale, both without copying X. So
    coef = y_scale w / scale in the units of the data.

    Attributes
    ----------
    columns : Columns (T, P)
    y : array (T,)
    scale, mean : array (P,)
        `scale` is one number for all columns, or the root mean square of each.
    norms : array (P,)
        |z_k|; 0 for a column that never varies.
    zy : array (P,)
        Z^T y.
    y_scale, y_mean : float
    unit : float
        alpha in units of the data is `unit` times lam / T.
    """

    columns: Columns
    y: np.ndarray
    scale: np.ndarray
    mean: np.ndarray
    norms: np.ndarray
    zy: np.ndarray
    y_scale: float
    y_mean: float
    unit: float

    @classmethod
    def of(
        cls,
        columns: Columns,
        effect: np.ndarray,
        *,
        standardise: bool = False,
        fit_intercept: bool = False,
        rescale: bool = True,
    ) -> Design:
        """Read the columns once. `rescale=False` leaves the units alone unless standardised.

        Raises
        ------
        ValueError
            There are no rows, the lengths differ, or a value is NaN or infinite.
        """
        n_rows, n_columns = columns.shape
        if n_rows == 0 or n_columns == 0:
            raise ValueError(f"x must have at least one row and one column; got {columns.shape}.")
        effect = np.asarray(effect, np.float64)
        check_shape("y", effect, (n_rows,))
        check_finite("y", effect)
        y_mean = float(effect.mean()) if fit_intercept else 0.0
        y = effect - y_mean
        y_scale = float(np.sqrt(np.mean(y**2))) if rescale else 1.0
        y = y / (y_scale := y_scale or 1.0)
        total, squares, zy = np.zeros((3, n_columns))
        with np.errstate(over="ignore", invalid="ignore"):
            for rows, part, values in columns.blocks():
                total[part] += values.sum(0) if fit_intercept else 0.0
                squares[part] += np.einsum("tp,tp->p", values, values)
                zy[part] += values.T @ y[rows]
        _check_columns(squares)
        mean = total / n_rows
        centred = squares - n_rows * mean**2
        centred[centred <= 4 * n_rows * EPS * squares] = 0.0  # constant, up to rounding
        norms = np.sqrt(centred)
        common = float(norms.max() / np.sqrt(n_rows)) or 1.0
        if standardise:
            scale = np.where(norms > 0, norms / np.sqrt(n_rows), 1.0)
        else:
            scale = np.full(n_columns, common if rescale else 1.0)
        unit = y_scale * (1.0 if standardise else float(scale[0]))
        zy = np.where(norms > 0, zy - mean * y.sum(), 0.0) / scale
        return cls(columns, y, scale, mean, norms / scale, zy, y_scale, y_mean, unit)

    @property
    def n_rows(self) -> int:
        """T."""
        return self.columns.shape[0]

    def correlate(self, residual: np.ndarray) -> np.ndarray:
        """Z^T residual (P,): one pass."""
        found = np.zeros(self.columns.shape[1])
        for rows, part, values in self.columns.blocks():
            found[part] += values.T @ residual[rows]
        return np.where(self.norms > 0, found - self.mean * residual.sum(), 0.0) / self.scale

    def gather(self, index: np.ndarray) -> np.ndarray:
        """Z's columns (T, w): one pass. They must be those whose norms were read before."""
        z = self.columns.gather(index)
        z -= self.mean[index]
        z /= self.scale[index]
        squares, before = np.einsum("tw,tw->w", z, z), self.norms[index] ** 2
        rounding = EPS * self.n_rows**2 * (self.mean[index] / self.scale[index]) ** 2
        moved = ~(np.abs(squares - before) <= 1e-6 * before + 8 * rounding)
        if moved.any():
            k = int(np.argmax(moved))
            raise RuntimeError(
                "x must be the same at every pass (was the recording written to, or the replay "
                f"not repeated exactly?); {int(moved.sum())} of {len(index)} columns changed, "
                f"column {index[k]} from a sum of squares of {before[k]:.6g} to {squares[k]:.6g}."
            )
        return z

    def rows(self) -> Iterator[np.ndarray]:
        """Each row of Z, (P,)."""
        for row in self.columns.rows():
            yield np.where(self.norms > 0, row - self.mean, 0.0) / self.scale

    def coef(self, w: np.ndarray, index: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Coefficients in units of the data, of all columns or those numbered `index`."""
        return self.y_scale * w / self.scale[index]


def _check_columns(squares: np.ndarray) -> None:
    finite = np.isfinite(squares)
    if not finite.all():
        raise ValueError(
            f"x must be finite, and small enough to be squared; got {int((~finite).sum())} columns "
            f"with NaN, infinite or too large values, the first is column {int(finite.argmin())}."
        )
