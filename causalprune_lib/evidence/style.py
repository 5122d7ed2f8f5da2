"""How the book's figures look: readable on a phone and in dark mode, and safe in their colours.

The colours are those of Okabe and Ito (2008), chosen to differ for every common kind of colour
vision; yellow is left out because it fades on white. Nothing changes until `use_style` is called.
"""

from __future__ import annotations

import matplotlib as mpl

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
BLACK, ORANGE, SKY, GREY = "#000000", "#E69F00", "#56B4E9", "#595959"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, BLACK, ORANGE, SKY)  # the first five: 3:1 on white

STYLE = {
    "figure.figsize": (6.4, 4.2),
    "figure.dpi": 150,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "font.size": 12,
    "axes.labelsize": 13,
    "axes.titlesize": 13,
    "legend.frameon": False,
    "axes.prop_cycle": mpl.cycler(color=PALETTE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#D9D9D9",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "lines.linewidth": 2.0,
    "lines.markersize": 7,
    "text.color": BLACK,
    "axes.labelcolor": BLACK,
    "axes.edgecolor": GREY,
    "xtick.color": BLACK,
    "ytick.color": BLACK,
}


class use_style:
    """Set the book's figure style: for good by `use_style()`, or for one block.

    >>> import matplotlib
    >>> before = matplotlib.rcParams["font.size"]
    >>> with use_style():
    ...     matplotlib.rcParams["font.size"]
    12.0
    >>> matplotlib.rcParams["font.size"] == before
    True
    """

    def __init__(self) -> None:
        self._before = {name: mpl.rcParams[name] for name in STYLE}
        mpl.rcParams.update(STYLE)

    def __repr__(self) -> str:
        return "the book's figure style is set"

    def __enter__(self) -> use_style:
        return self

    def __exit__(self, *error: object) -> None:
        mpl.rcParams.update(self._before)
