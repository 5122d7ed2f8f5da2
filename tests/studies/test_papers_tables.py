"""Every published cell stands once beside ours, "not tested" exactly where there is no row."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalprune_studies import tables as shared
from causalprune_studies.ch05_legcnet.tables import paper_table, third_table
from causalprune_studies.ch10_spectra.tables import alpha_table
from causalprune_studies.ch13_tables import causal, legcnet, paper_scale, tables
from causalprune_studies.ch13_tables.cells import MEASURED, NOT_TESTED, SETTING, Source, cell
from causalprune_studies.ch13_tables.shown import DRAWINGS, number, place, points, shown
from causalprune_studies.page import chapter_rows
from causalprune_studies.tables import published, published_index

PAGE = Path(__file__).parents[2] / "book" / "13-the-papers-tables.md"
NAMES = list(tables.OURS)


@pytest.fixture(scope="module")
def everything() -> dict[str, pd.DataFrame]:
    return {name: tables.cells(name) for name in NAMES}


def at(table, row, column):
    """The one cell of a place."""
    (found,) = table[(table.row == row) & (table.column == column)].itertuples()
    return found


def test_every_table_and_figure_of_both_papers_is_here_and_is_shown_once():
    own = {name for name in published_index().name if not name.endswith(("masks", "trials"))}
    assert set(NAMES) == own
    page = PAGE.read_text(encoding="utf-8")
    asked = re.findall(r'cells\["(\w+)"\]$|shown\(cells\["(\w+)"\]', page, flags=re.MULTILINE)
    assert sorted(a or b for a, b in asked) == sorted(own)


@pytest.mark.parametrize("name", NAMES)
def test_every_published_cell_stands_exactly_once_as_printed(name, everything):
    table, paper = everything[name], published(name)
    assert table[["row", "column"]].equals(paper[["row", "column"]])
    assert (table.published == paper.value).all()
    page = shown(table, name).data
    assert page.count('<th scope="row"') == len(paper)
    places = {place(cell.row, cell.label) for cell in paper.itertuples()}
    assert page.count('<tr class="group">') == len(places)
    for text in paper.column.unique():
        assert text.replace("<", "&lt;") in page


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_has_a_number_and_a_source_or_is_not_tested(name, everything):
    table = everything[name]
    assert set(table.status) <= {MEASURED, SETTING, NOT_TESTED}
    assert (table.status.eq(NOT_TESTED) == table["mean"].isna()).all()
    assert (table.status.eq(MEASURED) == table.n.gt(0)).all()
    tested = table[table.status == MEASURED]
    assert (tested[["rows", "command", "units", "scale"]] != "").all(axis=None)
    assert tested.rows.isin(shared.measured_names()).all()
    assert shown(table, name).data.count(NOT_TESTED) == (table.status == NOT_TESTED).sum()


def test_an_interval_holds_its_mean_and_never_leaves_the_range(everything):
    table = pd.concat(everything.values())
    table = table[table.low.notna()]
    assert (table["mean"].between(table.low, table.high)).all()
    assert table.low.min() >= 0
    assert table.high[table.unit == "fraction"].max() <= 1
    assert table.high[table.unit == "%"].max() <= 100


def test_the_small_tables_are_those_of_their_chapter(everything):
    rows = chapter_rows("legcnet")
    ft, pt = (paper_table(rows, variant) for variant in ("FT", "PT"))
    one, two = everything["legcnet_table1"], everything["legcnet_table2"]
    third = third_table(rows)
    for name in ("cancer", "titanic", "banknote", "iris_csv", "iris3f", "vowel"):
        for metric, title in (("accuracy", "Accuracy"), ("f1", "F1-score"), ("epochs", "Epochs")):
            here, there = at(one, name, f"{title} LEGCNet-FT"), ft.loc[(name, metric)]
            assert here.mean == pytest.approx(there.released, nan_ok=True)
            assert here.control_mean == pytest.approx(there.random, nan_ok=True)
            assert at(one, name, f"{title} DN").mean == pytest.approx(there.dense, nan_ok=True)
            here = at(two, name, f"{title} (SN) LEGCNet-PT")
            assert here.mean == pytest.approx(pt.loc[(name, metric)].released, nan_ok=True)
        magnitude = at(everything["legcnet_table3"], name, "Accuracy (SN) Magnitude")
        assert magnitude.mean == pytest.approx(third.loc[name, "magnitude"])


def test_what_another_networks_exponents_prune_is_counted_as_the_rules_own_is():
    """Of the rule's own masks the share called causal and the number pruned say the same."""
    rows = chapter_rows("legcnet")
    own = rows[(rows.reading == "as released") & (rows["mask"] == "legcnet")]
    found = legcnet.tabular_values(rows)
    for (dataset, variant), some in own.groupby(["dataset", "variant"]):
        by_metric = some.pivot(index="seed", columns="metric", values="value")
        n = legcnet.n_weights(dataset)
        pruned = found[dataset, variant, "pruned"]
        assert np.allclose(n * (1 - by_metric.causal), pruned.loc[by_metric.index])


