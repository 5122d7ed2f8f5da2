"""The table of all verdicts: its places on one scale, its page and its data."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest

from causalprune_lib.evidence.estimate import Estimate
from causalprune_lib.evidence.verdict import WORDS, Verdict
from causalprune_studies import overview

PAGE = SimpleNamespace(PAGE="08-causal-pruning", TITLE="Causal pruning")
COMMON = {"claim": "a claim", "measure": "points", "control": "a control"}


def verdict(effect, low, high, *, says="above", margin=(-1, 1), **options):
    found = Estimate(effect, low, high, 3, "networks", sd=1.0, ratio=options.pop("ratio", False))
    return Verdict(**COMMON, says=says, margin=margin, estimate=found, **options)


@pytest.mark.parametrize(
    ("one", "places"),
    [
        (verdict(5, 0, 10, paper_effect=10), (0, 0.5, 1)),
        (verdict(2, 1, 3), (1, 2, 3)),  # of the smallest effect of interest
        (verdict(-5, -10, 0, says="below", paper_effect=-10), (0, 0.5, 1)),
        (verdict(-1, -2, 0, says="not below"), (-1, 0, 1)),  # the margin's end, and no loss
        (verdict(1, 0, 2, says="not above"), (-1, 0, 1)),
        (verdict(0.5, 0, 1, says="within"), (0, 0.5, 1)),
        (verdict(0, -0.5, 0.5, says="within"), (0.5, 1, 1)),
        (
            verdict(0.1, 0.01, 1, says="below", margin=(0.01, 100), none=1, ratio=True),
            (0, 0.5, 1),
        ),
    ],
)
def test_nothing_is_at_0_and_the_claim_at_1(one, places):
    assert overview.positions(one, one.estimate) == pytest.approx(places)


def test_the_table_draws_what_was_measured_and_lists_what_was_not():
    far = verdict(50, -40, 140, dataset="cifar10", cell="95% <pruned>")
    bare = Verdict(**COMMON, says="above", margin=(-1, 1), estimate=None, asked_by="book")
    page = overview.forest_table(((PAGE, "one", far), (PAGE, "two", bare)))._repr_html_()
    assert page.count("<svg") == 1
    assert page.count("<path") == 2  # an arrow at both ends
    assert "95% &lt;pruned&gt;" in page
    assert "book’s own question" in page
    assert "undecided" in page
    assert "not tested" in page


def test_the_data_say_all_that_was_asked(monkeypatch):
    one = verdict(5, 0.5, 10, paper_effect=10, scale={"images": 0.2}, dataset="cifar10")
    monkeypatch.setattr(overview, "all_verdicts", lambda: [(PAGE, "one", one)])
    (row,) = json.loads(overview.verdicts_as_json())
    needed = "claim chapter dataset word effect low high paper_effect margin_low margin_high "
    needed += "n_units unit scale control_does_it"
    assert set(needed.split()) <= row.keys()
    assert (row["claim"], row["chapter"], row["word"]) == ("one", PAGE.PAGE, "reproduced")
    assert (row["n_units"], row["unit"], row["scale"]) == (3, "networks", {"images": 0.2})
    counts = overview.words_by_chapter([(PAGE, "one", one)] * 2)
    assert counts.index.tolist() == list(WORDS)
    assert counts.loc["reproduced"].to_dict() == {"8": 2, "all": 2}
    assert counts.to_numpy().sum() == 4


def test_numbers_sort_by_what_the_reader_sees_and_gaps_have_no_place():
    one = verdict(5, 0, 10, paper_effect=20)
    bare = Verdict(**COMMON, says="above", margin=(-1, 1), estimate=None)
    page = overview.forest_table(((PAGE, "one", one), (PAGE, "two", bare)))._repr_html_()
    keys = re.findall(r'data-name="(effect|paper|from)[^"]*" data-order="([^"]*)"', page)
    assert keys == [
        *(("effect", "5"), ("paper", "20"), ("from", "0.25")),
        *(("effect", ""), ("paper", ""), ("from", "")),
    ]


def test_the_text_says_what_was_measured_and_where_as_readers_call_it(monkeypatch):
    one = verdict(5, 0.5, 10, paper_effect=10, dataset="cifar10", cell="95% pruned")
    monkeypatch.setattr(overview, "all_verdicts", lambda: [(PAGE, "one", one)])
    line = overview.verdicts_as_text()
    assert line.startswith("08  one (CIFAR-10, 95% pruned): reproduced; 5.0 (0.5 to 10.0; ")
    assert line.endswith(") points")
