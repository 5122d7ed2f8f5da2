"""The MNIST study of LEGCNet, on a small network of the digits: what a cell gives."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch

from causalprune_lib.evidence.grid import Cell
from causalprune_studies.ch05_legcnet import mnist as study
from causalprune_studies.ch05_legcnet.mnist import MNIST_STUDIES, MNISTTrial
from causalprune_studies.paper_networks.mnist import MNIST_SETTINGS, mnist_settings
from causalprune_studies.paper_networks.settings import MaskReading

SMALL = dataclasses.replace(
    mnist_settings("digits"),
    sizes=(64, 8, 6, 10),
    images=1000,
    epochs=8,
    readings={
        "FT": MaskReading(8, 18, max_lag=2),
        "PT": MaskReading(4, 18, max_lag=2),  # five windows: lag 1 only
        "PT, short windows": MaskReading(4, 8, max_lag=2),
    },
    benchmark=0.5,
)
N_WEIGHTS = 64 * 8 + 8 * 6 + 6 * 10
SHORT = "PT, short windows"


def forget():
    study._data.cache_clear()
    study._recording.cache_clear()


@pytest.fixture(scope="module")
def made():
    """The cell of seed 1: its `points` by place, the `masks` trained at each, the `run`."""
    found = SimpleNamespace(masks={("none", "none", "dense"): []}, placebos=[])
    enter, train, placebos = MNISTTrial._enter, study.train_on_images, study._placebos

    def entered(self, contest, variant, *rest):
        n = len(contest.entries)
        facts = enter(self, contest, variant, *rest)
        for entry in contest.entries[n:]:
            place = variant, entry.allocation, entry.ranking
            found.masks.setdefault(place, []).append(entry.masks)
        found.entries = contest.entries
        return facts

    def trained(*args, **options):
        found.run = train(*args, **options)
        return found.run

    def placed(*args):
        found.placebos.append((args[2], placebos(*args)))
        return found.placebos[-1][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MNIST_SETTINGS, "digits", SMALL)
        patch.setattr(MNISTTrial, "_enter", entered)
        patch.setattr(study, "train_on_images", trained)
        patch.setattr(study, "_placebos", placed)
        forget()
        points = list(MNISTTrial("digits", n_random=2).run(1))
        found.own, found.other = (study._recording("digits", None, "cpu", s) for s in (1, 2))
        forget()
    places = [tuple(p.coordinates.values()) for p in points]
    assert len(set(places)) == len(places)
    found.points = dict(zip(places, (dict(p.metrics) for p in points), strict=True))
    return found


def counts(masks):
    return [int(layer.sum()) for layer in masks.values()]


def test_every_mask_is_trained_with_its_controls(made):
    controls = {"legcnet", "random", "magnitude", "inverse", "magnitude, global"}
    placebos = {"another seed", "shuffled", "half-shifted"}
    for variant in ("FT", SHORT):
        of = {}
        for where, reading, mask in made.points:
            if where == variant:
                of.setdefault(reading, set()).add(mask)
        assert of == {
            "as released": controls | placebos,
            "upper layers": {"legcnet", "random"},
            "ranked": controls,
            "corrected": {"legcnet", "random"} | placebos,
            "corrected ranking": {"legcnet"},
        }
    assert made.points["none", "none", "dense"]["seconds_exponents"] > 0


def test_an_empty_mask_is_reported_as_empty_and_ranked_instead(made):
    said = made.points["PT", "as released", "legcnet"]
    assert said["n_pruned"] == 0
    assert said["n_kept"] == N_WEIGHTS
    assert said["untestable"] == said["causal"] == 1  # as released, no test is "causal"
    assert "accuracy" not in said
    assert made.points["PT", "ranked", "legcnet"]["n_pruned"] == SMALL.amounts["PT"]
    assert 0 <= made.points["PT", "ranked", "legcnet"]["accuracy"] <= 1
    assert "accuracy" not in made.points["PT", "corrected", "legcnet"]


def test_controls_prune_as_many_weights_in_every_layer(made):
    for (variant, reading, mask), masks in made.masks.items():
        if variant == "none":
            continue
        base = "as released" if reading == "corrected ranking" else reading
        [own] = made.masks[variant, base, "legcnet"]
        for other in masks:
            if mask == "magnitude, global":
                assert other.n_kept == own.n_kept
            else:
                assert counts(other) == counts(own)
        if mask == "legcnet" and "n_pruned" in made.points[variant, reading, mask]:
            assert made.points[variant, reading, mask]["n_pruned"] == own.n - own.n_kept
    assert len(made.masks["FT", "ranked", "random"]) == 2


def test_masks_are_those_that_the_decisions_say(made):
    decision = made.own.decide("FT", rule="as_released")
    [keep] = made.masks["FT", "as released", "legcnet"]
    assert torch.equal(keep.flat(), decision.keep)
    [upper] = made.masks["FT", "upper layers", "legcnet"]
    assert upper["fc1.weight"].all()
    assert torch.equal(upper["fc2.weight"], keep["fc2.weight"])
    found = made.points["FT", "as released", "legcnet"]
    assert found["causal"] == float(decision.causal.double().mean())
    [ranked] = made.masks["FT", "ranked", "legcnet"]
    scores, kept = decision.scores, ranked.flat()
    assert scores[~kept].max() <= scores[kept].nan_to_num(nan=math.inf).min()
    size, [whole] = made.own.weights["FT"].abs(), made.masks["FT", "ranked", "magnitude, global"]
    assert size[~whole.flat()].max() <= size[whole.flat()].min()
    [inverse] = made.masks["FT", "as released", "inverse"]
    first, kept = scores[: 64 * 8], inverse["fc1.weight"].flatten()
    scored = ~first.isnan()
    assert first[scored & ~kept].min() >= first[scored & kept].max()


def test_placebos_are_the_exponents_of_another_seed_and_of_other_times(made):
    own = made.own.exponents["FT"]
    corrected, released = (series for variant, series in made.placebos if variant == "FT")
    assert not torch.equal(corrected["shuffled"].nan_to_num(), released["shuffled"].nan_to_num())
    for series in (corrected, released):
        assert series["another seed"] is made.other.exponents["FT"]
        assert not torch.equal(series["another seed"].nan_to_num(), own.nan_to_num())
        shuffled, shifted = series["shuffled"], series["half-shifted"].nan_to_num()
        assert torch.equal(shuffled.sort(0).values.nan_to_num(), own.sort(0).values.nan_to_num())
        half = len(own) // 2
        assert torch.equal(shifted[half:], own[: len(own) - half].nan_to_num())
    said = made.own.decide("FT", rule="corrected", exponents=corrected["half-shifted"])
    found = made.points["FT", "corrected", "half-shifted"]["causal"]
    assert found == float(said.causal.double().mean())


def test_metrics_are_those_of_the_epoch_that_reached_the_benchmark(made):
    run, masks = made.run, [entry.masks for entry in made.entries]
    for place in (("none", "none", "dense"), ("FT", "as released", "legcnet")):
        row = masks.index(made.masks[place][0]) if place[0] == "FT" else 0
        found, epoch = made.points[place], float(run.epochs_to_benchmark[row])
        assert found["reached"] == float(not math.isnan(epoch))
        at = int(epoch) if found["reached"] else -1
        assert found["accuracy"] == float(run.test_accuracy[row, at])
        assert found["first_f1"] == float(run.first_f1[row, at])
        assert found["train_accuracy"] == float(run.train_accuracy[row, at])
        assert found["final_accuracy"] == float(run.test_accuracy[row, -1])
    dense = made.points["none", "none", "dense"]
    assert dense["final_accuracy"] == pytest.approx(
        float(made.own.run.test_accuracy[0, -1]), abs=2.1 / 300
    )  # of 300 examples; the two trainings differ by rounding
    assert 0 <= made.points["FT", "ranked", "legcnet"]["beats_epochs"] <= 1


def test_studies_are_specs_with_a_device_and_a_profile():
    assert MNIST_STUDIES["full"] == MNIST_STUDIES["paper"]  # the full size is the paper's
    for profile in ("quick", "full"):
        for spec in MNIST_STUDIES[profile]:
            moved = dataclasses.replace(spec, on="cuda")
            assert (moved.on, moved.profile) == ("cuda", profile)
            assert len(Cell(moved, 0).key) == 16
    (full,) = MNIST_STUDIES["full"]
    assert (full.dataset, full.settings.images, full.settings.epochs) == ("mnist", 42_000, 50)
    assert dataclasses.replace(full, images=70_000).settings.images == 70_000
    with pytest.raises(ValueError, match="Did you mean 'mnist'"):
        next(MNISTTrial("minst").run(0))
