"""Tables and verdicts of the further LEGCNet studies, on made-up rows with a known answer."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from causalprune_studies.ch05_legcnet import figures as legcnet_plots
from causalprune_studies.ch05_legcnet.settings import BASES, ORIENTATIONS, Setting, settings_of
from causalprune_studies.ch05_legcnet.tables import (
    EXPLANATIONS,
    LESS_AND_LESS,
    ablation_table,
    called_causal,
    explanations,
    scaled_gains,
    scaled_table,
    setting_names,
    settings_shown,
    twins_shown,
)
from causalprune_studies.ch05_legcnet.verdicts import (
    FURTHER_CRITERIA as CRITERIA,
)
from causalprune_studies.ch05_legcnet.verdicts import (
    N_SETTINGS,
    further_verdicts,
)

PROVENANCE = {
    "commit": "abc",
    "dirty": "False",
    "causalprune_lib": "0",
    "torch": "2",
    "numpy": "2",
    "python": "3",
    "device": "cpu",
    "cpu": "x",
    "seconds": 1.0,
    "started": "now",
    "profile": "full",
}
CAUSAL = dict.fromkeys(LESS_AND_LESS, 0.5) | {
    "own": 0.9,
    "other, same order": 0.9,
    "other, another order": 0.9,
    "other, reshuffled": 0.8,
}


def made_up(*, better=0.0, where=None, jaccard=0.1, causal=CAUSAL, twin=0.0, scaled=0.0):
    """Rows of two tables and five trials.

    LEGCNet's accuracy exceeds that of random masks by `better` in the setting and orientation
    `where`, by `scaled` on standardised features, by `twin` with own twins; nowhere else.
    """
    rows, draws = [], np.random.default_rng(0)

    def add(spec, dataset, seed, metrics, **at):
        place = {"spec": spec, "dataset": dataset, "seed": seed, **at, **PROVENANCE}
        rows.extend({**place, "metric": m, "value": v} for m, v in metrics.items())

    for dataset in ("cancer", "vowel"):
        for seed in range(5):
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
                        own |= {"jaccard_chance": 0.1}
                    add("LEGCNetAblation", *cell, own, mask="legcnet", **at)
                    add("LEGCNetAblation", *cell, {"accuracy": 0.8}, mask="random", **at)
            for judged in ("released", "reshuffled"):
                for rule in BASES:
                    for whose, share in causal.items():
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


def words(**options):
    return {name: v.verdict for name, v in further_verdicts(made_up(**options)).items()}


def test_no_effect_is_not_called_one():
    found = words()
    assert list(found) == list(CRITERIA)
    assert found.pop("keeps accuracy, scaled") == "reproduced"
    assert set(found.values()) == {"not reproduced"}


def test_a_gain_in_one_setting_is_found_and_its_orientation_decides():
    setting = settings_of("corrected")[3]
    claim = "some setting beats random masks"
    assert words(better=0.1, where=(setting, "prune non-causal"))[claim] == "reproduced"
    assert words(better=0.1, where=(setting, "prune causal"))[claim] == "partly"
    assert words(better=-0.1, where=(setting, "prune causal"))[claim] == "not reproduced"


@pytest.mark.parametrize(
    ("jaccard", "word"), [(0.8, "reproduced"), (0.3, "partly"), (0.05, "not reproduced")]
)
def test_overlap_with_other_windows_is_judged_against_one_half_and_chance(jaccard, word):
    assert words(jaccard=jaccard)["the mask is the network's"] == word


def test_twins_and_scaling_are_judged_by_their_own_rows():
    found = words(twin=0.05, scaled=0.02)
    for claim in ("twins beat random masks", "twins find the network's own causes"):
        assert found[claim] == "reproduced"
    assert found["beats the baselines, scaled"] == "reproduced"
    assert found["some setting beats random masks"] == "not reproduced"
    assert words(scaled=-0.05)["keeps accuracy, scaled"] == "not reproduced"


def test_quick_rows_draw_no_verdict():
    with pytest.raises(ValueError, match='profile "full"'):
        further_verdicts(made_up().assign(profile="quick"))


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
    assert found.loc["corrected", "the time of training"].more == pytest.approx(0.4, abs=0.01)
    little = CAUSAL | {"other, reshuffled": 0.87}  # three points: an interval, but too small
    found = explanations(made_up(causal=little)).set_index(["rule", "shared"])
    assert not found.loc["corrected", "an order that repeats"].matters
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


def test_tables_and_figures_show_every_row():
    rows = made_up(scaled=0.01)
    scaled = scaled_table(rows, "FT")
    assert scaled.loc["cancer", "legcnet"] == pytest.approx(0.96, abs=1e-3)
    assert scaled.loc["cancer", "dense, as released"] == pytest.approx(0.8)
    gains = scaled_gains(rows)
    assert gains["final_accuracy", "magnitude"].mean == pytest.approx(0.01)
    assert gains["accuracy", "random"].n == 2 * 2 * 5
    shown = twins_shown(rows, "corrected")
    assert shown.shape == (4, 5)
    assert shown["another's causal"].tolist() == ["90%"] * 4
    assert len(called_causal(rows)) == 2 * 2 * len(LESS_AND_LESS)
    table = ablation_table(rows)
    axes = legcnet_plots.plot_settings(table[table.orientation == "prune non-causal"])
    assert axes[0].get_yticklabels()[0].get_text() == "nothing"
    hollow = [line for line in axes[1].lines if line.get_markerfacecolor() == "white"]
    assert [len(line.get_xdata()) for line in hollow] == [9, 9]
    distance = 1e-8 * np.exp(np.linspace(0, 1, 3001))[:, None] * np.ones(5)
    exponents = {"raw": np.ones(4), "growth": np.zeros(4)}
    axes = legcnet_plots.plot_twins(distance, [700, 1400, 2100, 2800], exponents, names="twins")
    assert axes[0].get_yscale() == "log"
    assert len(axes[0].lines) == 6
    assert len(axes[1].lines) == 2
    plt.close("all")
