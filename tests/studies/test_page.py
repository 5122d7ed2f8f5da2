"""What the helpers of the pages say and show."""

from __future__ import annotations

import math

import pandas as pd
import pytest

import causalprune_studies as book
from causalprune_lib.evidence.estimate import Estimate
from causalprune_lib.evidence.statistics import PairedDifference, paired_difference
from causalprune_lib.evidence.verdict import Verdict
from causalprune_studies import page
from causalprune_studies.judge import Claim, NotMeasuredError


def gap(mean, low, high):
    return PairedDifference("a", "b", 3, mean, low, high, 0.5, 1, 1, 1, 0, 0.95)


@pytest.mark.parametrize(
    ("numbers", "unit", "said"),
    [
        ((0.0123, -0.0003, 0.0249), "", "+0.012 (−0.000 to +0.025)"),
        ((0.0123, -0.0003, 0.0249), "points", "+1.2 points (−0.0 to +2.5)"),
        ((0.5, 0.45, 0.55), "% of the weights", "+50.0 % of the weights (+45.0 to +55.0)"),
        ((-123.4, -150, -96.8), "epochs", "−123 epochs (−150 to −97)"),
        ((1e-9, 0.5e-9, 1.5e-9), "nats", "+1.00e−09 nats (+5.00e−10 to +1.50e−09)"),
        ((0.02, math.nan, math.nan), "of a trade-off", "+0.0200 of a trade-off (no interval)"),
        ((0.5, 0.5, 0.5), "", "+0.500 (+0.500 to +0.500)"),
        ((0.0, 0.0, 0.0), "points", "+0.0 points (+0.0 to +0.0)"),
        ((math.nan,) * 3, "points", "not measurable"),
    ],
)
def test_a_difference_is_said_with_two_digits_of_its_interval(numbers, unit, said):
    assert book.say(gap(*numbers), unit) == said
    row = pd.Series(dict(zip(("mean", "low", "high"), numbers, strict=True)))
    assert book.say(row, unit) == said
    (as_tuple,) = row.to_frame().T.itertuples()
    assert book.say(as_tuple, unit) == said


@pytest.mark.parametrize(
    ("interval", "unit", "said"),
    [
        ((-0.0051, 0.0059), "points", "0.59 points"),
        ((-0.161, 0.12), "points", "17 points"),
        ((0.02, 0.0401), "", "0.041"),
        ((-123.4, -1.0), "epochs", "130 epochs"),
        ((0.0, 0.0), "points", "0 points"),
        ((math.nan, math.nan), "points", "not known"),
    ],
)
def test_the_largest_that_a_difference_can_be_is_rounded_up(interval, unit, said):
    assert book.at_most(gap(sum(interval) / 2, *interval), unit) == said


@pytest.mark.parametrize(
    ("low", "high", "unit", "said"),
    [
        (-0.0056, 0.0081, "points", "no more than 0.9 points apart"),
        (-0.0199, 0.0, "points", "no more than 2.0 points apart"),
        (0.0021, 0.0101, "points", "above, by no more than 1.1 points"),
        (-0.0101, -0.0021, "", "below, by no more than 0.011"),
        (-0.0101, 0.0201, "points", "one cannot tell"),
        (-0.021, -0.001, "points", "below"),
        (0.01, 0.02, "", "above"),  # on the margin is not inside it
        (math.nan, math.nan, "points", "one cannot tell"),
    ],
)
def test_only_an_interval_inside_the_margin_is_read_as_no_more_than(low, high, unit, said):
    assert book.reading(gap((low + high) / 2, low, high), 0.02, unit) == said


@pytest.mark.parametrize("margin", [0, -0.02, math.nan])
def test_a_margin_is_above_zero(margin):
    with pytest.raises(ValueError, match="margin must be above zero"):
        book.reading(gap(0, -1, 1), margin)


def test_a_difference_is_said_as_it_was_drawn():
    frame = pd.DataFrame({"side": [*"aabb"], "seed": [0, 1] * 2, "value": [0.9, 0.8, 0.7, 0.7]})
    found = paired_difference(frame, between="side", a="a", b="b")
    assert book.say(found, "points") == "+15 points (−49 to +79)"


@pytest.fixture
def shown(monkeypatch):
    import IPython.display

    found = []
    monkeypatch.setattr(IPython.display, "display", found.append)
    return found


def test_full_rows_are_given_and_nothing_is_shown(shown):
    rows = book.chapter_rows("what-a-network-can-lose")
    pd.testing.assert_frame_equal(rows, book.measured("what-a-network-can-lose"))
    assert shown == []


def test_rows_that_are_not_measured_are_an_error_with_the_command(monkeypatch):
    monkeypatch.setattr(page, "measured_names", list)
    with pytest.raises(NotMeasuredError, match=r"python -m causalprune_studies run legcnet"):
        book.chapter_rows("legcnet")


ONE = {"claim": "A claim (section 1).", "measure": "points", "says": "above", "control": "chance"}


def test_criteria_are_a_list():
    claim = Claim("one", "A claim.", "points", "above", (-1, 1), "chance", None)
    found = book.criteria((claim,)).data
    assert found.startswith("- *one*: points: above 0, and as large as the paper's or 1")
    near = Claim("two", "A", "points", "within", (-1, 1), "c", None, least_scale={"images": 0.5})
    assert "Decided only at 50% of its images" in book.criteria((near,)).data


def test_a_claim_is_a_box_with_a_line_for_each_verdict():
    found = Estimate(3.0, 2.0, 4.0, 3, "networks")
    options = {"estimate": found, "control_estimate": found.times(0.5), "paper_effect": 4.0}
    first = Verdict(**ONE, margin=(-1, 1), dataset="iris", scale={"images": 0.2}, **options)
    other = Verdict(**ONE, margin=(-1, 1), dataset="digits", estimate=None, note="no rows")
    box = book.verdict_boxes({"one": (first, other)}).data
    assert box.startswith(":::{admonition} Verdict: one\n:class: verdict\n")
    does_too = "reproduced, and the control does it too"
    assert f"| iris | {does_too} | 3.0 (2.0 to 4.0) | 3 networks | 4 | 1.50 (1.00 to 2.00) |" in box
    assert "| digits | not tested |" in box
    assert "Control: chance. Of the paper's scale: images 20%.\n" in box
    assert box.endswith("- digits: no rows.\n:::")
    assert "paper" not in book.verdict_boxes({"one": (other,)}).data  # no column of nothing


def test_quick_rows_and_unknown_names_are_refused(monkeypatch):
    quick = book.measured("what-a-network-can-lose").assign(profile="quick")
    monkeypatch.setattr(page, "measured", lambda name: quick)
    with pytest.raises(ValueError, match='profile "full"'):
        book.chapter_rows("what-a-network-can-lose")
    with pytest.raises(ValueError, match="Did you mean 'legcnet'"):
        book.chapter_rows("legcnett")
