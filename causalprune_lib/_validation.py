"""Checks of input, all worded alike: `<parameter> must be <requirement>; got <value>.`"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable

import numpy as np
import torch


def check_choice(name: str, value: object, options: Iterable[str]) -> str:
    """Return `value` if it is one of `options`; otherwise say so and offer the nearest match."""
    options = list(options)
    if isinstance(value, str) and value in options:
        return value
    by_lower = {option.lower(): option for option in options}  # "CIFAR10" is near "cifar10"
    near = difflib.get_close_matches(str(value).lower(), by_lower, n=1, cutoff=0.5)
    hint = f" Did you mean {by_lower[near[0]]!r}?" if near else ""
    raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}; got {value!r}.{hint}")


def check_fraction(name: str, value: object, *, closed: bool = True) -> float:
    """Return `value` as a float if it lies in [0, 1] (`closed=True`) or in [0, 1)."""
    interval = "[0, 1]" if closed else "[0, 1)"
    if not _is(numbers.Real, value):
        raise TypeError(f"{name} must be a number in {interval}; got {value!r}.")
    inside = 0 <= value <= 1 if closed else 0 <= value < 1
    if not inside:  # NaN lands here too
        raise ValueError(f"{name} must be in {interval}; got {value!r}.")
    return float(value)


def check_int(name: str, value: object, *, minimum: int = 1) -> int:
    """Return `value` as an int if it is a whole number of at least `minimum`."""
    if not _is(numbers.Integral, value):
        raise TypeError(f"{name} must be a whole number >= {minimum}; got {value!r}.")
    if value < minimum:
        raise ValueError(f"{name} must be >= {minimum}; got {value!r}.")
    return int(value)


def check_positive(name: str, value: object, *, allow_zero: bool = False) -> float:
    """Return `value` as a float if it is finite and above zero (or zero, with `allow_zero`)."""
    right_kind = _is(numbers.Real, value)
    if not right_kind or not math.isfinite(value) or value < 0 or (value == 0 and not allow_zero):
        error = ValueError if right_kind else TypeError
        sign = ">=" if allow_zero else ">"
        raise error(f"{name} must be a finite number {sign} 0; got {value!r}.")
    return float(value)


def _is(kind: type, value: object) -> bool:
    """Whether `value` is a number of this kind; True and False are not."""
    return isinstance(value, kind) and not isinstance(value, bool)


def check_finite(name: str, values: torch.Tensor | np.ndarray) -> None:
    """Raise if `values` holds NaN or infinity, with how many and where the first one stands."""
    finite = torch.isfinite(values) if isinstance(values, torch.Tensor) else np.isfinite(values)
    if bool(finite.all()):
        return
    bad = ~finite
    where = bad.nonzero()[0].tolist() if isinstance(bad, torch.Tensor) else np.argwhere(bad)[0]
    raise ValueError(
        f"{name} must be finite; got {int(bad.sum())} NaN or infinite values, the first at index "
        f"{tuple(int(i) for i in where)}."
    )


def check_shape(
    name: str, values: torch.Tensor | np.ndarray, shape: tuple[int | None, ...]
) -> None:
    """Raise if the shape of `values` differs from `shape`, where None stands for any length."""
    got = tuple(values.shape)
    fits = (want in (None, have) for want, have in zip(shape, got, strict=False))
    if len(got) != len(shape) or not all(fits):
        needed = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape ({needed}); got {got}.")
