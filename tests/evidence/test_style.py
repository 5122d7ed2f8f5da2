"""The figures' style: safe colours, and nothing set behind one's back."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from causalprune_lib.evidence.style import PALETTE, STYLE, use_style

OKABE_ITO = ["#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"]


def contrast(colour):
    """Ratio to white as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 1.05 / (np.dot([0.2126, 0.7152, 0.0722], linear) + 0.05)


def test_the_colours_are_okabe_and_itos_and_the_first_five_stand_out_on_white():
    assert set(PALETTE) < set(OKABE_ITO)
    assert len(set(PALETTE)) == len(PALETTE)
    assert min(map(contrast, PALETTE[:5])) >= 3  # WCAG 1.4.11


def test_the_style_is_set_for_good_or_for_a_block():
    before = dict(mpl.rcParams)
    with use_style():
        assert mpl.rcParams["axes.labelsize"] == STYLE["axes.labelsize"]
    assert dict(mpl.rcParams) == before
    with mpl.rc_context():
        use_style()
        assert mpl.rcParams["savefig.facecolor"] == "white"
    with pytest.raises(ZeroDivisionError), use_style():
        raise ZeroDivisionError
    assert dict(mpl.rcParams) == before
