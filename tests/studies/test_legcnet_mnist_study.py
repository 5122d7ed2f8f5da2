"""The MNIST study of LEGCNet, on a small network of the digits: what a cell gives."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import pytest

from causalprune_lib.evidence.grid import Cell
from causalprune_studies.ch05_legcnet import mnist as study
from causalprune_studies.ch05_legcnet.mnist import MNIST_STUDIES, MNISTTrial
from causalprune_studies.paper_networks.mnist import MNIST_SETTINGS, mnist_settings
from causalprune_studies.paper_networks.settings import MaskReading

SMALL = dataclasses.replace(
    mnist_settings("digits"),
    sizes=(64, 8, 6, 10),
    epochs=8,
    readings={
        "FT": MaskReading(8, 30, max_lag=2),
        "PT": MaskReading(4, 30, max_lag=2),  # five windows: lag 1 only
        "PT, short windows": MaskReading(4, 10, max_lag=2),
    },
    benchmark=0.5,
)
N_WEIGHTS = 64 * 8 + 8 * 6 + 6 * 10
SHORT = "PT, short windows"


def forget():
    study._data.cache_clear()
    study._recording.cache_clear()


@pytest.fixture(scope="module")
def masks():
    """All masks of the cell (seed 1), with what is known of each; and its points."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MNIST_SETTINGS, "digits", SMALL)
        forget()
        spec = MNISTTrial("digits", n_random=2)
        made = []
        kept = study._Masks.points

        def points(self, run):
            made.append((self, run))
            return kept(self, run)

        patch.setattr(study._Masks, "points", points)
        found = list(spec.run(1))
        forget()
    places = [tuple(p.coordinates.values()) for p in found]
    assert len(set(places)) == len(places)
    return *made[0], dict(zip(places, (dict(p.metrics) for p in found), strict=True))


def rows_of(masks, *place):
    """The masks (n, P) trained at a place."""
    return [keep for keep, of in zip(masks.keep, masks.of, strict=True) if of == place]


def test_every_mask_is_trained_with_its_controls(masks):
    _, _, cell = masks
    controls = {"legcnet", "random", "magnitude", "inverse", "magnitude, global"}
    placebos = {"another seed", "shuffled", "half-shifted"}
    for variant in ("FT", SHORT):
        of = {}
        for where, reading, mask in cell:
            if where == variant:
                of.setdefault(reading, set()).add(mask)
        assert of == {
            "as released": controls | placebos,
            "upper layers": {"legcnet", "random"},
            "ranked": controls,
            "corrected": {"legcnet", "random"} | placebos,
            "corrected ranking": {"legcnet"},
        }
    assert cell["none", "none", "dense"]["seconds_exponents"] > 0


def test_an_empty_mask_is_reported_as_empty_and_ranked_instead(masks):
    _, _, cell = masks
    said = cell["PT", "as released", "legcnet"]
    assert said["n_pruned"] == 0
    assert said["n_kept"] == N_WEIGHTS
    assert said["untestable"] == said["causal"] == 1  # as released, no test is "causal"
    assert "accuracy" not in said
    assert cell["PT", "ranked", "legcnet"]["n_pruned"] == SMALL.amounts["PT"]
    assert 0 <= cell["PT", "ranked", "legcnet"]["accuracy"] <= 1
    assert "accuracy" not in cell["PT", "corrected", "legcnet"]


def test_controls_prune_as_many_weights_in_every_layer(masks):
    made, _, cell = masks
    sizes = made.layout.sizes
    for variant, reading, mask in made.of[1:]:
        base = "as released" if reading == "corrected ranking" else reading
        keep = rows_of(made, variant, base, "legcnet")[0]
        counts = [int(part.sum()) for part in keep.split(sizes)]
        for other in rows_of(made, variant, reading, mask):
            if mask == "magnitude, global":
                assert int(other.sum()) == sum(counts)
            else:
                assert [int(part.sum()) for part in other.split(sizes)] == counts
        if mask == "legcnet" and "n_pruned" in cell[variant, reading, mask]:
            assert cell[variant, reading, mask]["n_pruned"] == N_WEIGHTS - sum(counts)
    assert len(rows_of(made, "FT", "ranked", "random")) == 2


