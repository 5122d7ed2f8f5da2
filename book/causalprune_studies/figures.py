"""The verdicts of many chapters in one figure: a mark for every claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.style import BLUE, GREY, canvas

MARKS = {  # as full as the claim stands
    "reproduced": {"marker": "o", "color": BLUE},
    "partly": {"marker": "o", "color": BLUE, "fillstyle": "left", "markerfacecoloralt": "white"},
    "not reproduced": {"marker": "o", "color": BLUE, "fillstyle": "none"},
    "not tested here": {"marker": "x", "color": GREY},
}


def plot_verdicts(verdicts: Mapping[str, Sequence[str]], *, ax: Axes | None = None) -> Axes:
    """A row for each chapter and a mark for each claim: full, half or empty, as it stands.

    Parameters
    ----------
    verdicts : mapping of str to sequence of str
        Chapter -> the verdicts of its claims, as `Verdict` has them. The fullest come first.
    ax : Axes, optional
        Where to draw.

    Examples
    --------
    >>> ax = plot_verdicts({"4 Granger causality": ["partly", "not reproduced"]})
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['4 Granger causality']
    """
    order = list(MARKS)
    for found in verdicts.values():
        for verdict in found:
            check_choice("verdicts: each", verdict, order)
    with canvas(ax) as ax:
        for row, found in enumerate(verdicts.values()):
            for place, verdict in enumerate(sorted(found, key=order.index)):
                ax.plot(place + 1, row, linestyle="", markersize=13, mew=2, **MARKS[verdict])
        ax.set_yticks(range(len(verdicts)), list(verdicts))
        ax.set(ylim=(len(verdicts) - 0.5, -0.5), xlabel="Claims")
        widest = max(map(len, verdicts.values()), default=1)
        ax.set_xlim(0.4, widest + 0.6)
        ax.grid(axis="x", visible=False)
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0, labelcolor="black", color=GREY)
        handles = [
            Line2D([], [], linestyle="", markersize=10, mew=2, label=name, **style)
            for name, style in MARKS.items()
        ]
        ax.figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    return ax
