"""Tables and verdicts of what was changed in LEGCNet, on made-up rows with a known answer."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from full_rows import PROVENANCE

from causalprune_studies.ch05_legcnet.changes import (
    EXPLANATIONS,
    LESS_AND_LESS,
    ablation_table,
    by_what_is_shared,
    called_causal,
    explanations,
    explanations_shown,
    scaled_gains,
    scaled_table,
    setting_names,
    settings_shown,
    twins_shown,
)
from causalprune_studies.ch05_legcnet.changes_verdicts import CLAIMS, N_SETTINGS, verdicts
from causalprune_studies.ch05_legcnet.settings import BASES, ORIENTATIONS, Setting, settings_of
from causalprune_studies.judge import draw_verdicts

SHARED = {"own": 0.9, "other, same order": 0.9, "other, another order": 0.9}
CAUSAL = tuple((dict.fromkeys(LESS_AND_LESS, 0.5) | SHARED | {"other, reshuffled": 0.8}).items())


@cache
def made_up(*, better=0.0, where=None, jaccard=0.1, causal=CAUSAL, twin=0.0, scaled=0.0):
    """Rows of two tables and four trials.

    LEGCNet's accuracy exceeds that of random masks by `better` in the setting and orientation
    `where`, by `scaled` on standardised features, by `twin` with own twins; nowhere else.
    """
    rows, draws = [], np.random.default_rng(0)

    def add(spec, dataset, seed, metrics, **at):
        place = {"spec": spec, "dataset": dataset, "seed": seed, **at, **PROVENANCE}
        rows.extend({**place, "metric": m, "value": v} for m, v in metrics.items())

    for dataset in ("cancer", "titanic"):
        for seed in range(4):
            jitter = lambda: 1e-4 * draws.standard_normal()  # noqa: E731
            cell = (dataset, seed)
            for setting in (s for rule in BASES for s in settings_of(rule)):
                at = {name: getattr(setting, name) for name in Setting.__dataclass_fields__}
                for orientation in ORIENTATIONS:
                    at["orientation"] = orientation
                    gain = better if where == (setting, orientation) else 0.0
                    own = {"accuracy": 0.8 + gain + jitter(), "reached": 1.0, "n_pruned": 6}
                    own |= {"beats_accuracy": 0.5 + jitter()}
                    if orientation == ORIENTATIONS[0]:
                        base = setting == setting.base
                        own |= {"causal": 0.9, "jaccard": 1.0 if base else jaccard + jitter()}
                        own |= {"jaccard_chance": 0.1 + jitter()}
                    add("LEGCNetAblation", *cell, own, mask="legcnet", **at)
                    add("LEGCNetAblation", *cell, {"accuracy": 0.8}, mask="random", **at)
            for judged in ("released", "reshuffled"):
                for rule in BASES:
                    for whose, share in causal:
                        at = {"judged": judged, "rule": rule, "exponents": whose}
                        add("LEGCNetPlacebos", *cell, {"causal": share + jitter()}, **at)
            for variant in ("FT", "PT"):
                at = {"variant": variant, "scaling": "standard"}
                for mask in ("legcnet", "random", "magnitude", "dense", "corrected ranking"):
                    gain = scaled if mask == "legcnet" else 0.0
                    accuracy = dict.fromkeys(("accuracy", "final_accuracy"), 0.95 + gain)
                    accuracy["accuracy"] += jitter()
                    add("LEGCNetScaled", *cell, accuracy, mask=mask, **at)
                at["scaling"] = "as released"
                add("LEGCNetScaled", *cell, {"accuracy": 0.8}, mask="dense", **at)
            for route in ("raw", "own twin", "first twin", "growth"):
                at = {"route": route, "rule": "none", "mask": "dense"}
                add("LEGCNetTwins", *cell, {"exponent": 1.2, "positive": 1.0}, **at)
                for rule in BASES:
                    at = {"route": route, "rule": rule}
                    gain = twin if route == "own twin" else 0.0
                    own = {"accuracy": 0.8 + gain + jitter(), "causal": 0.9 + gain + jitter()}
                    own |= {"n_pruned": 6, "jaccard_raw": 0.2, "reached": 1.0}
                    add("LEGCNetTwins", *cell, own, mask="legcnet", **at)
                    add("LEGCNetTwins", *cell, {"accuracy": 0.8}, mask="random", **at)
                    add("LEGCNetTwins", *cell, {"causal": 0.9}, mask="another trial", **at)
    return pd.DataFrame(rows)


def drawn(name, **options):
    """The verdicts on one claim."""
    claims = [claim for claim in CLAIMS if claim.name == name]
    return draw_verdicts(claims, made_up(**options))[name]


def words(name, **options):
    """The words on one claim, by data set and cell."""
    return {(v.dataset, v.cell): v.word for v in drawn(name, **options)}


def test_no_effect_is_not_called_one():
    found = verdicts(made_up())
    assert list(found) == [claim.name for claim in CLAIMS]
    for name in (
        "beats random masks, scaled",
        "beats magnitude, scaled",
        "twins beat random masks",
    ):
        assert {verdict.word for verdict in found[name]} == {"contradicted"}, name
    assert set(words("keeps accuracy, scaled").values()) == {
        "reproduced, and the control does it too"
    }
    assert set(words("twins find the network's own causes").values()) == {"contradicted"}
    assert {v.estimate.units for v in found["twins beat random masks"]} == {"starts", "tables"}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_gain_in_one_setting_is_found_in_its_orientation_alone(orientation):
    where = (settings_of("corrected")[3], orientation)
    found = words("some setting beats random masks", better=0.1, where=where)
    other = next(name for name in ORIENTATIONS if name != orientation)
    assert found["all tables", orientation] == "reproduced"
    assert found["all tables", other] != "reproduced"


def test_an_interval_over_the_best_of_many_settings_allows_for_all_of_them():
    where = (settings_of("corrected")[3], ORIENTATIONS[0])
    best = drawn("some setting beats random masks", better=0.1, where=where)[0].estimate
    assert best.high - best.effect > 10 * best.sd  # 9 at two tables without it


@pytest.mark.parametrize(("jaccard", "expected"), [(0.8, "reproduced"), (0.3, "contradicted")])
def test_overlap_with_other_windows_is_judged_against_one_half(jaccard, expected):
    assert set(words("the mask is the network's", jaccard=jaccard).values()) == {expected}


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("twins beat random masks", {"twin": 0.05}, "reproduced"),
        ("twins find the network's own causes", {"twin": 0.1}, "reproduced"),
        ("beats random masks, scaled", {"scaled": 0.02}, "undecided"),  # no control was run
        ("beats magnitude, scaled", {"scaled": 0.02}, "undecided"),  # no control was run
        ("keeps accuracy, scaled", {"scaled": -0.05}, "contradicted"),
    ],
)
def test_twins_and_scaling_are_judged_by_their_own_rows(name, options, expected):
    found = drawn(name, **options)
    assert {v.word for v in found if v.dataset != "all tables"} == {expected}
    over_both = [v for v in found if v.dataset == "all tables"]
    assert over_both[0].word == expected
    assert over_both[0].estimate.n == 2


def test_quick_rows_draw_no_verdict():
    with pytest.raises(ValueError, match='profile "full"'):
        verdicts(made_up().assign(profile="quick"))


def test_what_is_shared_matters_only_where_it_adds():
    found = explanations(made_up()).set_index(["rule", "shared"])
    for rule in BASES:
        assert found.loc[rule].matters.to_dict() == {
            "the network itself": False,
            "the same order": False,
            "an order that repeats": True,
            "the time of training": True,
            "the time alone": True,
        }
    assert found["mean"]["corrected", "the time of training"] == pytest.approx(0.4, abs=0.01)
    little = dict(CAUSAL) | {"other, reshuffled": 0.87}  # three points: an interval, but too small
    found = explanations(made_up(causal=tuple(little.items()))).set_index(["rule", "shared"])
    assert not found.loc["corrected", "an order that repeats"].matters
    assert found.loc["corrected", "an order that repeats"].small
    assert found.loc["corrected", "an order that repeats"].low > 0
    known = {name for _, *names in EXPLANATIONS.values() for name in names}
    assert known <= set(LESS_AND_LESS)


def test_every_setting_has_a_row_and_a_name_of_its_own():
    rows = made_up()
    table = ablation_table(rows)
    assert len(table) == N_SETTINGS == 36
    assert table.changed.nunique() == 10
    assert (table[table.changed == "nothing"].jaccard.dropna() == 1).all()
    ablation = rows[rows.spec == "LEGCNetAblation"]
    named = ablation.assign(changed=setting_names(ablation))
    assert (named.groupby(["rule", "changed"]).size() == len(ablation) / 18).all()
    shown = settings_shown(table)
    assert shown.shape == (18, 6)
    assert shown.index[0] == ("as released", "nothing")


def test_tables_show_every_row():
    rows = made_up(scaled=0.01)
    scaled = scaled_table(rows, "FT")
    assert scaled.loc["cancer", "LEGCNet"] == pytest.approx(0.96, abs=1e-3)
    assert scaled.loc["cancer", "dense, as released"] == pytest.approx(0.8)
    gains = scaled_gains(rows)
    assert gains["final_accuracy", "magnitude"].mean == pytest.approx(0.01)
    assert gains["accuracy", "random"].n == 2 * 4
    assert scaled_gains(rows, units="tables")["accuracy", "random"].n == 2
    shown = twins_shown(rows)
    assert shown.shape == (8, 5)
    assert shown["another's causal"].tolist() == ["90%"] * 8
    assert len(called_causal(rows)) == 2 * 2 * len(LESS_AND_LESS)
    assert by_what_is_shared(rows).exponents.unique().tolist() == list(LESS_AND_LESS)
    text = explanations_shown(explanations(rows))["corrected"]
    assert text["the time of training"] == "+40 (+40 to +40), matters"
    assert text["the same order"].endswith(", small")
    wide = explanations(rows).assign(high=0.2, low=-0.2, matters=False, small=False)
    assert explanations_shown(wide)["corrected"].str.endswith("(-20 to +20), open").all()
