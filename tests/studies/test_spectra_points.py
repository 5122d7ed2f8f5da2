"""What chapter 10 measures of judged networks, and its verdicts."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch

from causalprune_lib.diagnostics.spectra import esd, layer_spectra
from causalprune_lib.evidence.grid import Cell
from causalprune_studies.ch10_spectra import verdicts as spectra_verdicts
from causalprune_studies.ch10_spectra.networks import PRUNED, judged_networks
from causalprune_studies.ch10_spectra.study import layer_metrics, network_metrics, spectra_points
from causalprune_studies.ch10_spectra.verdicts import LAYERS, NETWORKS
from causalprune_studies.paper_networks.mnist import mnist_settings

FULL = {"profile": "full", "commit": "a" * 40, "dirty": False, "causalprune_lib": "0", "cpu": "x"}
FULL |= {"torch": "2", "numpy": "2", "python": "3", "device": "cpu", "seconds": 1.0, "error": ""}
FULL |= {"started": "2026-01-01T00:00:00Z", "judge": "spectra", "amount": "published"}


@dataclass(frozen=True)
class Given:
    """A spec whose points are made elsewhere."""

    def run(self, seed):
        """Not used."""


@pytest.fixture(scope="module")
def judged():
    settings = replace(mnist_settings("digits"), sizes=(64, 12, 10, 10), epochs=4)
    return judged_networks(settings, seed=0, amounts=(0.9,))


@pytest.fixture(scope="module")
def points(judged):
    return list(spectra_points(judged, seed=0, traps=False))


def test_every_layer_of_every_network_has_its_points(judged, points):
    found = pd.DataFrame([point.coordinates for point in points])
    assert not found.duplicated().any()
    found = found[found.place.isna()]
    assert set(found.judge) == {"spectra"}
    assert set(found.layer) == {"fc1", "fc2", "fc3"}
    per_state = found.groupby("state").size() / 3
    # dense, other and 4 masks at 2 amounts; 8 masks cut; initial, whole and under a random mask
    assert per_state.to_dict() == {"trained": 10, "cut": 8, "untrained": 2}
    assert set(found.network) == {"initial", "other", "dense", *PRUNED}


def test_points_say_what_weightwatcher_says_of_the_network(judged, points):
    for state, network, amount, model in (
        ("trained", "magnitude", 0.9, judged.retrained["magnitude", 0.9]),
        ("cut", "random", "published", judged.cut["random", "published"]),
    ):
        frame = layer_spectra(model).set_index("layer")
        for point in (p for p in points if "place" not in p.coordinates):
            where = point.coordinates
            if (where["state"], where["network"], where["amount"]) == (state, network, str(amount)):
                expected = frame.pl_alpha[where["layer"]]
                np.testing.assert_equal(point.metrics["pl_alpha"], float(expected))


def test_spectra_of_the_first_seed_are_those_of_its_networks(judged, points):
    where = {"network": "dense", "state": "trained", "layer": "fc2"}
    found = [
        p for p in points if "place" in p.coordinates and where.items() <= p.coordinates.items()
    ]
    assert [p.coordinates["place"] for p in found] == list(range(10))
    eigenvalues = [p.metrics["eigenvalue"] for p in found]
    np.testing.assert_allclose(eigenvalues, esd(judged.dense.fc2.weight))
    assert sum(p.metrics["shuffled"] for p in found) == pytest.approx(sum(eigenvalues))
    assert not any("place" in p.coordinates for p in spectra_points(judged, seed=1, traps=False))


def test_weightwatcher_counts_traps_when_asked(judged):
    found = network_metrics(judged.initial, seed=0, resamples=2)
    assert [layer["num_traps"] for layer in found.values()] == [0, 0, 0]


def test_spikes_and_traps_are_told_apart():
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(200, 50, generator=random)
    learned = noise + torch.outer(
        torch.randn(200, generator=random), torch.randn(50, generator=random)
    )
    found = layer_metrics(learned, seed=0)
    assert found["spikes"] == 1  # a direction that was learned
    assert found["trap_share"] <= 0.1  # and that no shuffle keeps
    assert found["reach"] == pytest.approx(
        esd(learned)[-1] / (learned.var().item() * (1 + 0.25**0.5) ** 2), rel=1e-3
    )
    shifted = layer_metrics(noise + 0.5, seed=0)
    assert (shifted["trap_share"], shifted["trap_share_centred"]) == (1, 0)
    assert shifted["orange"] > 2


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


def test_table_4_itself_does_not_bear_its_text_out():
    found = spectra_verdicts.verdicts(rows(TABLE4))
    assert {name: v.verdict for name, v in found.items()} == {
        "alpha within 2 and 6": "not reproduced",  # layer 2 is below 2, the untrained one within
        "as well trained as the dense network": "partly",  # as the network before training is
        "better trained than random and magnitude": "reproduced",
        "correlation traps": "not reproduced",
    }


def test_networks_of_which_the_claims_hold():
    found = spectra_verdicts.verdicts(rows(WELL, traps=1.0))
    assert [v.verdict for v in found.values()] == [
        "reproduced",
        "reproduced",
        "not reproduced",  # all alike
        "reproduced",
    ]
    assert found["alpha within 2 and 6"].effect == 1
    worse = WELL | {"LEGCNet-FT": (1.0, 1.0, 1.0)}
    found = spectra_verdicts.verdicts(rows(worse))
    assert found["as well trained as the dense network"].verdict == "not reproduced"
    assert found["alpha within 2 and 6"].verdict == "partly"


def test_tables():
    made = rows(TABLE4)
    table = spectra_verdicts.alpha_table(made)
    assert table.published["dense", "fc2"] == 1.51
    assert table.published["LEGCNet-PT", "fc3"] == 2.73
    assert np.isnan(table.published["initial", "fc1"])
    assert abs(table["mean"]["dense", "fc1"] - 2.2) < 0.1
    spread = spectra_verdicts.spread_table(made)
    assert spread.fit.tolist() == [2, 2, 2]
    assert 0.1 < spread.retrained["fc3"] < 0.5
    assert spread.seed.max() < 0.2
    inside = spectra_verdicts.inside_table(made)
    assert inside.loc["initial"].tolist() == [0, 1, 1]
    assert inside.index.tolist() == list(NETWORKS)


def test_verdicts_refuse_rows_that_are_not_full():
    with pytest.raises(ValueError, match="full"):
        spectra_verdicts.verdicts(rows(WELL).assign(profile="quick"))


def test_points_can_be_written_as_rows(points):
    rows = Cell(spec=Given(), seed=0)._rows(points)
    assert len(list(rows)) > 300