def test_masks_are_those_that_the_decisions_say(masks):
    made, _, cell = masks
    decision = made.own.decide("FT", rule="as_released")
    keep = rows_of(made, "FT", "as released", "legcnet")[0]
    assert keep.equal(decision.keep)
    assert rows_of(made, "FT", "upper layers", "legcnet")[0][: 64 * 8].all()
    assert cell["FT", "as released", "legcnet"]["causal"] == float(decision.causal.double().mean())
    pruned, scores = ~rows_of(made, "FT", "ranked", "legcnet")[0], decision.scores
    assert scores[pruned].max() <= scores[~pruned].nan_to_num(nan=math.inf).min()
    size = made.own.weights["FT"].abs()
    whole = ~rows_of(made, "FT", "ranked", "magnitude, global")[0]
    assert size[whole].max() <= size[~whole].min()
    inverse = ~rows_of(made, "FT", "as released", "inverse")[0]
    first = slice(0, 64 * 8)
    scored = ~scores[first].isnan()
    low, high = scores[first][scored & inverse[first]], scores[first][scored & ~inverse[first]]
    assert low.min() >= high.max()


def test_placebos_are_the_exponents_of_another_seed_and_of_other_times(masks):
    made, _, cell = masks
    own = made.own.exponents["FT"]
    taken = []

    class Spy:
        exponents = made.own.exponents

        @staticmethod
        def decide(variant, *, rule, exponents):
            taken.append(exponents)

    list(study._Masks._placebos(SimpleNamespace(**vars(made) | {"own": Spy}), "FT", "corrected"))
    other, shuffled, shifted = taken
    assert other is made.other.exponents["FT"]
    assert not other.equal(own)
    assert shuffled.sort(0).values.nan_to_num().equal(own.sort(0).values.nan_to_num())
    half = len(own) // 2
    assert shifted[half:].nan_to_num().equal(own[: len(own) - half].nan_to_num())
    said = made.own.decide("FT", rule="corrected", exponents=shifted)
    found = cell["FT", "corrected", "half-shifted"]["causal"]
    assert found == float(said.causal.double().mean())


def test_metrics_are_those_of_the_epoch_that_reached_the_benchmark(masks):
    made, run, cell = masks
    for place in (("none", "none", "dense"), ("FT", "as released", "legcnet")):
        row, found = made.of.index(place), cell[place]
        epoch = float(run.epochs_to_benchmark[row])
        assert found["reached"] == float(not math.isnan(epoch))
        at = int(epoch) if found["reached"] else -1
        assert found["accuracy"] == float(run.test_accuracy[row, at])
        assert found["first_f1"] == float(run.first_f1[row, at])
        assert found["train_accuracy"] == float(run.train_accuracy[row, at])
        assert found["final_accuracy"] == float(run.test_accuracy[row, -1])
    dense = cell["none", "none", "dense"]
    assert dense["final_accuracy"] == float(made.own.run.test_accuracy[0, -1])
    assert 0 <= cell["FT", "ranked", "legcnet"]["beats_epochs"] <= 1


def test_studies_are_specs_with_a_device_and_a_profile():
    for profile, studies in MNIST_STUDIES.items():
        for spec in studies:
            moved = dataclasses.replace(spec, on="cuda")
            assert (moved.on, moved.profile) == ("cuda", profile)
            assert len(Cell(moved, 0).key) == 16
    (full,) = MNIST_STUDIES["full"]
    assert (full.dataset, full.settings.images, full.settings.epochs) == ("mnist", 42_000, 50)
    assert dataclasses.replace(full, images=70_000).settings.images == 70_000
    with pytest.raises(ValueError, match="Did you mean 'mnist'"):
        next(MNISTTrial("minst").run(0))
