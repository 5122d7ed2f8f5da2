"""Bad input to `train` and `evaluate`, named before anything has changed."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from toys import blobs, network, quiet, weights

from causalprune_lib.nets.tasks import TASKS
from causalprune_lib.nets.training import evaluate

X, Y = blobs(12)
BAD_DATA = {
    "float64": (X.double(), Y, TypeError, r"x must have the model's dtype, torch\.float32"),
    "integers": ((X * 100).to(torch.uint8), Y, TypeError, r"got torch\.uint8"),
    "numpy": (X.numpy(), Y, TypeError, r"x must be a torch\.Tensor; got ndarray"),
    "float labels": (X, Y.float(), TypeError, r"y must hold classes as torch\.int64"),
    "list labels": (X, Y.tolist(), TypeError, r"y must be a torch\.Tensor; got list"),
    "one-hot labels": (
        X,
        torch.eye(3).long()[Y],
        ValueError,
        r"shape \(N,\); got \(12, 3\)",
    ),
    "other length": (X, Y[:5], ValueError, r"as many targets; got \(12, 2\) and \(5,\)"),
    "no features": (X[:, 0], Y, ValueError, r"got \(12,\) and \(12,\)"),
    "empty": (X[:0], Y[:0], ValueError, "x must hold at least one example"),
    "label too high": (X, Y + 1, ValueError, r"classes 0\.\.2.*got classes 1\.\.3"),
    "label too low": (X, Y - 1, ValueError, r"got classes -1\.\.1"),
    "nan": (torch.where(X > 1, math.nan, X), Y, ValueError, "x must be finite; got"),
    "wrong width": (torch.zeros(12, 5), Y, ValueError, r"x must fit the model.*\(1, 5\)"),
}


def with_loss(loss):
    return replace(TASKS["classification"], loss=loss)


@pytest.mark.parametrize("case", BAD_DATA)
@pytest.mark.parametrize("function", [quiet, evaluate])
def test_bad_data_is_named_before_anything_happens(case, function):
    x, y, error, message = BAD_DATA[case]
    model = network()
    before = weights(model)
    with pytest.raises(error, match=message):
        function(model, x, y)
    assert torch.equal(weights(model), before)


def test_bad_validation_data_is_named():
    with pytest.raises(ValueError, match=r"validation\[1\] must hold classes 0\.\.2"):
        quiet(network(), X, Y, validation=(X, Y + 5))
    with pytest.raises(ValueError, match=r"validation must be a pair \(x_val, y_val\)"):
        quiet(network(), X, Y, validation=X)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": -1}, ValueError, "epochs must be >= 0; got -1"),
        ({"epochs": 1.5}, TypeError, "epochs must be a whole number"),
        ({"batch_size": 0}, ValueError, "batch_size must be >= 1"),
        ({"lr": 0}, ValueError, "lr must be a finite number > 0"),
        ({"lr": math.nan}, ValueError, "lr must be a finite number > 0; got nan"),
        ({"optimizer": "adamw"}, ValueError, "Did you mean 'adam'"),
        ({"momentum": 1.0}, ValueError, "momentum must be in"),
        ({"optimizer": "adam", "momentum": 0.9}, ValueError, "momentum must be 0 with"),
        ({"weight_decay": -1}, ValueError, "weight_decay must be a finite number >= 0"),
        ({"patience": 0, "validation": (X, Y)}, ValueError, "patience must be >= 1"),
        ({"task": "ranking"}, ValueError, "task must be one of"),
        ({"task": with_loss(lambda outputs, y: outputs)}, ValueError, "must return a tensor with"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        quiet(network(), X, Y, **options)


def test_a_diverging_loss_names_epoch_step_and_rate():
    with pytest.raises(FloatingPointError, match=r"epoch 1, step 2\. .* lr is 1e\+30; try 1e\+29"):
        quiet(network(), *blobs(), lr=1e30)


def test_a_divergence_in_the_last_step_is_found_too():
    x, y = blobs()
    big = with_loss(lambda outputs, y: 1e6 * outputs.sum())
    with pytest.raises(FloatingPointError, match="last step of epoch 1"):
        quiet(network(), x, y, epochs=1, batch_size=len(x), lr=1e38, task=big)


def test_weights_that_are_not_finite_are_named():
    model = network()
    with torch.no_grad():
        model[3].bias[1] = math.nan
    with pytest.raises(ValueError, match=r"model parameter '3\.bias' must be finite; got 1 NaN"):
        quiet(model, X, Y)


def test_a_model_with_nothing_to_train_is_an_error():
    with pytest.raises(ValueError, match="must have a parameter that requires a gradient"):
        quiet(network().requires_grad_(False), X, Y)


def test_a_model_that_does_not_classify_is_an_error():
    class Flat(nn.Linear):
        def forward(self, x):
            return super().forward(x)[:, 0]

    with pytest.raises(ValueError, match=r"class scores of shape \(N, K\); got \(1,\)"):
        quiet(Flat(2, 1), X, Y)
