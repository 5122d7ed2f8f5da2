"""Agreement of flatness with accuracy: one data set at a time, and inside its range."""

from __future__ import annotations

import pytest

from causalprune_studies.ch09_flat_minima.tables import (
    accuracy_gaps,
    each_agreement,
    mean_agreement,
    measured_by,
    rank_agreement,
)
from causalprune_studies.page import chapter_rows


@pytest.fixture(scope="module")
def full():
    return chapter_rows("flat-minima")


def test_an_interval_of_a_correlation_ends_at_one_and_data_sets_are_not_pooled(full):
    fashion = full[full.dataset == "fashion_mnist"]
    found = mean_agreement(fashion)
    assert found.low.min() >= -1
    assert found.high["low training loss"] == 1  # three values near 1: Student's would end above
    assert found["mean"].between(found.low, found.high).all()
    with pytest.raises(ValueError, match="one row for each"):
        mean_agreement(full)


def test_each_network_has_its_own_number(full):
    shown = each_agreement(full)
    for dataset, column in shown.items():
        ranks = rank_agreement(full[full.dataset == dataset]).sort_values("seed")
        for measure, cell in column.items():
            numbers = [float(text.replace("−", "-")) for text in cell.split(", ")]
            assert numbers == pytest.approx(ranks.value[ranks.method == measure], abs=0.051)


def test_accuracy_is_compared_within_networks(full):
    own = full[full.dataset == "cifar10"]
    found = accuracy_gaps(own)
    means = measured_by(own, "accuracy").groupby("method").value.mean()
    for other, gap in found.items():
        assert gap.mean == pytest.approx(means["causal"] - means[other])
        assert gap.n == 3
