"""The MNIST row beside the published one, and the criteria of its verdicts."""

import numpy as np
import pandas as pd
import pytest
from full_rows import PROVENANCE

from causalprune_studies.ch05_legcnet.mnist_verdicts import CLAIMS, verdicts
from causalprune_studies.ch05_legcnet.tables import (
    MNIST,
    mnist_facts,
    mnist_shares,
    mnist_shown,
    mnist_table,
)


def rows(*, ft=0.9, random=0.9, other=0.9, shuffled=0.5):
    """Five seeds: the dense network at 0.9, its own exponents calling 80% causal."""
    rng = np.random.default_rng(0)
    accuracy = dict.fromkeys(MNIST, 0.9) | {"FT": ft, "random, FT's counts": random}
    causal = {"legcnet": 0.8, "another seed": other, "shuffled": shuffled, "half-shifted": 0.8}
    found = []
    places = {name: place for name, (*place, _) in MNIST.items()}
    places["random, PT's counts"] = ["PT", "ranked", "random"]
    for seed in range(5):
        for name, (variant, reading, mask) in places.items():
            at = {"variant": variant, "reading": reading, "mask": mask, "seed": seed, **PROVENANCE}
            level = accuracy.get(name, 0.9) + 1e-4 * rng.standard_normal()
            metrics = {"accuracy": level, "f1": level, "epochs": 25 + seed % 2, "n_kept": 40_000}
            found += [{**at, "metric": m, "value": v} for m, v in metrics.items()]
        for mask, share in causal.items():
            at = {"variant": "FT", "reading": "as released", "mask": mask, "seed": seed}
            share += 1e-4 * rng.standard_normal()
            found.append({**at, **PROVENANCE, "metric": "causal", "value": share})
    return pd.DataFrame(found)


def words(**made) -> dict[str, str]:
    return {
        name.removeprefix("MNIST: "): verdict.word
        for name, [verdict] in verdicts(rows(**made)).items()
    }


def test_what_the_control_does_too_is_said_to_be_so():
    found = words()
    assert list(found) == [claim.name.removeprefix("MNIST: ") for claim in CLAIMS]
    assert found["keeps accuracy"] == "reproduced, and the control does it too"
    assert found["beats random masks"] == found["beats magnitude"] == "contradicted"
    assert words(other=0.8)["causes are told from noise"].endswith("the control does it too")


def test_an_effect_that_the_control_lacks_is_reproduced():
    found = words(ft=0.92, other=0.5)
    assert found["beats random masks"] == found["beats magnitude"] == "reproduced"
    assert found["causes are told from noise"] == "reproduced"
    assert words(ft=0.9, random=0.85)["keeps accuracy"] == "reproduced"
    assert words(ft=0.85)["keeps accuracy"] == "contradicted"


def test_a_test_that_calls_shuffled_exponents_causal_tests_nothing():
    assert words(shuffled=0.95)["causes are told from noise"] == "not tested"


def test_the_paper_prints_more_epochs_for_ft_than_for_dense():
    [found] = verdicts(rows())["MNIST: converges faster"]
    assert found.paper_effect == pytest.approx(100 * 3 / 50)
    assert (found.estimate.n, found.estimate.units) == (5, "networks")


def test_quick_rows_decide_nothing():
    with pytest.raises(ValueError, match="full"):
        verdicts(rows().assign(profile="quick"))


def test_the_table_stands_beside_the_published_row():
    table = mnist_table(rows(ft=0.91, random=0.9, other=0.9, shuffled=0.9))
    assert list(table.index) == list(MNIST)
    assert table.loc["dense", ("accuracy", "published")] == 0.9121
    assert table.loc["FT, published number", ("n_kept", "published")] == 40_861
    assert table.loc["PT, published number", ("epochs", "published")] == 29
    assert table.loc["random, FT's counts", ("epochs", "published")] == 31
    assert table.loc["FT", ("accuracy", "here")] == pytest.approx(0.91, abs=1e-3)
    assert pd.isna(table.loc["FT", ("accuracy", "published")])
    assert pd.isna(table.loc["magnitude, FT's counts", ("epochs", "published")])


def test_shares_are_means_over_seeds():
    shares = mnist_shares(rows(ft=0.9, random=0.9, other=0.8, shuffled=0.6))
    shares = shares.set_index(["reading", "exponents"])["mean"]
    assert shares["as released", "another seed"] == pytest.approx(0.8, abs=1e-3)
    assert shares["as released", "its own"] == pytest.approx(0.8, abs=1e-3)


def test_readers_see_what_is_printed_and_how_long_it_took():
    made = rows(ft=0.91, random=0.9, other=0.9, shuffled=0.9)
    shown = mnist_shown(made)
    assert shown["accuracy", "here"]["FT"] == "0.9100"
    assert shown["accuracy", "published"]["FT"] == ""
    took = made.iloc[:2].assign(metric="seconds_training", value=[13.0, 12.0])
    facts = mnist_facts(pd.concat([made, took]))
    assert facts.seconds_training == 12.0
    assert pd.isna(facts.untestable)
