"""Tasks: what targets may look like, and what each is judged by."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from causalprune_lib.nets.tasks import TASKS, class_targets, squared_error, task_of
from causalprune_lib.nets.training import evaluate, train


def line(n=40):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    return x, x @ torch.tensor([[1.0], [-2.0]]) + 0.5


def test_a_regression_is_trained_and_judged_by_the_variance_that_it_explains():
    x, y = line()
    model = nn.Linear(2, 1)
    before = evaluate(model, x, y, task="regression")
    history = train(
        model, x, y, epochs=60, lr=0.1, task="regression", validation=(x, y), progress=False
    )
    judged = evaluate(model, x, y, task="regression")
    assert before.metric < 0.9 < 0.999 < judged.metric <= 1
    assert judged.metric == pytest.approx(1 - judged.loss / float(y.var(correction=0)), abs=1e-6)
    assert history.frame["val_r2"].iloc[-1] == judged.metric
    with pytest.raises(AttributeError, match="judged by r2"):
        judged.accuracy  # noqa: B018


def test_the_squared_error_is_that_of_one_hot_classes_and_one_output_is_rounded():
    outputs = torch.tensor([[0.2, 0.9], [0.6, 0.1]])
    y = torch.tensor([1, 1])
    by_hand = ((0.2**2 + 0.1**2) + (0.6**2 + 0.9**2)) / 2
    assert squared_error(outputs, y).item() == pytest.approx(by_hand)
    assert TASKS["squared_error"].metric(outputs, y) == 0.5
    assert TASKS["squared_error"].metric(torch.tensor([[0.5], [0.49]]), y) == 0.5
    assert class_targets(torch.tensor([0, 2]), 3).tolist() == [[1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("task", "y", "error", "said"),
    [
        ("regression", torch.zeros(12, 3), ValueError, r"shape of the outputs, \(N, \*\(1,\)\)"),
        ("regression", torch.zeros(12, 1).long(), TypeError, "floating-point values; got"),
        ("regression", torch.full((12, 1), torch.nan), ValueError, "y must be finite"),
        ("classification", torch.zeros(12).long(), ValueError, "goes with task='squared_error'"),
        (
            "squared_error",
            torch.full((12,), 2),
            ValueError,
            r"classes 0\.\.1, .* got .* 2\.\.2",
        ),
    ],
)
def test_targets_that_do_not_fit_are_named(task, y, error, said):
    with pytest.raises(error, match=said):
        evaluate(nn.Linear(2, 1), torch.zeros(12, 2), y, task=task)


def test_a_task_can_be_named_or_given():
    assert task_of(TASKS["regression"]) is TASKS["regression"]
    with pytest.raises(ValueError, match="Did you mean 'regression'"):
        task_of("regresion")
