"""The study of chapters 10 to 12 on digits: one training, three judges."""

import dataclasses
import functools

import pytest

from causalprune_studies.ch10_spectra import study as judged
from causalprune_studies.ch10_spectra.networks import PRUNED
from causalprune_studies.ch10_spectra.study import JudgedMNIST
from causalprune_studies.paper_networks.mnist import mnist_settings


@pytest.fixture(scope="module")
def points():
    settings = dataclasses.replace(mnist_settings("digits"), sizes=(64, 12, 11, 10), epochs=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judged, "mnist_settings", lambda _: settings)
        quick = functools.partial(judged.spectra_points, traps=False)
        patch.setattr(judged, "spectra_points", quick)
        return list(JudgedMNIST("digits", amounts=(0.3,)).run(0))


def test_every_judge_speaks_and_no_place_twice(points):
    assert {p.coordinates["judge"] for p in points} == {
        "accuracy",
        "spectra",
        "explanations",
        "closeness",
    }
    places = [tuple(sorted(p.coordinates.items())) for p in points]
    assert len(set(places)) == len(places)


def test_accuracy_is_that_of_every_network(points):
    found = {
        (p.coordinates["network"], p.coordinates["amount"], p.coordinates["state"])
        for p in points
        if p.coordinates["judge"] == "accuracy"
    }
    pruned = {(name, amount) for name in PRUNED for amount in ("published", "0.3")}
    assert {place[:2] for place in found if place[2] == "cut"} == pruned
    alone = {("dense", "published"), ("initial", "none"), ("other", "none")}
    assert {place[:2] for place in found if place[2] == "trained"} == pruned | alone


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="dataset"):
        next(JudgedMNIST("mnits").run(0))
