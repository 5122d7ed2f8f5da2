"""Jaccard's index and the 2x2 table: symmetry, bounds, and the numbers of the paper's figure."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from causalprune_lib.pruning.masks import Masks, jaccard, overlap_table

PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


def pair(bits):
    a, b = torch.tensor(bits).T
    cut = len(bits) // 2 + 1
    first = Masks({"x": a[:cut], "y": a[cut:]})
    second = Masks({"y": b[cut:], "x": b[:cut]})  # the order of the layers does not matter
    return first, second


@settings(max_examples=80, deadline=None)
@given(bits=PAIRS, of=st.sampled_from(["kept", "pruned"]))
def test_jaccard_is_symmetric_one_on_itself_and_equal_to_scikit_learn(bits, of):
    a, b = pair(bits)
    assert jaccard(a, b, of=of) == jaccard(b, a, of=of)
    assert jaccard(a, a, of=of) == 1.0
    x, y = np.array(bits).T if of == "kept" else ~np.array(bits).T
    if (x | y).any():
        assert jaccard(a, b, of=of) == pytest.approx(jaccard_score(x, y), abs=1e-12)
    else:
        assert jaccard(a, b, of=of) == 1.0


@settings(max_examples=80, deadline=None)
@given(bits=PAIRS)
def test_the_table_sums_to_100_and_its_margins_are_the_amounts(bits):
    a, b = pair(bits)
    table = overlap_table(a, b)
    assert table.to_numpy().sum() == pytest.approx(100, abs=1e-9)
    assert table.loc["pruned"].sum() == pytest.approx(100 * a.amount, abs=1e-9)
    assert table["pruned"].sum() == pytest.approx(100 * b.amount, abs=1e-9)
    assert np.allclose(overlap_table(b, a), table.T)
    assert np.allclose(np.diag(overlap_table(a, a)), [100 * a.amount, 100 * (1 - a.amount)])


def test_the_pair_of_figure_1b_that_the_paper_discusses():
    # Both prune 97.1%; 94.4% is pruned by both; each prunes 2.7% that the other keeps.
    causal, magnitude = torch.ones(1000), torch.ones(1000)
    causal[:971] = 0
    magnitude[27:998] = 0
    a, b = Masks({"w": causal != 0}), Masks({"w": magnitude != 0})
    table = overlap_table(a, b, names=("causal", "magnitude"))
    assert table.loc["pruned", "pruned"] == pytest.approx(94.4)
    assert table.loc["pruned", "kept"] == pytest.approx(2.7)  # (0, 1): causal but not magnitude
    assert table.loc["kept", "pruned"] == pytest.approx(2.7)
    assert table.loc["kept", "kept"] == pytest.approx(0.2)
    assert (table.index.name, table.columns.name) == ("causal", "magnitude")
    assert jaccard(a, b) == pytest.approx(2 / (29 + 29 - 2))


def test_rows_are_the_first_mask_and_columns_the_second():
    a = Masks({"w": torch.tensor([False, True, True, True])})
    b = Masks({"w": torch.tensor([True, True, True, True])})
    assert overlap_table(a, b).to_numpy().tolist() == [[0, 25], [0, 75]]


def test_independent_masks_overlap_by_the_product_of_their_amounts():
    generator = torch.Generator().manual_seed(0)
    a, b = (Masks({"w": torch.rand(200_000, generator=generator) > p}) for p in (0.9, 0.6))
    # Standard deviation of a binomial share of 0.54 at this n: 0.11 percentage points.
    assert overlap_table(a, b).iloc[0, 0] == pytest.approx(54, abs=5 * 0.11)


def test_masks_over_other_layers_and_unknown_sets_are_errors():
    a, b = Masks({"fc1": torch.ones(2) != 0}), Masks({"fc2": torch.ones(2) != 0})
    for compare in (jaccard, overlap_table):
        with pytest.raises(ValueError, match="Did you mean 'fc1'"):
            compare(a, b)
    with pytest.raises(ValueError, match="Did you mean 'kept'"):
        jaccard(a, a, of="keep")
