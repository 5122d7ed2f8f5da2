"""The word of a verdict follows from its evidence, and a verdict rests on full rows alone."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from causalprune_lib.evidence.estimate import Estimate
from causalprune_lib.evidence.verdict import SAYS, WORDS, Verdict, require_full

REPRODUCED, TOO, PARTLY, CONTRADICTED, UNDECIDED, TOO_SMALL, NOT_TESTED = WORDS
MIRROR = {"above": "below", "not below": "not above", "within": "within"}
MIRROR |= {there: here for here, there in MIRROR.items()}


def interval(low, high):
    return Estimate((low + high) / 2, low, high, 3, "networks", sd=1.0)


def claim(low, high, *, says="above", margin=(-1.0, 1.0), **more):
    return Verdict(
        claim="a beats b.",
        measure="points of accuracy, a minus b",
        says=says,
        margin=margin,
        estimate=interval(low, high),
        control="random masks at the same counts",
        **more,
    )


ENDS = (-4.0, -1.5, -0.5, 0.0, 0.5, 1.5, 4.0)
INTERVALS = [interval(*ends) for ends in itertools.combinations(ENDS, 2)]
FEW = (None, *(interval(*ends) for ends in ((-4, 4), (-4, -1.5), (-0.5, 0.5), (0.5, 4))))
LEADS = [(control, lead) for control in FEW for lead in FEW if control or not lead]


def grid(*, says=SAYS, leads=LEADS):
    """Claims of all kinds with all intervals, with and without controls, as far as asked for."""
    places = itertools.product(says, ((-1.0, 1.0), (0.0, 1.0)), (None, 2.0, -2.0), INTERVALS, leads)
    for kind, margin, paper, found, (control, lead) in places:
        yield claim(
            found.low,
            found.high,
            says=kind,
            margin=(-margin[1], -margin[0]) if kind in ("below", "not above") else margin,
            paper_effect=paper,
            control_estimate=control,
            beyond_control=lead,
        )


ALL = [(verdict, verdict.word) for verdict in grid()]
ALONE = [(verdict, verdict.word) for verdict in grid(leads=[(None, None)])]


def of(word, verdicts=ALL):
    """The verdicts of one word, of which there must be some for a test to say anything."""
    found = [verdict for verdict, its in verdicts if its == word]
    assert found
    return found


def test_an_interval_that_holds_none_and_the_papers_effect_is_always_undecided():
    held = [
        word
        for v, word in ALL
        if v.says in ("above", "below")
        and v.estimate.low <= min(v.none, v.target)
        and max(v.none, v.target) <= v.estimate.high
    ]
    assert {*held} == {UNDECIDED}


def test_a_wider_interval_never_decides_what_was_undecided():
    for verdict in of(UNDECIDED):
        low, high = verdict.estimate.low, verdict.estimate.high
        for down, up in ((0, 0.5), (0.5, 0), (9, 0), (0, 9), (9, 9)):
            wider = replace(verdict, estimate=interval(low - down, high + up))
            assert wider.word == UNDECIDED


def test_contradicted_excludes_the_papers_effect_and_all_that_would_matter():
    for verdict in of(CONTRADICTED):
        found, (least, most) = verdict.estimate, verdict.margin
        if verdict.says == "above":
            assert found.high < min(verdict.target, most)
        if verdict.says == "below":
            assert found.low > max(verdict.target, least)


def test_a_control_that_shows_the_same_always_changes_reproduced():
    for verdict in of(REPRODUCED, ALONE):
        assert replace(verdict, control_estimate=verdict.estimate).word == TOO


def test_reproduced_beside_a_control_means_that_the_control_does_not_do_it():
    beside = [v for v in of(REPRODUCED) if v.control_estimate is not None]
    assert {v.control_does_it for v in beside} == {False}
    assert {v.control_does_it for v in of(TOO)} == {True}


def test_without_its_control_nothing_is_reproduced():
    for verdict, word in ALONE:
        missing = replace(verdict, control_missing=True).word
        assert missing == (UNDECIDED if word == REPRODUCED else word)


def test_a_control_changes_no_other_word():
    for verdict, word in ALL:
        alone = replace(verdict, control_estimate=None, beyond_control=None).word
        assert word == alone or alone == REPRODUCED


def test_a_test_that_fails_where_the_answer_is_known_tests_nothing():
    for verdict, word in ALL:
        assert replace(verdict, passes_where_known=False).word == NOT_TESTED
        assert replace(verdict, passes_where_known=True).word == word


def test_below_the_least_scale_nothing_is_decided():
    for verdict, word in ALONE:
        least = {"images": 0.5, "epochs": 0.1}
        scaled = replace(verdict, scale={"images": 0.49, "epochs": 1.0}, least_scale=least)
        assert scaled.word == TOO_SMALL
        assert replace(scaled, scale={"images": 0.5, "epochs": 0.1}).word == word


def test_a_claim_said_the_other_way_round_gets_the_same_word():
    def turned(found):
        return None if found is None else found.times(-1)

    for verdict, word in ALL:
        paper = verdict.paper_effect
        mirrored = replace(
            verdict,
            says=MIRROR[verdict.says],
            margin=(-verdict.margin[1], -verdict.margin[0]),
            paper_effect=None if paper is None else -paper,
            estimate=turned(verdict.estimate),
            control_estimate=turned(verdict.control_estimate),
            beyond_control=turned(verdict.beyond_control),
        )
        assert mirrored.word == word
        assert mirrored.control_does_it == verdict.control_does_it


def test_every_word_can_be_given():
    given = {word for _, word in ALL} | {TOO_SMALL, NOT_TESTED}
    assert given == {*WORDS}


@pytest.mark.parametrize(
    ("ends", "options", "word"),
    [
        ((0.5, 3.0), {"paper_effect": 2.0}, REPRODUCED),
        ((3.0, 5.0), {"paper_effect": 2.0}, REPRODUCED),  # more than the paper's
        ((0.2, 1.5), {"paper_effect": 2.0}, PARTLY),
        ((0.2, 0.8), {"paper_effect": 2.0}, CONTRADICTED),  # above none, and too small to matter
        ((-4.0, -2.0), {}, CONTRADICTED),
        ((-0.5, 1.5), {"paper_effect": 2.0}, UNDECIDED),  # neither the paper's nor without effect
        ((-38.0, 38.0), {"paper_effect": 11.5}, UNDECIDED),
        (
            (0.5, 3.0),
            {"paper_effect": -2.0},
            REPRODUCED,
        ),  # the paper's own row is on the other side
        ((-0.5, 0.5), {"says": "within"}, REPRODUCED),
        ((0.5, 1.5), {"says": "within"}, UNDECIDED),
        ((1.5, 2.5), {"says": "within"}, CONTRADICTED),
        ((-0.5, 9.0), {"says": "not below"}, REPRODUCED),
        ((-3.0, -0.5), {"says": "not below"}, UNDECIDED),
        ((-9.0, -1.5), {"says": "not below"}, CONTRADICTED),
        ((1.5, 9.0), {"says": "not above"}, CONTRADICTED),
        ((0.3, 0.4), {"says": "below", "margin": (0.5, 2.0), "none": 1.0}, REPRODUCED),
    ],
)
def test_words_by_example(ends, options, word):
    assert claim(*ends, **options).word == word


@pytest.mark.parametrize(
    ("control", "lead", "word"),
    [
        ((2.0, 4.0), None, TOO),
        ((2.0, 4.0), (0.5, 2.0), REPRODUCED),  # the method leads its control
        ((2.0, 4.0), (-0.5, 0.5), TOO),
        ((-4.0, 4.0), (-0.5, 0.5), TOO),  # no lead that matters, however wide the control's own
        ((-4.0, 4.0), (-0.5, 1.5), UNDECIDED),
        ((-4.0, 0.5), (-0.5, 9.0), REPRODUCED),  # the control's own interval refutes the claim
        ((-4.0, 4.0), None, UNDECIDED),
    ],
)
def test_a_control_by_example(control, lead, word):
    beyond = None if lead is None else interval(*lead)
    verdict = claim(2.0, 5.0, control_estimate=interval(*control), beyond_control=beyond)
    assert verdict.word == word


def test_nothing_measured_is_not_tested():
    assert replace(claim(1, 2), estimate=None).word == NOT_TESTED


def test_an_undecided_verdict_says_what_would_decide():
    verdict = claim(-4.0, 6.0, paper_effect=2.0)
    power, needed = verdict.estimate.power(2.0), verdict.estimate.units_needed(2.0)
    assert verdict.decides == f"power {power:.0%} for the paper's effect; {needed} networks for 80%"
    without = claim(-4.0, 6.0).decides  # of the smallest effect of interest, which is 1
    assert without.startswith(f"power {verdict.estimate.power(1.0):.0%} for an effect that matters")
    assert claim(3.0, 6.0, paper_effect=2.0).decides == ""


@pytest.mark.parametrize(
    ("ends", "options", "distance"),
    [
        ((-1.19, -0.42), {"says": "not below"}, 1 - 0.805),  # from the margin's end
        ((0.42, 1.19), {"says": "within"}, 1 - 0.805),
        ((-2.0, 8.0), {"paper_effect": 32.0}, 3.0),  # from none: the nearer end is the margin's
        ((-8.0, 2.0), {"paper_effect": 32.0}, 4.0),  # from the margin's end
    ],
)
def test_enough_units_and_undecided_says_how_many_tell_what_was_found(ends, options, distance):
    middle, half = sum(ends) / 2, (ends[1] - ends[0]) / 2
    found = Estimate(middle, *ends, 10, "starts", sd=1.4 * half)
    verdict = replace(claim(*ends, **options), estimate=found)
    assert verdict.word == UNDECIDED
    needed = found.units_needed(distance)
    assert needed > 10
    assert verdict.decides.endswith(f": {needed} starts for 80%")


def test_a_row_holds_word_effect_interval_margin_units_scale_and_control():
    verdict = claim(
        1.5,
        2.5,
        paper_effect=2.0,
        scale={"images": np.float64(0.2)},
        control_estimate=interval(0, 1),
    )
    row = json.loads(json.dumps(verdict.to_row()))
    assert row["word"] == verdict.word
    assert [row[name] for name in ("effect", "low", "high", "paper_effect")] == [2, 1.5, 2.5, 2]
    assert [row[name] for name in ("margin_low", "margin_high", "none")] == [-1, 1, 0]
    assert (row["n_units"], row["unit"], row["scale"]) == (3, "networks", {"images": 0.2})
    assert row["control_does_it"] is verdict.control_does_it
    empty = replace(verdict, estimate=None, control_estimate=None).to_row()
    assert (empty["effect"], empty["n_units"], empty["unit"]) == (None, 0, "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"says": "abov"}, "Did you mean 'above'"),
        ({"claim": " "}, "claim must be a sentence"),
        ({"measure": ""}, "measure must be a sentence"),
        ({"control": ""}, "control must be a sentence"),
        ({"dataset": ""}, "dataset must be a sentence"),
        ({"margin": (1.0, 2.0)}, "margin must hold 0"),
        ({"margin": (0.0, 0.0)}, "margin must hold 0"),
        ({"margin": (2.0, -2.0)}, "margin must hold 0"),
        ({"least_scale": {"images": 0.5}}, "least_scale"),
        ({"scale": {"images": np.nan}}, r"scale\['images'\] must be a finite number; got nan"),
        ({"paper_effect": np.nan}, "paper_effect must be a finite number; got nan"),
        ({"estimate": Estimate.of_ratio([1, 2], units="networks")}, "margin of a ratio must be"),
    ],
)
def test_a_verdict_that_says_too_little_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(claim(1, 2), **change)


def full_rows(n_seeds=4):
    """Rows as run_grid writes them at profile full, from a clean commit."""
    return pd.DataFrame(
        {
            "method": ["a"] * n_seeds + ["b"] * n_seeds,
            "seed": [*range(n_seeds)] * 2,
            "profile": "full",
            "metric": "accuracy",
            "value": [0.9 + 0.01 * k for k in range(n_seeds)] + [0.8] * n_seeds,
            "error": np.nan,
            "seconds": 1.5,
            "started": "2025-01-01T00:00:00Z",
            "device": "cpu",
            "cpu": "some processor",
            "python": "3.12.0",
            "torch": "2.13.0",
            "numpy": "2.0.0",
            "causalprune_lib": "0.1.0",
            "commit": "0" * 40,
            "dirty": False,
        }
    )


def test_full_rows_pass_unchanged():
    frame = full_rows()
    assert require_full(frame) is frame
    for change in ({"dirty": "False"}, {"profile": "paper"}):  # as read from a file; on a GPU
        assert len(require_full(frame.assign(**change))) == len(frame)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("profile", "quick"),
        ("profile", np.nan),
        ("commit", np.nan),
        ("commit", ""),
        ("dirty", True),
        ("dirty", "True"),
        ("dirty", np.nan),
        ("error", "ValueError: no"),
        ("device", np.nan),
        ("seconds", np.nan),
        ("torch", ""),
    ],
)
def test_one_bad_row_is_enough_to_refuse(column, value):
    frame = full_rows().astype({column: object})
    frame.loc[3, column] = value
    with pytest.raises(ValueError, match=rf"{column}.* 1 of 8 rows otherwise"):
        require_full(frame)


@pytest.mark.parametrize("column", ["profile", "commit", "dirty", "seed", "started", "cpu"])
def test_a_missing_column_is_refused(column):
    with pytest.raises(ValueError, match=rf"{column}.* 8 of 8 rows"):
        require_full(full_rows().drop(columns=column))


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="at least one row"):
        require_full(full_rows().iloc[:0])


def test_a_quick_run_of_the_grid_is_refused(grid):
    @dataclass(frozen=True)
    class Study:
        profile: str

        def run(self, seed):
            return {"accuracy": 0.5}

    with pytest.raises(ValueError, match=r'profile "full" or "paper" .* 2 of 2 rows .*quick'):
        require_full(grid([Study("quick")], [0, 1], out=None))
