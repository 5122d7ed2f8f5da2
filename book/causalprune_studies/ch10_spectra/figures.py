"""Figures of chapter 10: spectra of layers and their exponents. Finished numbers in, Axes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from causalprune_lib._validation import check_shape
from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    use_style,
)
from causalprune_studies.ch10_spectra.tables import INSIDE
from causalprune_studies.figures import plot_lines
from causalprune_studies.looks import canvas


@dataclass(frozen=True, eq=False)
class Spectrum:
    """One layer's spectrum, in units of the variance of an entry, and what to hold against it.

    Attributes
    ----------
    eigenvalues : array (M,)
    shuffled : array or None
        Eigenvalues of the same weights in random places, as many as one likes.
    law : tuple of two arrays or None
        Where, and the density of the Marchenko-Pastur law there.
    marks : array or None
        Eigenvalues to mark by ticks; by default all, where they are no more than 60.
    edge : float or None
        The law's upper edge.
    orange : float or None
        The largest eigenvalue of a few shuffled layers, which WeightWatcher marks in orange.
    """

    eigenvalues: np.ndarray
    shuffled: np.ndarray | None = None
    law: tuple[np.ndarray, np.ndarray] | None = None
    marks: np.ndarray | None = None
    edge: float | None = None
    orange: float | None = None


def plot_spectra(
    spectra: Mapping[str, Spectrum], *, columns: int = 1, names: tuple[str, str] = ("layer", "")
) -> Sequence[Axes]:
    """A panel for each spectrum: bars, a tick for each eigenvalue, the law, and the orange line.

    Parameters
    ----------
    spectra : mapping of str to Spectrum
        By the panel's title.
    columns : int
        Panels side by side.
    names : tuple of two str
        What the legend calls the eigenvalues and the shuffled ones.
    """
    rows = -(-len(spectra) // columns)
    with use_style():
        figure, axes = plt.subplots(
            rows, columns, figsize=(6.4, 0.7 + 2.1 * rows), squeeze=False, layout="constrained"
        )
        for ax, (title, spectrum) in zip(axes.flat, spectra.items(), strict=False):
            _spectrum(ax, spectrum, names)
            ax.set_title(title, loc="left", fontsize=12)
        for ax in axes.flat[len(spectra) :]:
            ax.set_axis_off()
        for ax in axes[:, 0]:
            ax.set_ylabel("Density")
        for ax in axes[-1]:
            ax.set_xlabel(
                "Eigenvalue of X (variances of an entry)" if columns == 1 else "Eigenvalue"
            )
        found = [ax.get_legend_handles_labels() for ax in axes.flat]
        labels = {
            label: handle for h, names in found for handle, label in zip(h, names, strict=True)
        }
        figure.legend(labels.values(), labels.keys(), loc="outside upper left", ncols=2)
    return axes.ravel()


def _spectrum(ax: Axes, spectrum: Spectrum, names: tuple[str, str]) -> None:
    """One panel of `plot_spectra`."""
    values = np.asarray(spectrum.eigenvalues)
    every = [values] if spectrum.shuffled is None else [values, np.ravel(spectrum.shuffled)]
    bins = np.histogram_bin_edges(np.concatenate(every), bins=40 if len(values) > 20 else 25)
    if spectrum.shuffled is not None:
        ax.hist(every[1], bins, density=True, color=VERMILLION, alpha=0.35, label=names[1])
        ax.hist(
            values, bins, density=True, histtype="step", color=GREEN, linewidth=1.8, label=names[0]
        )
    else:
        ax.hist(values, bins, density=True, color=SKY, alpha=0.6, label=names[0])
    top = ax.get_ylim()[1]
    marks = spectrum.marks
    if marks is None:
        marks = values if len(values) <= 60 else values[:0]
    ax.plot(marks, np.full(len(marks), -0.06 * top), "|", color=GREEN, markersize=9)
    if spectrum.law is not None:
        ax.plot(*spectrum.law, color=BLACK, linestyle="--", label="Marchenko-Pastur")
    if spectrum.edge is not None:
        ax.axvline(spectrum.edge, color=GREY, linestyle=":", label="edge of the law")
    if spectrum.orange is not None:
        ax.axvline(spectrum.orange, color=ORANGE, linewidth=2.5, label="largest shuffled")


def plot_tails(tails: Mapping[str, tuple[np.ndarray, float, float]]) -> Sequence[Axes]:
    """The share of values at least as large as each value, both axes logarithmic, with a fit.

    Parameters
    ----------
    tails : mapping of str to (values, exponent, where the tail begins)
        By the panel's title.
    """
    with use_style():
        _, axes = plt.subplots(
            1, len(tails), figsize=(6.4, 2.9), sharey=True, squeeze=False, layout="constrained"
        )
        for ax, (title, (values, alpha, xmin)) in zip(axes[0], tails.items(), strict=True):
            values = np.sort(values)
            share = 1 - np.arange(len(values)) / len(values)
            ax.plot(values, share, "o", color=BLUE, markersize=4)
            line = np.array([xmin, values[-1]])
            law = np.mean(values >= xmin) * (line / xmin) ** (1 - alpha)
            ax.plot(line, law, color=VERMILLION, linestyle="--")
            ax.set(xscale="log", yscale="log", xlabel="Value")
            ax.xaxis.set_major_locator(LogLocator())
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.set_title(f"{title}\nexponent {alpha:.2f}", loc="left", fontsize=12)
        axes[0][0].set_ylabel("Share at least as large")
    return axes[0]


def plot_spike(table: pd.DataFrame, *, edge: float, ax: Axes | None = None) -> Axes:
    """The largest eigenvalue of noise with one planted direction, against its strength.

    Parameters
    ----------
    table : DataFrame
        Columns `strength`, `largest` (measured), `theory`.
    edge : float
        Upper edge of the law without the direction.
    """
    require_columns("table", table, ["strength", "largest", "theory"])
    with canvas(ax) as ax:
        ax.plot(table.strength, table.largest, "o", color=BLUE, markersize=4, label="measured")
        means = table.groupby("strength").theory.first()
        ax.plot(means.index, means, color=VERMILLION, linestyle="--", label="theory")
        ax.axhline(edge, color=GREY, linestyle=":", label="edge of the law")
        ax.set_xlabel("Strength of the planted direction (variances of an entry)")
        ax.set_ylabel("Largest eigenvalue")
        ax.legend()
    return ax


def plot_estimates(table: pd.DataFrame, *, truth: float, ax: Axes | None = None) -> Axes:
    """Where estimates of an exponent fall: the middle 95% and 50%, and the median, by sample size.

    Parameters
    ----------
    table : DataFrame
        Columns `n`, `q025`, `q25`, `q50`, `q75`, `q975`; a row for each line of the figure.
    truth : float
        The exponent that the samples were drawn with.
    """
    require_columns("table", table, ["n", "q025", "q25", "q50", "q75", "q975"])
    with canvas(ax) as ax:
        places = np.arange(len(table))[::-1]
        ax.axvspan(*INSIDE, color=SKY, alpha=0.2, linewidth=0)
        ax.axvline(truth, color=BLACK, linestyle="--", linewidth=1.5)
        ax.hlines(places, table.q025, table.q975, color=BLUE, linewidth=2)
        ax.hlines(places, table.q25, table.q75, color=BLUE, linewidth=7)
        ax.plot(table.q50, places, "o", color="white", markeredgecolor=BLACK, zorder=3)
        ax.set_yticks(places, [f"{n:g} values" for n in table.n])
        ax.set_xlabel("Fitted exponent")
        ax.set_ylim(-0.6, len(table) - 0.4)
    return ax


def plot_exponents(
    table: pd.DataFrame,
    *,
    order: Sequence[str],
    marks: pd.DataFrame | None = None,
    ceiling: float = 12,
) -> Sequence[Axes]:
    """Exponents of each network, a panel for each layer, with the band from 2 to 6.

    Parameters
    ----------
    table : DataFrame
        Columns `network`, `layer`, `value`; a row for each seed.
    order : sequence of str
        Networks from top to bottom.
    marks : DataFrame, optional
        Columns `network`, `layer`, `value`: published exponents.
    ceiling : float
        Exponents above are drawn as arrows at the right edge.
    """
    require_columns("table", table, ["network", "layer", "value"])
    layers = list(dict.fromkeys(table.layer))
    with use_style():
        _, axes = plt.subplots(
            1,
            len(layers),
            figsize=(6.4, 0.9 + 0.42 * len(order)),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for ax, layer in zip(axes[0], layers, strict=True):
            ax.axvspan(*INSIDE, color=SKY, alpha=0.2, linewidth=0)
            for place, network in enumerate(reversed(order)):
                one = table[(table.layer == layer) & (table.network == network)].value
                shift = np.linspace(-0.18, 0.18, len(one)) if len(one) > 1 else np.zeros(len(one))
                low = (one <= ceiling).to_numpy()
                ax.plot(one[low], place + shift[low], "o", color=BLUE, markersize=4, alpha=0.8)
                ax.plot(np.full((~low).sum(), ceiling), place + shift[~low], ">", color=BLUE)
                if marks is not None:
                    there = marks[(marks.layer == layer) & (marks.network == network)].value
                    ax.plot(there, np.full(len(there), place), "D", color=VERMILLION, markersize=7)
            ax.set_xscale("log", base=2)
            ticks = [1, 2, 4, 8]
            ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            ax.set_xlim(1, ceiling * 1.05)
            ax.set_title(layer, loc="left", fontsize=12)
            ax.set_xlabel("Exponent")
        axes[0][0].set_yticks(np.arange(len(order)), list(reversed(order)))
    return axes[0]


def plot_clock(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Exponents of the layers as training goes on, with the band from 2 to 6.

    Parameters
    ----------
    table : DataFrame
        Columns `epoch`, `layer` and `value`.
    """
    require_columns("table", table, ["epoch", "layer", "value"])
    labels = {"xlabel": "Epochs", "ylabel": "Exponent"}
    table = table.rename(columns={"value": "mean"})
    ax = plot_lines(table, x="epoch", hue="layer", interval="none", ax=ax, **labels)
    ax.axhspan(*INSIDE, color=SKY, alpha=0.2, linewidth=0)
    ax.set_yscale("log", base=2)
    ax.set_yticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    return ax


