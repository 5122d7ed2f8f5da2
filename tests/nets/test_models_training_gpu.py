"""The same networks and the same loop on a GPU."""

import pytest
import torch
from torch import nn

from causalprune_lib.diagnostics.cost import compare_latency, model_cost, sparse_linear_copy
from causalprune_lib.nets.models import build_model
from causalprune_lib.nets.training import evaluate, train

pytestmark = pytest.mark.gpu


def data():
    x = torch.randn(300, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return x, (x.mean(dim=(1, 2, 3)) > 0).long()


def test_the_seed_gives_the_same_weights_on_every_device():
    on_cpu = build_model("lenet", dataset="mnist", seed=3)
    with torch.device("cuda"):
        on_gpu = build_model("lenet", dataset="mnist", seed=3)
    for name, value in on_gpu.state_dict().items():
        assert value.is_cuda
        assert torch.equal(value.cpu(), on_cpu.state_dict()[name])


def test_the_generators_of_the_gpu_are_left_as_they_were():
    state = torch.cuda.get_rng_state()
    with torch.device("cuda"):
        model = build_model("lenet", dataset="mnist", init="fan_out", seed=1)
    train(model, *data(), epochs=1, progress=False)
    assert torch.equal(torch.cuda.get_rng_state(), state)


@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_data_may_live_on_either_device(where):
    x, y = (tensor.to(where) for tensor in data())
    model = build_model("lenet", dataset="mnist").cuda()
    twin = build_model("lenet", dataset="mnist")
    train(model, x, y, epochs=1, lr=0.01, progress=False)
    train(twin, *data(), epochs=1, lr=0.01, progress=False)
    assert all(parameter.is_cuda for parameter in model.parameters())
    # Same batches in the same order; five steps of float32 in another order of summation.
    assert evaluate(model, x, y).loss == pytest.approx(evaluate(twin, *data()).loss, rel=1e-2)


def test_costs_are_those_of_the_cpu_and_sparse_copies_agree():
    model = build_model("mlp", dataset="mnist").cuda()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.weight *= torch.rand_like(layer.weight) > 0.9
    x = data()[0][:8].cuda()
    sparse = sparse_linear_copy(model)
    torch.testing.assert_close(sparse(x), model(x).detach(), rtol=1e-4, atol=1e-4)
    assert model_cost(model, x).frame.equals(model_cost(model.cpu(), x.cpu()).frame)
    frame = compare_latency({"dense": model.cuda(), "csr": sparse}, x, repeats=5)
    assert (frame["median"] > 0).all()


def test_bfloat16_on_the_gpu_leaves_weights_in_float32_and_learns():
    x, y = (tensor.cuda() for tensor in data())
    found = {}
    for precision in ("full", "bfloat16"):
        model = build_model("lenet", dataset="mnist").cuda()
        options = {"epochs": 3, "optimizer": "adam", "progress": False, "precision": precision}
        train(model, x, y, **options)
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
        found[precision] = evaluate(model, x, y, precision=precision).loss
    assert found["bfloat16"] != found["full"]
    assert abs(found["bfloat16"] - found["full"]) < 0.1
