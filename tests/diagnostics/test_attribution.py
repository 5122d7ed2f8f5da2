"""Attributions, against games that can be solved by hand and by enumeration."""

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from causalprune_lib.diagnostics.attribution import (
    coalitions,
    rank_agreement,
    shap_values,
    shapley_of_worths,
)
from causalprune_lib.nets.models import MLP, build_model
from causalprune_lib.pruning.masks import Masks, apply_masks

games = st.integers(1, 5).flatmap(
    lambda n: st.lists(st.integers(-9, 9), min_size=2**n, max_size=2**n)
)


@pytest.fixture(scope="module")
def data():
    """Six features: 6 examples to explain and 10 of background."""
    x = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
    return x[:6], x[6:]


def sigmoid_mlp(*, seed=0, **options):
    return build_model(
        "mlp", shape=(6,), n_classes=3, hidden=[8], seed=seed, activation="sigmoid", **options
    )


@settings(max_examples=30, deadline=None)
@given(worths=games)
def test_shapley_is_the_mean_over_all_orders_of_arrival(worths):
    n = len(worths).bit_length() - 1
    gains = np.zeros(n)
    orders = list(itertools.permutations(range(n)))
    for order in orders:
        present = 0
        for player in order:
            gains[player] += worths[present | 1 << player] - worths[present]
            present |= 1 << player
    found = shapley_of_worths(np.array(worths))
    np.testing.assert_allclose(found, gains / len(orders), atol=1e-9)
    assert found.sum() == pytest.approx(worths[-1] - worths[0], abs=1e-9)
    with_bystander = shapley_of_worths(np.array(worths + worths))  # of the highest number
    assert with_bystander[n] == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(with_bystander[:n], found, atol=1e-9)


def test_coalitions_come_in_binary_order_and_worths_can_be_arrays():
    member = coalitions(3)
    assert member[5].tolist() == [True, False, True]
    worths = np.column_stack([member.sum(1), 2.0 * member[:, 0]])  # (8, 2)
    np.testing.assert_allclose(shapley_of_worths(worths), [[1, 2], [1, 0], [1, 0]], atol=1e-12)


@pytest.mark.parametrize("method", ["deep", "kernel", "exact"])
def test_a_linear_model_has_a_closed_form(data, method):
    x, background = data
    model = nn.Linear(6, 2)
    values = shap_values(model, x, background=background, method=method)
    expected = (x - background.mean(0))[..., None] * model.weight.T  # (N, F, K)
    np.testing.assert_allclose(values, expected.detach().numpy(), atol=1e-6)


@torch.no_grad()
def worths_by_hand(example, background, output):
    """The worth (2^6, 3) of every coalition of features."""
    mixed = torch.where(torch.from_numpy(coalitions(6))[:, None], example, background)
    scores = sigmoid_mlp()(mixed.reshape(-1, 6)).reshape(64, len(background), 3)
    return (scores if output == "logit" else scores.softmax(2)).mean(1).numpy()


@pytest.mark.parametrize("output", ["logit", "probability"])
def test_kernel_with_all_coalitions_is_exact(data, output):
    x, background = data
    options = {"background": background, "output": output}
    exact = shap_values(sigmoid_mlp(), x, method="exact", **options)
    kernel = shap_values(sigmoid_mlp(), x, method="kernel", **options)
    np.testing.assert_allclose(kernel, exact, atol=1e-8)
    by_hand = shapley_of_worths(worths_by_hand(x[0], background, output))
    np.testing.assert_allclose(exact[0], by_hand, atol=1e-6)


def test_kernel_keeps_every_feature_also_beyond_ten():
    model = build_model("mlp", shape=(11,), n_classes=2, hidden=[5], activation="tanh")
    x = torch.randn(5, 11, generator=torch.Generator().manual_seed(2))
    kernel, exact = (
        shap_values(model, x[:1], background=x[2:], method=method) for method in ("kernel", "exact")
    )
    np.testing.assert_allclose(kernel, exact, atol=1e-8)
    assert np.abs(kernel).min() > 0  # shap by default: zero for all but ten


def test_kernel_with_few_coalitions_depends_on_the_seed_alone(data):
    x, background = data
    options = {"background": background, "method": "kernel", "samples": 30}
    np.random.seed(1)
    state = np.random.get_state()[1].copy()
    one = shap_values(sigmoid_mlp(), x, seed=1, **options)
    assert (np.random.get_state()[1] == state).all()
    np.random.seed(2)
    np.testing.assert_array_equal(one, shap_values(sigmoid_mlp(), x, seed=1, **options))
    assert not np.array_equal(one, shap_values(sigmoid_mlp(), x, seed=2, **options))


