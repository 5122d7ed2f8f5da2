"""How the lines of a figure look, and its axes and legend, beyond what the style sets.

Each line has its own marker and its own dashes beside its colour, so that no reader depends on
colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from causalprune_lib.evidence.style import PALETTE, use_style

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (8, 3)))
SAME_EVERYWHERE = {"magnitude": 0, "random": 1, "causal": 2, "inverse": 3, "dense": 4}


def line_styles(names: Iterable[Any]) -> dict[Any, dict[str, Any]]:
    """Colour, marker and dashes for each name; the usual methods look the same in every figure."""
    names = list(names)
    taken = {SAME_EVERYWHERE[name] for name in names if name in SAME_EVERYWHERE}
    free = (place for place in count() if place not in taken)
    looks = {}
    for name in names:
        place = SAME_EVERYWHERE[name] if name in SAME_EVERYWHERE else next(free)
        looks[name] = {
            "color": PALETTE[place % len(PALETTE)],
            "marker": MARKERS[place % len(MARKERS)],
            "linestyle": DASHES[place % len(DASHES)],
        }
    return looks


@contextmanager
def canvas(ax: Axes | None) -> Iterator[Axes]:
    """The given Axes in the style it has, or a new one in the book's style."""
    if ax is not None:
        yield ax
        return
    with use_style():
        yield plt.subplots(layout="constrained")[1]


def percent() -> FuncFormatter:
    """Tick labels that show the fraction 0.9 as 90; the axis label carries the sign."""
    return FuncFormatter(lambda fraction, _: f"{round(100 * fraction, 9):g}")


def legend_above(ax: Axes, handles: Sequence[Artist] | None = None, *, right: bool = False) -> None:
    """A legend over the plot, where it hides no data, from its left or up to its `right` end."""
    handles = ax.get_legend_handles_labels()[0] if handles is None else handles
    if handles:
        longest = max(len(str(handle.get_label())) for handle in handles)
        ax.legend(
            handles=handles,
            loc="lower right" if right else "lower left",
            bbox_to_anchor=(float(right), 1.02),
            ncols=3 if longest <= 14 else 2,
            borderaxespad=0,
        )


def log_percent_with_zero(ax: Axes, values: np.ndarray) -> None:
    """A logarithmic y axis of fractions up to 1, with a place for 0 where `values` has one."""
    lowest = 10.0 ** np.floor(np.log10(values[values > 0].min(initial=1.0)))
    marks = [10.0**power for power in range(round(np.log10(lowest)), 1)]
    if (values == 0).any():
        ax.set_yscale("symlog", linthresh=lowest, linscale=0.4)
        ax.set_ylim(0, 1)
        marks = [0, *marks]
    else:
        ax.set_yscale("log")
        ax.set_ylim(lowest, 1)
    ax.yaxis.set_major_locator(FixedLocator(marks))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(percent())
