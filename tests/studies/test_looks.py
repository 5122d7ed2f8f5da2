"""The lines of the figures: shapes beside colours, and one look for one method."""

from __future__ import annotations

from causalprune_lib.evidence.style import PALETTE
from causalprune_studies.looks import DASHES, MARKERS, line_styles


def test_colour_never_carries_the_difference_alone():
    styles = line_styles(range(len(PALETTE)))
    shapes = [(style["marker"], style["linestyle"]) for style in styles.values()]
    assert len(set(shapes)) == len(shapes)
    assert len(set(MARKERS)) == len(MARKERS)
    assert len(set(DASHES)) == len(DASHES)
    many = [tuple(style.values()) for style in line_styles(range(40)).values()]
    assert len(set(many)) == 40


def test_a_method_looks_the_same_in_every_figure():
    one = line_styles(["random", "magnitude", "new"])
    other = line_styles(["dense", "magnitude", "inverse", "random"])
    assert one["magnitude"] == other["magnitude"]
    assert one["random"] == other["random"]
    assert one["new"] not in (one["magnitude"], one["random"])