def test_deep_is_exact_where_features_do_not_interact_and_not_otherwise(data):
    x, background = data
    alone, together = sigmoid_mlp(), sigmoid_mlp()
    with torch.no_grad():
        alone.fc1.weight *= torch.eye(8, 6)  # each hidden neuron sees one feature
        together.fc1.weight *= 10
    gaps = []
    for model in (alone, together):
        deep, exact = (
            shap_values(model, x, background=background, method=method)
            for method in ("deep", "exact")
        )
        gaps.append(np.abs(deep - exact).max())
    assert gaps[0] < 1e-9
    assert gaps[1] > 0.01


@pytest.mark.parametrize("last", [nn.Sigmoid(), nn.Softmax(1)])
def test_logits_are_taken_before_the_last_squashing(data, last):
    x, background = data
    scores = sigmoid_mlp()
    ending = nn.Sequential(copy.deepcopy(scores), last)
    options = {"background": background, "method": "exact"}
    np.testing.assert_array_equal(
        shap_values(ending, x, output="logit", **options), shap_values(scores, x, **options)
    )
    found = shap_values(ending, x, output="probability", **options)
    expected = ending(x) - ending(background).mean(0)
    np.testing.assert_allclose(found.sum(1), expected.detach().numpy(), atol=1e-6)


def test_a_feature_that_is_cut_off_gets_nothing_and_the_model_stays_as_it_was(data, state_of):
    x, background = data
    model = sigmoid_mlp(output="sigmoid").train()
    keep = torch.ones(8, 6, dtype=torch.bool)
    keep[:, 2] = False
    apply_masks(model, Masks({"fc1.weight": keep}))
    model(x).sum().backward()
    before = state_of(model)
    for method in ("deep", "kernel", "exact"):
        values = shap_values(model, x, background=background, method=method, output="probability")
        assert np.abs(values[:, 2]).max() < 1e-12
        assert np.abs(values).max(axis=(0, 2))[[0, 1, 3, 4, 5]].min() > 1e-4
    assert state_of(model) == before


def test_images_are_explained_pixel_by_pixel():
    layers = nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 4)
    model = nn.Sequential(*layers).double()
    x = torch.randn(5, 2, 6, 6, generator=torch.Generator().manual_seed(1)).double()
    values = shap_values(model, x[:1], background=x[1:])
    assert values.shape == (1, 72, 4)
    expected = model(x[:1]) - model(x[1:]).mean(0)
    np.testing.assert_allclose(values.sum(1), expected.detach(), atol=1e-6)


def test_shap_alone_would_explain_a_softmax_wrongly_and_add_up(data):
    import shap

    x, background = (part.double() for part in data)
    model = nn.Sequential(nn.Linear(6, 2, bias=False), nn.Softmax(1)).double().eval()
    with torch.no_grad():
        model[0].weight.zero_()[[0, 1], [1, 0]] = 1.0  # feature 0 moves score 1, feature 1 score 0
    options = {"background": background, "output": "probability"}
    with pytest.raises(ValueError, match="no rule for a softmax"):
        shap_values(model, x, method="deep", **options)
    theirs = shap.DeepExplainer(model, background).shap_values(x)
    added_up = (model(x) - model(background).mean(0)).detach()
    np.testing.assert_allclose(theirs.sum(1), added_up, atol=1e-6)
    exact = shap_values(model, x, method="exact", **options)
    np.testing.assert_allclose(exact[:, 0, 0], -exact[:, 0, 1], atol=1e-12)  # both probabilities
    assert np.abs(exact[:, 0, 0]).max() > 0.1
    assert np.abs(theirs[:, 0, 0]).max() == 0