def plot_nulls(
    nulls: Mapping[str, np.ndarray], *, marks: Mapping[str, Sequence[float]], ceiling: float = 12
) -> Sequence[Axes]:
    """Histograms of the exponents of layers that were never trained, with marks on the axis.

    Parameters
    ----------
    nulls : mapping of str to array
        By the panel's title.
    marks : mapping of str to sequence of float
        Published exponents of a layer of that shape.
    ceiling : float
        Exponents above are counted in the last bar.
    """
    bins = np.arange(1, ceiling + 0.5, 0.5)
    with use_style():
        _, axes = plt.subplots(
            len(nulls), 1, figsize=(6.4, 1.7 * len(nulls)), sharex=True, layout="constrained"
        )
        for ax, (title, values) in zip(np.atleast_1d(axes), nulls.items(), strict=True):
            ax.axvspan(*INSIDE, color=SKY, alpha=0.2, linewidth=0)
            shares = np.full(len(values), 1 / len(values))
            ax.hist(np.minimum(values, ceiling), bins, weights=shares, color=PURPLE, alpha=0.75)
            top = ax.get_ylim()[1]
            there = marks.get(title, ())
            ax.plot(there, np.full(len(there), 0.06 * top), "D", color=VERMILLION)
            ax.set_title(title, loc="left", fontsize=12)
            ax.set_ylabel("Share")
        last = np.atleast_1d(axes)[-1]
        last.set_xlabel(f"Exponent (the last bar: {ceiling:g} and more)")
    return np.atleast_1d(axes)


