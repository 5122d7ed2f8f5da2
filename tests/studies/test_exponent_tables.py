"""The tables of the chapter "Measuring chaos", and the programs it is compared with."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from causalprune_lib.dynamics.lyapunov import largest_lyapunov
from causalprune_lib.dynamics.systems import logistic, white_noise
from causalprune_lib.evidence.statistics import summarise
from causalprune_studies.ch03_exponents import tables
from causalprune_studies.ch03_exponents.peers import MAP_SETTINGS, estimates, lyap_r
from causalprune_studies.ch03_exponents.study import ITSELF
from causalprune_studies.paper_networks.settings import legcnet_settings


def made_up_tests():
    """Two networks of three windows; 39 copies at 1 and 2 in turn, each window its own offset."""
    offset = torch.tensor([[0.0, 0.2, 0.4], [1.0, 1.3, 1.9]])
    copies = 1.0 + (torch.arange(39) % 2)[:, None, None] + offset  # (39, 2, 3)
    own = 3.0 + offset
    own[0, 0] = math.nan
    p = torch.tensor([[1.0, 0.05, 0.2], [0.05, 0.05, 0.6]])
    return {tables.STEPS_SHUFFLED: (own, copies, p)}


def test_tests_become_one_row_per_network_and_metric():
    rows = (
        tables.tested(made_up_tests(), "iris")
        .set_index(["kind", "metric", "seed"])
        .value.sort_index()
    )
    mean, deviation = 1 + 19 / 39, math.sqrt(39 * (19 / 39) * (20 / 39) / 38)
    assert rows[ITSELF, "reading"].tolist() == pytest.approx([3.3, 4.4])
    found = rows[tables.STEPS_SHUFFLED]
    assert found["reading"].tolist() == pytest.approx([mean + 0.2, mean + 1.4])
    assert found["rejected"].tolist() == pytest.approx([100 / 3, 200 / 3])
    assert found["gap"].tolist() == pytest.approx([3 - mean] * 2)  # without what is not estimable
    assert found["effect"].tolist() == pytest.approx([(3 - mean) / deviation] * 2, rel=1e-5)


def test_agreement_leaves_the_one_more_surrogate_out_of_the_mean():
    own, copies, p = made_up_tests()[tables.STEPS_SHUFFLED]
    copies[0] = -copies[1:].mean(0)  # would lower its own correlation with a mean that held it
    own[0, 0] = 3.0
    found = tables.agreement({tables.STEPS_SHUFFLED: (own, copies, p)}, "iris").set_index("who")
    assert found.value["the weight's own reading"].tolist() == pytest.approx([1, 1])
    assert found.value["one more surrogate"].tolist() == pytest.approx([-1, -1])


def test_means_are_shown_in_the_order_of_the_rows_below_the_truth():
    values = {("z", "logistic map"): 0.7, ("a", "logistic map"): -0.5, ("a", "white noise"): 2.0}
    rows = pd.concat(
        tables.per_seed(np.array([-0.1, 0.1]) + v, estimator=e, series=s)
        for (e, s), v in values.items()
    )
    known = {"logistic map": logistic(3, seed=0), "white noise": white_noise(3, seed=0)}
    shown = tables.beside_the_truth(summarise(rows, ["estimator", "series"]), known, 1)
    assert shown.index.tolist() == ["known", "z", "a"]
    assert shown.loc["known"].tolist() == ["0.7", "−∞"]
    assert shown.loc["a", "logistic map"] == "−0.5\xa0±\xa01.3"
    assert shown.loc["z", "white noise"] == ""


def full_rows():
    """One seed's value per place: samples, plus 0.5 for shuffled steps, 0.25 for the slope."""
    rows = []
    for column, name in [*(("series", s) for s in ("white noise",)), ("dataset", "banknote")]:
        for reading in ("as released", "unrounded", "fitted slope"):
            for kind in (ITSELF, tables.STEPS_SHUFFLED):
                for samples in (50, 100, 200, 250, 400):
                    value = samples + 0.5 * (kind != ITSELF) + 0.25 * (reading == "fitted slope")
                    for metric in ("exponent", "positive", "rejected"):
                        at = {column: name, "reading": reading, "surrogate": kind}
                        at |= {"samples": samples, "metric": metric, "value": value, "seed": 0}
                        rows.append(at)
    return pd.DataFrame(rows)


def test_the_full_rows_are_read_at_the_right_place():
    full = full_rows()
    lengths = tables.by_length(full).set_index(["series", "samples"])["mean"]
    assert lengths["banknote weights"].to_dict() == {n: n for n in (50, 100, 200, 400)}
    nats, shares = (t.set_index(["column", "series"])["mean"] for t in tables.at_200(full))
    assert nats["first step", "banknote"] == 200
    assert nats["slope, steps shuffled", "white noise"] == 200.75
    assert shares["slope > 0", "banknote"] == 100 * 200.25
    assert shares["first step told apart", "white noise"] == 100 * 200.5
    printed = tables.printed(full).set_index(["series", "column"])["mean"]
    assert legcnet_settings("banknote").window == 250
    assert printed["banknote", "all digits"] == 250
    assert printed["banknote", "six decimals, steps shuffled"] == 250.5


def test_nolds_finds_the_slope_that_the_library_finds():
    series = logistic(300, batch=(2,), seed=0).series
    ours = largest_lyapunov(series, **MAP_SETTINGS).exponent
    theirs = [lyap_r(x, **MAP_SETTINGS) for x in series.numpy()]
    assert theirs == pytest.approx(ours.tolist(), abs=0.03)
    found = estimates(series, n_peers=1).groupby("estimator").value.agg(["size", "mean"])
    assert found["size"].sort_values().tolist() == [1, 1, 1, 2, 2, 2]
    assert found["mean"]["slope (this library)"] == pytest.approx(ours.mean().item())
    assert found["mean"]["nolds.lyap_e"] == pytest.approx(math.log(4), rel=0.1)  # spurious
