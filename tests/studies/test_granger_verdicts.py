"""Verdicts of the chapter "Granger causality", on rows made up so that the answer is known."""

from __future__ import annotations

import itertools

import pytest
from full_rows import frame

from causalprune_studies.ch04_granger.verdicts import CLAIMS, FOOLED, WIDTHS, verdicts
from causalprune_studies.tables import measured


def calls(*, noise=0.32, found=0.9, false=0.2, share_false=0.7, fooled=1.0, sound=0.05):
    """Rates of the released rule; the corrected one and one F test call `sound` of everything."""
    rows = []
    worlds = (*FOOLED, "independent noise", "true arrows")
    for world, seed, width in itertools.product(worlds, range(5), WIDTHS):
        for rule, series in itertools.product(
            ("as released", "corrected", "one lag, F"), ("as they are", "steps")
        ):
            at = {"world": world, "seed": seed, "samples": width, "rule": rule, "series": series}
            rates = {"false": {"independent noise": noise, "true arrows": false}.get(world, fooled)}
            if world == "true arrows":
                rates |= {"found": found, "share_false": share_false}
            if rule != "as released":
                rates = dict.fromkeys(rates, sound)
            if series == "steps":
                rates = dict.fromkeys(rates, 0.5)
            rows += [at | {"metric": m, "value": v} for m, v in rates.items()]
    made = frame(rows)
    return made.assign(value=made.value.clip(upper=1.0))


def words(rows):
    """The words of each claim, without repetition."""
    return {name: {v.word for v in group} for name, group in verdicts(rows).items()}


YES, NO, OPEN = {"reproduced"}, {"contradicted"}, {"not tested"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [NO, YES, NO, NO]),
        ({"noise": 0.05, "share_false": 0.3, "fooled": 0.05}, [YES, YES, YES, YES]),
        ({"found": 0.3, "false": 0.3}, [NO, NO, NO, NO]),
        ({"sound": 0.6}, [OPEN, YES, OPEN, OPEN]),  # what must pass fails: nothing is said
    ],
)
def test_a_rule_is_judged_by_worlds_whose_arrows_are_known(changes, expected):
    assert words(calls(**changes)) == dict(
        zip([claim.name for claim in CLAIMS], expected, strict=True)
    )


def test_what_is_found_is_the_true_arrows_minus_the_absent_ones_in_points():
    effects = [v.estimate.effect for v in verdicts(calls())["true arrows are found"]]
    assert effects == pytest.approx(2 * [70], abs=1e-3)


def test_worlds_and_lengths_are_told_apart_and_a_draw_is_a_unit():
    acts = verdicts(calls())["causal means that it acts"]
    assert {(v.dataset, v.cell) for v in acts} == {
        (world, f"{width} samples") for world in FOOLED for width in WIDTHS
    }
    assert {(v.estimate.n, v.estimate.units) for v in acts} == {(5, "draws")}


def test_rates_that_are_all_one_have_an_interval_that_is_no_point():
    acts = verdicts(calls().assign(value=1.0))["causal means that it acts"][0].estimate
    assert (acts.effect, acts.high) == (100, 100)
    assert acts.low == pytest.approx(100 * 0.025 ** (1 / 5))


def test_the_committed_rows_contradict_all_but_that_arrows_are_found():
    expected = [NO, YES, NO, NO]
    assert [*words(measured("granger-causality")).values()] == expected


def test_quick_and_dirty_rows_are_refused():
    with pytest.raises(ValueError, match='profile "full"'):
        verdicts(calls().assign(profile="quick"))
    with pytest.raises(ValueError, match='dirty "False"'):
        verdicts(calls().assign(dirty="True"))