def test_the_exponents_are_those_of_their_chapter(everything):
    there = alpha_table(chapter_rows("judged-networks"))
    for cell_of in everything["legcnet_table4"].itertuples():
        if cell_of.column.endswith(" alpha"):
            network = cell_of.label if "-" in cell_of.label else cell_of.label.lower()
            expected = there.loc[(network, f"layer {cell_of.column[5]}")]
            assert cell_of.mean == pytest.approx(expected["here"])
            assert cell_of.published == expected["published"]


def test_the_printed_trials_come_out_again(everything):
    """The tables print one of five starts; but for one row that is known to be another's."""
    table = pd.concat([everything["legcnet_table1"], everything["legcnet_table2"]])
    known = table[
        table.same.notna() & ~((table.row == "banknote") & table.column.str.contains("PT"))
    ]
    scores = known[known.unit == "fraction"]
    assert len(scores) > 30
    assert (scores.same - scores.published).abs().max() < 6e-5


def test_a_mean_of_one_value_has_no_interval_and_equal_values_have_none_either():
    source = Source("legcnet", "full", 3, "starts")
    for values in ([0.5], [0.5, 0.5, 0.5]):
        found = cell("a", "b", pd.Series(values), source)
        assert found["mean"] == 0.5
        assert math.isnan(found["low"])
    assert cell("a", "b", pd.Series([math.nan]), source)["status"] == NOT_TESTED


def test_one_more_unit_lies_in_its_range_19_times_of_20():
    """Of normal values; 2000 tries, so that a share of .95 is known to .02."""
    draws = np.random.default_rng(0).normal(size=(2000, 6))
    source, inside = Source("legcnet", "full", 5, "starts"), []
    for *own, one_more in draws:
        found = cell("a", "b", pd.Series(own), source)
        inside.append(found["one_low"] <= one_more <= found["one_high"])
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


def test_a_planted_difference_shows(everything):
    paper = published("legcnet_table1")
    ours = legcnet.table_cells("legcnet_table1")
    before = tables.joined(paper, ours)
    where = (paper.row == "titanic") & (paper.column == "Accuracy LEGCNet-FT")
    planted = paper.assign(value=paper.value.where(~where, 0.9))
    after = tables.joined(planted, ours)
    count = [
        tables.coverage(table.assign(table="legcnet_table1"))["could be ours"].item()
        for table in (before, after)
    ]
    assert count[0] - count[1] == 1
    assert ">0.9</td>" in shown(after[where.to_numpy()], "planted").data


def test_ours_cannot_name_a_cell_that_the_paper_does_not_print():
    stray = cell("nobody", "Accuracy DN", pd.Series([0.5]), Source("legcnet", "full", 1, "starts"))
    with pytest.raises(ValueError, match="nobody"):
        tables.joined(published("legcnet_table1"), [stray])


def test_a_data_set_whose_rows_are_gone_is_not_tested(monkeypatch):
    rows = causal.full_rows()
    monkeypatch.setattr(causal, "full_rows", lambda: rows[rows.dataset != "cifar10"])
    found = tables.joined(published("causal_table2"), causal.comparison_cells())
    accuracy = found[found.column.str.endswith("test accuracy")].set_index("row").status
    assert (accuracy["lenet/cifar10"] == NOT_TESTED).all()
    assert (accuracy["lenet/fashion_mnist"] == MEASURED).any()