def slide_spectra(
    strengths: Sequence[float],
    eigenvalues: np.ndarray,
    *,
    law: tuple[np.ndarray, np.ndarray],
    theory: Sequence[float],
    edge: float,
    bins: int = 40,
):
    """A plotly figure with a slider over the strength of a planted direction.

    All bars are there from the start; the slider only shows and hides.

    Parameters
    ----------
    strengths : sequence of S numbers
        The positions of the slider.
    eigenvalues : array (S, M)
        The spectrum at each position, ascending.
    law : two arrays
        Where, and the density of the law without the direction.
    theory : sequence of S numbers
        Where the largest eigenvalue should be; NaN for the edge of the law.
    edge : float
        The law's upper edge.
    bins : int
        How many bars.
    """
    import plotly.graph_objects as go

    eigenvalues = np.asarray(eigenvalues, float)
    n = len(strengths)
    check_shape("eigenvalues", eigenvalues, (n, None))
    if len(theory) != n:
        raise ValueError(f"theory must be {n} numbers, one per position; got {len(theory)}.")
    expected = [f"at the edge, {edge:.2f}" if np.isnan(x) else f"{x:.2f}" for x in theory]
    titles = [
        f"strength {strength:g}: largest eigenvalue {row[-1]:.2f}<br>theory {place}"
        for strength, row, place in zip(strengths, eigenvalues, expected, strict=True)
    ]
    edges = np.linspace(0, 1.03 * eigenvalues.max(), bins + 1)
    middle = _short((edges[1:] + edges[:-1]) / 2)
    figure = go.Figure()
    figure.add_scatter(
        x=_short(law[0]),
        y=_short(law[1]),
        mode="lines",
        line={"color": BLACK, "dash": "dash"},
        hoverinfo="skip",
    )
    top = 0.0
    for place, row in enumerate(eigenvalues):
        heights = np.histogram(row, edges, density=True)[0]
        top = max(top, heights.max(), np.max(law[1]))
        figure.add_bar(
            x=middle,
            y=_short(heights),
            width=float(edges[1]),
            marker={"color": SKY},
            visible=place == 0,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=_short(row),
            y=[0.0] * len(row),
            mode="markers",
            visible=place == 0,
            marker={"color": GREEN, "symbol": "line-ns-open", "size": 12},
            hovertemplate="eigenvalue %{x}<extra></extra>",
        )
        nowhere = np.isnan(theory[place])
        figure.add_scatter(
            x=[] if nowhere else _short([theory[place]] * 2),
            y=[] if nowhere else _short([0, 0.9 * np.max(law[1])]),
            mode="lines",
            visible=place == 0,
            line={"color": VERMILLION, "dash": "dash"},
            hovertemplate="theory %{x}<extra></extra>",
        )
    steps = [
        {
            "method": "update",
            "label": f"{strength:.2g}",
            "args": [
                {"visible": [True] + [i // 3 == place for i in range(3 * n)]},
                {"title.text": title},
            ],
        }
        for place, (strength, title) in enumerate(zip(strengths, titles, strict=True))
    ]
    figure.update_layout(
        template="plotly_white",
        title={"text": titles[0], "font": {"size": 15}, "x": 0.02, "y": 0.98, "yanchor": "top"},
        font={"size": 13},
        height=430,
        margin={"l": 10, "r": 15, "t": 65, "b": 10},
        showlegend=False,
        sliders=[{"steps": steps, "currentvalue": {"prefix": "strength "}, "pad": {"t": 50}}],
    )
    figure.update_xaxes(title="Eigenvalue of X (variances of an entry)", range=[0, edges[-1]])
    figure.update_yaxes(title="Density", range=[-0.06 * top, 1.05 * top])
    return figure


def _short(values: Sequence[float]) -> list[float]:
    """Three digits are enough for a plot, and make the page small."""
    return [float(f"{value:.3g}") for value in values]
