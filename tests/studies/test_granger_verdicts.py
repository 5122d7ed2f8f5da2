"""Verdicts of the chapter "Granger causality", on rows made up so that the answer is known."""

from __future__ import annotations

import itertools

import pytest
from full_rows import frame

from causalprune_studies.ch04_granger.verdicts import CLAIMS, verdicts


def calls(*, noise=0.34, found=0.9, false=0.3, share_false=0.7, fooled=1.0):
    """Rates of the released rule; the corrected one is right."""
    rows = []
    worlds = ("independent noise", "hidden driver", "falling curves", "true arrows", "random walks")
    for world, seed, width in itertools.product(worlds, range(5), (151, 487)):
        for rule, series in itertools.product(
            ("as released", "corrected", "one lag, F"), ("as they are", "steps")
        ):
            at = {"world": world, "seed": seed, "samples": width, "rule": rule, "series": series}
            rates = {"false": {"independent noise": noise, "true arrows": false}.get(world, fooled)}
            if world == "true arrows":
                rates |= {"found": found, "share_false": share_false}
            if rule != "as released":
                rates = dict.fromkeys(rates, 0.05)
            if series == "steps":
                rates = dict.fromkeys(rates, 0.5)
            rows += [at | {"metric": m, "value": v} for m, v in rates.items()]
    return frame(rows)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["not reproduced", "partly", "not reproduced"]),
        ({"noise": 0.049, "share_false": 0.04, "fooled": 0.04}, ["reproduced"] * 3),
        ({"noise": 0.09, "fooled": 0.2}, ["partly"] * 3),
        ({"found": 0.3, "share_false": 0.01}, ["not reproduced"] * 3),
    ],
)
def test_a_rule_is_judged_by_worlds_without_arrows(changes, expected):
    found = verdicts(calls(**changes))
    assert [*found] == [claim.name for claim in CLAIMS]
    assert [verdict.verdict for verdict in found.values()] == expected


def test_the_effect_on_noise_is_the_rule_minus_one_f_test():
    verdict = verdicts(calls(noise=0.34))["false alarms stay at 5%"]
    assert verdict.effect == pytest.approx(29, abs=1e-3)  # points
    assert "34.0% at 151 and 34.0% at 487" in verdict.control


def test_quick_and_dirty_rows_are_refused():
    with pytest.raises(ValueError, match='profile "full"'):
        verdicts(calls().assign(profile="quick"))
    with pytest.raises(ValueError, match='dirty "False"'):
        verdicts(calls().assign(dirty="True"))
