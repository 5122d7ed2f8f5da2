"""The tables of chapter 12, and what the page says of the committed rows."""

import pandas as pd
import pytest

from causalprune_studies.ch12_closeness import tables
from causalprune_studies.ch12_closeness.study import RANKINGS
from causalprune_studies.page import chapter_rows


@pytest.fixture(scope="module")
def full():
    return chapter_rows("how-close-is-close")


def test_a_power_of_the_width_has_its_slope_and_narrow_networks_do_not_count():
    rows = pd.DataFrame({"width": [25, 100, 400], "seed": 0, "spec": "S", "hidden_layers": 1})
    rows = rows.assign(network="random", state="cut", amount="0.5", value=rows.width**-0.5)
    rows.loc[rows.width == 25, "value"] = 9.0
    assert tables.slopes(rows).value.tolist() == pytest.approx([-0.5])
    assert tables.slopes(rows, least_width=1).value.item() < -1


def test_rows_at_one_place():
    rows = pd.DataFrame({"metric": ["ball", "ball", "mean"], "amount": [0.1, "rule", 0.1]})
    rows = rows.assign(state="cut", value=[1.0, 2.0, 3.0])
    assert tables.rows_at(rows, "ball", amount="0.1").value.tolist() == [1.0]
    assert tables.rows_at(rows, "ball", state="cut").value.tolist() == [1.0, 2.0]


def test_only_a_shrinking_fraction_makes_wider_networks_closer(full):
    found = tables.mean_slopes(full, hidden_layers=1).set_index(["state", "network", "amount"])
    assert (found.xs("shrinking", level="amount")["mean"] < 0).all()
    falling = found[(found.high < 0) & (found.index.get_level_values("amount") != "shrinking")]
    assert set(falling.index) <= {("cut", "magnitude", a) for a in ("0.1", "0.5")}
    assert falling["mean"].min() > -0.25
    deeper = tables.mean_slopes(full, hidden_layers=2).set_index(["state", "amount", "network"])
    deeper = deeper.sort_index().loc["cut", "rule"]
    assert deeper.high["random"] < 0 < deeper.high["LEGCNet"]
    assert tables.rule_prunes(full).between(0.45, 0.55).all()
    at_random = tables.by_fraction(full[full.hidden_layers == 1])
    level = at_random.set_index(["fraction", "width"])["mean"].unstack()
    spread = level.max(axis=1) / level.min(axis=1)
    assert spread[["0.1", "0.5", "all"]].max() < 2
    assert level.loc["1/√width", 1600] < 0.8 * level.loc["1/√width", 25]


def test_after_the_cut_legcnet_is_as_far_as_random_and_its_placebo_within_a_tenth(full):
    outputs = tables.cut_by_width(full).mean(axis=1)
    for other in ("random", "shuffled"):
        gap = tables.cut_against(full, other)
        assert gap.mean == pytest.approx(outputs["LEGCNet"] - outputs[other])
        assert max(-gap.low, gap.high) < 0.1 * outputs["LEGCNet"]
    assert outputs.sort_values().index.tolist()[:2] == ["magnitude", "causal"]
    for panel in tables.ruled_by_width(full).values():
        mean = panel.pivot(index="network", columns="width", values="mean")
        assert (mean.idxmax() == "causal").all()  # in the unit ball


def test_retrained_networks_beside_strangers(full):
    found = tables.yardsticks(full).set_index("network")
    assert found["mean"]["twin"] < 0.001 < found["mean"]["order"]
    stranger = found.loc["stranger"]
    assert all(found.high[f"{name}, 0.1 pruned"] < stranger.low for name in RANKINGS)
    for name in RANKINGS:
        farther = found.low[f"{name}, 0.5 pruned"] > stranger.high
        assert farther == (name != "magnitude")
    assert found.high["magnitude, 0.5 pruned"] < stranger.low
    beside = tables.retrained_against_order(full)
    assert beside.mean == pytest.approx(
        found["mean"]["LEGCNet, 0.1 pruned"] - found["mean"]["order"]
    )
    assert beside.low < 0 < beside.high
    steep = tables.retrained_slopes(full)
    assert (steep.high[["LEGCNet", "random", "magnitude", "stranger"]] < 0).all()
    mean = tables.retrained_by_width(full).pivot(index="network", columns="width", values="mean")
    assert (mean[25] / mean[400]).between(1.5, 8).all()


def test_on_mnist_the_twin_is_nearly_a_stranger():
    rows = chapter_rows("judged-networks")
    far = tables.mnist_yardsticks(rows).set_index("network")["mean"]
    cut = tables.mnist_table(rows)[tables.MNIST_COLUMNS["outputs"]]["cut", "published"]
    assert cut["LEGCNet-FT"] < 0.3 * far["LEGCNet-FT"]
    assert 0.7 < far["LEGCNet-FT"] / far["twin"] < 1.4
    assert far["twin"] > 0.6 * far["stranger"]
