"""Training and judging in bfloat16: what is computed in it, and what is not."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from toys import blobs, network, quiet, weights

from causalprune_lib.nets.models import build_model
from causalprune_lib.nets.training import Training, evaluate, forward
from causalprune_lib.pruning.causal import record

UNIT = 2.0**-8  # of bfloat16: rounding changes a number by at most this share of it


def test_the_step_is_that_of_autocast_with_the_loss_outside():
    x, y = blobs(50)
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    twin = copy.deepcopy(model)
    quiet(model, x, y, epochs=1, batch_size=50, lr=0.3, shuffle=False, precision="bfloat16")
    with torch.autocast("cpu", torch.bfloat16):
        outputs = twin(x)
    assert outputs.dtype == torch.bfloat16
    cross_entropy(outputs.float(), y).backward()
    torch.optim.SGD(twin.parameters(), lr=0.3).step()
    assert torch.equal(weights(model), weights(twin))


def test_outputs_are_rounded_by_no_more_than_the_type_does():
    """Inputs, weights and results of one layer are rounded: three times the unit of sum |w x|."""
    layer = nn.Linear(64, 16, bias=False)
    x = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    bound = 3.1 * UNIT * (x.abs() @ layer.weight.detach().abs().T)
    found = forward(layer, x, "bfloat16")
    assert found.dtype == torch.float32
    assert (found != layer(x)).any()
    assert ((found - layer(x)).abs() <= bound).all()


def test_weights_scores_and_losses_stay_in_float32():
    """SGD moves a weight by 1e-3 of a gradient: bfloat16 weights, of three digits, would stand."""
    x, y = blobs()
    model = network()
    before = weights(model).clone()
    training = Training(epochs=1, batch_size=20, lr=1e-6, precision="bfloat16")
    found = record(model, (x, y), training)
    moved = weights(model) - before
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert 0 < moved.abs().max() < UNIT * before.abs().max()
    assert all(sums.dtype == torch.float32 for sums in found.scores["two_batch"].sums.values())
    assert found.losses != tuple(torch.tensor(found.losses).bfloat16().tolist())


def test_both_changes_of_the_loss_are_measured_in_the_precision_of_the_training():
    """Taken before the step by the probe or by the loop, the loss of a batch is the same number."""
    x, y = blobs()
    training = Training(epochs=1, batch_size=20, precision="bfloat16")
    plain = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    sums = [
        record(
            copy.deepcopy(plain), (x, y), training, changes=["same_batch"], reuse_loss=reuse
        ).scores["same_batch"]
        for reuse in (True, False)
    ]
    for name, values in sums[0].sums.items():
        assert torch.equal(values, sums[1].sums[name])


def test_a_convolutional_network_learns_as_well_in_either():
    """Three standard errors of the difference of two shares of 360 test images are 0.08."""
    from causalprune_lib.nets.data import load_dataset

    data = load_dataset("digits", size=20, subset=(640, 360))
    found = []
    for precision in ("full", "bfloat16"):
        model = build_model("lenet", dataset="digits", image_size=20, seed=0)
        model = model.to(memory_format=torch.channels_last)
        training = Training(4, lr=1e-3, optimizer="adam", precision=precision)
        training.train(model, data.x_train, data.y_train)
        found.append(evaluate(model, data.x_test, data.y_test, precision=precision).accuracy)
    assert min(found) > 0.8
    assert abs(found[0] - found[1]) < 0.08


def test_an_unknown_precision_is_refused_with_those_there_are():
    x, y = blobs()
    for call in (quiet, evaluate):
        with pytest.raises(ValueError, match="precision must be one of 'full', 'bfloat16'"):
            call(network(), x, y, precision="float16")
