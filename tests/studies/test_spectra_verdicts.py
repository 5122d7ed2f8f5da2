"""Tables and verdicts of chapter 10, on rows made up so that the answer is known."""

import numpy as np
import pandas as pd
import pytest

from causalprune_studies.ch10_spectra import tables
from causalprune_studies.ch10_spectra.networks import PRUNED
from causalprune_studies.ch10_spectra.tables import LAYERS, NETWORKS
from causalprune_studies.ch10_spectra.verdicts import CLAIMS, verdicts

FULL = {"profile": "full", "commit": "a" * 40, "dirty": False, "causalprune_lib": "0", "cpu": "x"}
FULL |= {"torch": "2", "numpy": "2", "python": "3", "device": "cpu", "seconds": 1.0, "error": ""}
FULL |= {"started": "2026-01-01T00:00:00Z", "judge": "spectra", "amount": "published"}


def rows(alphas, *, traps=0.0, n_seeds=4, spread=0.05):
    """Full rows with these mean exponents by network and layer."""
    made, rng = [], np.random.default_rng(0)
    for seed in range(n_seeds):
        for network in NETWORKS:
            for layer, alpha in zip(LAYERS, alphas[network], strict=True):
                state = "untrained" if network == "initial" else "trained"
                values = {"pl_alpha": alpha + spread * rng.normal(), "num_traps": 0.0}
                values |= {"trap_share": 0.0 if network == "initial" else traps}
                values |= {"alpha_low": alpha - 1, "alpha_high": alpha + 1}
                where = {"network": network, "layer": layer, "state": state, "seed": seed, **FULL}
                made += [{**where, "metric": name, "value": v} for name, v in values.items()]
                if network in PRUNED:
                    cut = {**where, "state": "cut", "metric": "pl_alpha"}
                    made.append({**cut, "value": values["pl_alpha"]})
    return pd.DataFrame(made)


TABLE4 = dict.fromkeys(NETWORKS, (2.2, 1.5, 1.95)) | {
    "initial": (8.0, 3.0, 2.5),
    "LEGCNet-FT": (2.2, 1.5, 2.3),
    "LEGCNet-PT": (2.2, 1.5, 2.7),
}
WELL = dict.fromkeys(NETWORKS, (3.0, 3.0, 3.0)) | {"initial": (8.0, 8.0, 8.0)}


def words(made, claim):
    return {v.cell: v.word for v in verdicts(made)[claim]}


def test_table_4_itself_does_not_bear_its_text_out():
    inside = words(rows(TABLE4), "alpha within 2 and 6")
    assert inside["layer 2"] == "contradicted"  # below 2, while the untrained one is within
    assert set(words(rows(TABLE4, n_seeds=8), "correlation traps").values()) == {"contradicted"}
    ours = words(rows(TABLE4, n_seeds=12), "better trained than random")
    assert set(ours.values()) == {"reproduced"}  # the gaps of table 4, with the dense one below


def test_networks_of_which_the_claims_hold():
    made = rows(WELL, traps=1.0, n_seeds=30, spread=0.02)
    assert set(words(made, "alpha within 2 and 6").values()) == {"undecided"}  # 30 of 30 seeds
    more = verdicts(rows(WELL, n_seeds=40))["alpha within 2 and 6"]
    assert {v.word for v in more} == {"reproduced"}
    assert all(v.estimate.effect == 100 and v.estimate.high == 100 for v in more)
    same = words(made, "as well trained as the dense network")
    assert same["LEGCNet-FT, layer 2"] == "reproduced, and the control does it too"
    assert same["LEGCNet-PT, layer 3"] == "partly"  # the same, where table 4 has 0.79 more
    assert set(words(made, "better trained than random").values()) == {"contradicted"}
    assert set(words(made, "correlation traps").values()) == {"reproduced"}
    assert list(verdicts(made)) == [claim.name for claim in CLAIMS]
    worse = rows(WELL | {"LEGCNet-FT": (1.0, 1.0, 1.0)})
    cells = words(worse, "as well trained as the dense network")
    assert {word for cell, word in cells.items() if "FT" in cell} == {"contradicted"}


def test_tables():
    made = rows(TABLE4)
    table = tables.alpha_table(made)
    assert table.published["dense", "layer 2"] == 1.51
    assert table.published["LEGCNet-PT", "layer 3"] == 2.73
    assert np.isnan(table.published["initial", "layer 1"])
    assert abs(table.here["dense", "layer 1"] - 2.2) < 0.1
    spread = tables.spread_table(made)
    assert spread["width of the fit's interval"].tolist() == [2, 2, 2]
    assert 0.1 < spread["cutting and retraining"]["layer 3"] < 0.5
    assert spread["another seed"].max() < 0.2
    assert 0.7 < tables.furthest_apart(made) < 1.2
    inside = tables.inside_table(made)
    assert inside.loc["initial"].tolist() == [0, 1, 1]
    assert inside.index.tolist() == list(NETWORKS)


def test_table_4_is_printed_with_what_is_below_2_marked():
    printed = tables.marked(tables.table4())
    assert printed.loc["LEGCNet-PT"].tolist() == ["2.19", "1.51 (<2)", "2.73"]
    assert printed.index.tolist() == ["dense", "LEGCNet-FT", "LEGCNet-PT", "random", "magnitude"]


def test_networks_pruned_by_another_amount_stand_beside_the_dense_one():
    made = rows(TABLE4)
    more = made[made.network.isin(PRUNED)].assign(amount="0.5", value=lambda f: 2 * f.value)
    accuracy = made[(made.layer == "fc1") & (made.metric == "pl_alpha")]
    accuracy = accuracy.assign(judge="accuracy", metric="accuracy", layer=None, value=0.9)
    accuracy.loc[accuracy.network.isin(PRUNED), "amount"] = "0.5"
    found = tables.many_pruned(pd.concat([made, more, accuracy]), 0.5)
    assert found["layer 2"].round(1).tolist() == [1.5, 3, 3, 3, 3]
    assert found.accuracy.tolist() == [0.9] * 5


def test_spectra_are_in_units_of_the_mean_square_of_an_entry():
    made = rows(TABLE4, n_seeds=1)
    alphas = made[(made.metric == "pl_alpha") & (made.state != "cut")]
    values = {"eigenvalue": (1.0, 3.0), "shuffled": (1.5, 2.5)}
    drawn = [
        alphas.assign(metric=m, value=v, place=i)
        for m, vs in values.items()
        for i, v in enumerate(vs)
    ]
    one = tables.drawn_spectra(pd.concat([made, *drawn]))["dense, 1"]
    assert one["eigenvalues"].tolist() == [0.5, 1.5]
    assert one["shuffled"].tolist() == [0.75, 1.25]
    assert one["orange"] == 1.25


def test_quantiles_by_the_number_of_values():
    found = tables.quantiles({10: np.arange(41.0), 30: np.ones(3)})
    assert found.iloc[0].tolist() == [10, 1, 10, 20, 30, 39]


def test_verdicts_refuse_rows_that_are_not_full():
    with pytest.raises(ValueError, match="full"):
        verdicts(rows(WELL).assign(profile="quick"))
