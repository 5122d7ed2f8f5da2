"""The MNIST row beside the published one, and the criteria of its verdicts."""

import pandas as pd
import pytest
from full_rows import PROVENANCE

from causalprune_studies.ch05_legcnet.tables import (
    MNIST,
    mnist_facts,
    mnist_shares,
    mnist_shown,
    mnist_table,
)
from causalprune_studies.ch05_legcnet.verdicts import MNIST_CLAIMS, mnist_verdicts


def rows(*, ft, random, other, shuffled):
    """Three seeds: the dense network at 0.9, its own exponents calling 90% causal."""
    accuracy = dict.fromkeys(MNIST, 0.9) | {"FT": ft, "random, FT's counts": random}
    causal = {"legcnet": 0.9, "another seed": other, "shuffled": shuffled, "half-shifted": 0.9}
    found = []
    for seed in range(3):
        common = {**PROVENANCE, "seed": seed}
        for name, (variant, reading, mask, _) in MNIST.items():
            where = {"variant": variant, "reading": reading, "mask": mask}
            # Only the dense network's and the own exponents' values wobble with the seed.
            wobble = 0.0005 * seed if name == "dense" else 0
            for metric, value in (("accuracy", accuracy[name] + wobble), ("n_kept", 40_000)):
                found.append({**common, **where, "metric": metric, "value": value})
        for mask, share in causal.items():
            where = {"variant": "FT", "reading": "as released", "mask": mask, "metric": "causal"}
            share += 0.0005 * seed * (mask == "legcnet")
            found.append({**common, **where, "value": share})
    return pd.DataFrame(found)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ({"ft": 0.905, "random": 0.90, "other": 0.8, "shuffled": 0.5}, ["reproduced"] * 3),
        (
            {"ft": 0.8911, "random": 0.891, "other": 0.95, "shuffled": 0.5},
            ["partly", "reproduced", "partly"],
        ),
        ({"ft": 0.85, "random": 0.9, "other": 0.95, "shuffled": 0.95}, ["not reproduced"] * 3),
    ],
)
def test_the_criteria_grade_by_value(made, expected):
    frame = rows(**made)
    last = (frame.seed == 2) & (frame.metric == "accuracy")
    frame.loc[last & (frame["mask"] == "random"), "value"] -= 1e-6  # an interval needs a spread
    found = mnist_verdicts(frame)
    assert list(found) == [claim.name for claim in MNIST_CLAIMS]
    assert [verdict.verdict for verdict in found.values()] == expected


def test_quick_rows_decide_nothing():
    made = rows(ft=0.9, random=0.9, other=0.9, shuffled=0.9)
    with pytest.raises(ValueError, match="full"):
        mnist_verdicts(made.assign(profile="quick"))


def test_the_table_stands_beside_the_published_row():
    table = mnist_table(rows(ft=0.91, random=0.9, other=0.9, shuffled=0.9))
    assert list(table.index) == list(MNIST)
    assert table.loc["dense", ("accuracy", "published")] == 0.9121
    assert table.loc["FT, published number", ("n_kept", "published")] == 40_861
    assert table.loc["PT, published number", ("epochs", "published")] == 29
    assert table.loc["random, FT's counts", ("epochs", "published")] == 31
    assert table.loc["FT", ("accuracy", "here")] == pytest.approx(0.91)
    assert pd.isna(table.loc["FT", ("accuracy", "published")])
    assert pd.isna(table.loc["magnitude, FT's counts", ("epochs", "published")])


def test_shares_are_means_over_seeds():
    shares = mnist_shares(rows(ft=0.9, random=0.9, other=0.8, shuffled=0.6))
    shares = shares.set_index(["reading", "exponents"])["mean"]
    assert shares["as released", "another seed"] == pytest.approx(0.8)
    assert shares["as released", "its own"] == pytest.approx(0.9005)


def test_readers_see_what_is_printed_and_how_long_it_took():
    made = rows(ft=0.91, random=0.9, other=0.9, shuffled=0.9)
    shown = mnist_shown(made)
    assert shown["accuracy", "here"]["FT"] == "0.9100"
    assert shown["accuracy", "published"]["FT"] == ""
    took = made.iloc[:2].assign(metric="seconds_training", value=[13.0, 12.0])
    facts = mnist_facts(pd.concat([made, took]))
    assert facts.seconds_training == 12.0
    assert pd.isna(facts.untestable)