class UsedTwice(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.first, self.last, self.act = nn.Linear(6, 4), nn.Linear(4, outputs), nn.Tanh()

    def forward(self, x):
        return self.act(self.last(self.act(self.first(3 * x))))


def test_what_deep_cannot_do_is_an_error(data):
    x, background = data
    with pytest.raises(FloatingPointError, match="must add up"):
        shap_values(UsedTwice(4), x, background=background)
    with pytest.raises(ValueError, match="each of its layers once"):
        shap_values(UsedTwice(2), x, background=background)
    assert shap_values(UsedTwice(2), x, background=background, method="exact").shape == (6, 6, 2)
    with pytest.raises(ValueError, match="no rule for a layer Softsign"):
        shap_values(nn.Sequential(nn.Linear(6, 2), nn.Softsign()), x, background=background)


def test_bad_input_is_named(data):
    x, background = data
    wide = torch.zeros(3, 15)
    with pytest.raises(ValueError, match="at most 14 features"):
        shap_values(nn.Linear(15, 1), wide, background=wide, method="exact")
    with pytest.raises(ValueError, match=r"shape of those of x, \(6,\); got \(15,\)"):
        shap_values(sigmoid_mlp(), x, background=wide)
    with pytest.raises(ValueError, match=r"background must have shape .* N >= 1"):
        shap_values(sigmoid_mlp(), x, background=background[:0])
    with pytest.raises(ValueError, match="x must be finite"):
        shap_values(sigmoid_mlp(), x / 0, background=background)
    with pytest.raises(ValueError, match="Did you mean 'kernel'"):
        shap_values(sigmoid_mlp(), x, background=background, method="kernal")
    with pytest.raises(ValueError, match="x must fit the model"):
        shap_values(MLP([5, 2]), x, background=background)


# Agreement


def spread(scales, *, n=40, seed=0):
    scales = np.asarray(scales, dtype=float)
    return np.random.default_rng(seed).normal(size=(n, len(scales), 1)) * scales[:, None]


def test_agreement_is_scipys_of_the_importances():
    a, b = spread([1, 2, 3, 4, 5], seed=1), spread([2, 1, 3, 5, 4], seed=2)
    p, q = (np.abs(values).mean((0, 2)) for values in (a, b))
    found = rank_agreement(a, b, k=2, resamples=50).set_index("statistic")
    assert found.loc["spearman", "value"] == pytest.approx(stats.spearmanr(p, q).statistic)
    assert found.loc["kendall", "value"] == pytest.approx(stats.kendalltau(p, q).statistic)
    both = set(p.argsort()[-2:]) & set(q.argsort()[-2:])
    assert found.loc["top_k", "value"] == pytest.approx(len(both) / 2)
    shares = np.minimum(p / p.sum(), q / q.sum()).sum()
    assert found.loc["shares", "value"] == pytest.approx(shares)
    direct = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    assert found.loc["attributions", "value"] == pytest.approx(direct)
    assert (found["low"] <= found["high"]).all()
    assert found["examples"].eq(40).all()
    assert rank_agreement(a, b, k=2, resamples=0)[["low", "high"]].isna().all(axis=None)


def test_a_resampled_correlation_is_that_of_the_drawn_examples():
    a, b = spread([1, 2, 3], seed=1), spread([1, 2, 3], seed=2) + 5
    drawn = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40))
    direct = np.corrcoef(np.repeat(a, drawn, 0).ravel(), np.repeat(b, drawn, 0).ravel())[0, 1]
    found = rank_agreement(a, b, k=1, resamples=1, seed=0).set_index("statistic")
    assert found.loc["attributions", "low"] == pytest.approx(direct)


def values_of(a, b, k):
    return rank_agreement(a, b, k=k, resamples=0)["value"].tolist()


def test_only_the_attributions_tell_a_network_from_its_opposite():
    a = spread([1, 2, 3, 4])
    assert values_of(a, -a, 2) == pytest.approx([1, 1, 1, 1, -1])


def test_opposite_rankings_and_ties():
    a = np.abs(spread([1, 10, 100, 1000]))
    np.testing.assert_allclose(values_of(a, a[:, ::-1], 2)[:3], [-1, -1, 0], atol=1e-12)
    tied = np.ones((5, 4, 1))
    tied[:, 0] = 2  # one first, three tied for the second place
    other = np.array([4.0, 3, 2, 1])[None, :, None] * np.ones((5, 1, 1))
    assert values_of(tied, other, 2)[2] == pytest.approx((1 + 1 / 3) / 2)
    assert values_of(tied, tied, 2) == pytest.approx([1, 1, 1, 1, 1])
    noise = 1e-15 * np.array([0, 1, 2, 3])[:, None]
    small = values_of(1e-9 * (tied + noise), 1e-9 * (tied - noise), 2)
    assert small == pytest.approx([1, 1, 1, 1, 1])


def test_more_examples_narrow_the_interval():
    widths = []
    for n in (20, 500):
        a, b = spread(range(4, 12), n=n, seed=3), spread(range(4, 12), n=n, seed=4)
        frame = rank_agreement(a, b, k=3, resamples=60)
        widths.append((frame["high"] - frame["low"])[0])
    assert widths[1] < widths[0] / 2


@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3])
def test_what_does_not_vary_has_no_correlation(constant):
    a = np.full((7, 3, 1), constant)  # its mean is rounded
    frame = rank_agreement(a, spread([1, 2, 3], n=7), k=1, resamples=5).set_index("statistic")
    unknown = frame[["value", "low", "high"]].isna().all(axis=1)
    assert unknown[["spearman", "kendall", "attributions"]].all()
    assert unknown["shares"] == (constant == 0)


def test_bad_comparisons_are_named():
    with pytest.raises(ValueError, match="k must be at most the number of features, 3"):
        rank_agreement(spread([1, 2, 3]), spread([1, 2, 3]), k=4)
    with pytest.raises(ValueError, match="b must have shape"):
        rank_agreement(spread([1, 2, 3]), spread([1, 2]), k=1)
    with pytest.raises(ValueError, match="a must hold at least one attribution"):
        rank_agreement(np.zeros((0, 3, 1)), np.zeros((0, 3, 1)), k=1)