@pytest.fixture
def paper_rows(monkeypatch):
    """Two networks of four methods on CIFAR-10 at the paper's size, and one smaller run."""
    shape = {"model": "lenet", "dataset": "cifar10", "subset": None, "batch_size": 512}
    shape |= {"epochs": 10, "prune_epochs": 10, "n_iter": 10, "post_epochs": 200}
    shape |= {"precision": "bfloat16", "fraction": 0.275, "amount": math.nan, "spec": "PaperTable2"}
    runs = [
        ("dense", "none", 65.0, 0.0, {}),
        ("magnitude", "magnitude", 56.0, 95.99, {}),
        ("causal", "causal", 60.0, 95.99, {}),
        ("causal", "causal", 66.0, 96.3, {"amount": 0.963}),
        ("random", "causal", 67.0, 96.3, {"amount": 0.963}),
        ("causal", "causal", 68.0, 97.5, {"l1_coeff": 1e-14}),
        ("causal", "causal", 30.0, 96.3, {"profile": "full", "amount": 0.963}),
    ]
    made = []
    for ranking, allocation, accuracy, pruned, more in runs:
        place = shape | {"ranking": ranking, "allocation": allocation, "profile": "paper"} | more
        for seed in range(2):
            values = {"accuracy_validation_epoch": accuracy + seed, "images": 4_500_000}
            values |= {"accuracy_best_on_test": accuracy + seed + 2}
            values |= {"amount_pruned": pruned} if ranking != "dense" else {}
            for metric, value in values.items():
                made.append(place | {"seed": seed, "metric": metric, "value": value / 100})
    rows = pd.DataFrame(made)
    read, there = paper_scale.measured, shared.measured_names()
    monkeypatch.setattr(paper_scale, "measured_names", lambda: [*there, paper_scale.TABLE2])
    monkeypatch.setattr(
        paper_scale, "measured", lambda name: rows if name == paper_scale.TABLE2 else read(name)
    )
    return rows


def test_rows_at_the_papers_scale_take_the_place_of_smaller_ones(paper_rows):
    found = tables.cells("causal_table2")
    causal_cell = at(found, "lenet/cifar10", "Causal Pruning: test accuracy")
    assert causal_cell.profile == "paper"
    assert causal_cell.rows == paper_scale.TABLE2
    assert causal_cell.mean == pytest.approx(66.5)  # at the paper's own amount
    assert causal_cell.best == pytest.approx(68.5)
    assert causal_cell.control_mean == pytest.approx(67.5)
    assert "images 45,000 of 50,000 (90%)" in causal_cell.scale
    assert at(found, "lenet/cifar10", "Causal Pruning: percent pruned").mean == pytest.approx(96.3)
    assert at(found, "lenet/cifar10", "No-Pruning: test accuracy").mean == pytest.approx(65.5)
    magnitude = at(found, "lenet/cifar10", "Magnitude Pruning: test accuracy")
    assert magnitude.mean == pytest.approx(56.5)
    assert math.isnan(magnitude.control_mean)  # random at its counts was not run
    fashion = at(found, "lenet/fashion_mnist", "No-Pruning: test accuracy")
    assert fashion.profile == "full"


def test_the_paper_scale_fills_the_cells_of_figure_2_and_of_table_3(paper_rows):
    figures = tables.cells("causal_figures")
    penalty = at(figures, "figure 2(c)/causal", "test accuracy at L1_coeff 1e-14")
    assert penalty.mean == pytest.approx(68.5)
    other = at(figures, "figure 2(c)/causal", "test accuracy at L1_coeff 1e-18")
    assert other.status == NOT_TESTED
    hyper = tables.cells("causal_table3")
    assert at(hyper, "lenet/cifar10", "L1_coeff").mean == pytest.approx(1e-14)
    assert at(hyper, "lenet/cifar10", "mag_prune_frac").mean == pytest.approx(0.275)
    assert at(hyper, "resnet18/cifar10", "L1_coeff").status == NOT_TESTED


def test_what_is_not_tested_says_what_would_test_it(monkeypatch):
    for known, there in (({}, False), ({paper_scale.TABLE2: None}, True)):
        monkeypatch.setattr(tables, "rows_of_studies", lambda known=known: known)
        found = tables.cells("causal_table2")
        tiny = at(found, "lenet/tiny_imagenet", "Causal Pruning: test accuracy")
        assert ("--profile paper" in tiny.command) == there
        assert ("not measured yet" in shown(found, "table 2").data) == there
        assert at(found, "alexnet/cifar10", "Causal Pruning: test accuracy").command == ""


def test_a_drawing_shows_each_of_its_cells_in_one_place(everything):
    for name, drawing in DRAWINGS.items():
        drawn = points(everything[drawing.table], name)
        assert not drawn.duplicated(["panel", "line", "who"]).any()
        assert set(drawn.panel) == set(drawing.panels)


@pytest.mark.parametrize(
    ("value", "unit", "printed", "text"),
    [
        (41_000, "weights", True, "41,000"),
        (1e-14, "none", True, "1e-14"),
        (95.99, "%", True, "95.99 %"),
        (-1.0, "direction", True, "−1"),
        (math.nan, "%", False, ""),
    ],
)
def test_numbers_are_printed_as_the_paper_prints_them(value, unit, printed, text):
    assert number(value, unit, printed=printed) == text
