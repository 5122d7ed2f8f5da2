"""The networks: exact parameter counts, shapes and seeds."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from causalprune_lib.nets.data import dataset_info, load_dataset
from causalprune_lib.nets.models import MLP, AlexNet, LeNet, ResNet18, build_model


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


COUNTS = [
    ("lenet", "cifar10", {}, 657_080),
    ("lenet", "fashion_mnist", {}, 431_080),
    ("lenet", "mnist", {}, 431_080),
    ("lenet", "digits", {"image_size": 28}, 431_080),
    ("lenet", "tiny_imagenet", {}, 3_177_710),
    ("alexnet", "cifar10", {"variant": "imagenet"}, 57_044_810),
    ("alexnet", "cifar10", {}, 23_210_826),
    ("alexnet", "fashion_mnist", {}, 23_209_674),
    ("alexnet", "tiny_imagenet", {}, 57_823_240),
    ("resnet18", "cifar10", {}, 11_169_162),
    ("resnet18", "fashion_mnist", {}, 11_168_010),
    ("resnet18", "tiny_imagenet", {}, 11_266_632),
    ("resnet18", "cifar10", {"batch_norm": True}, 11_173_962),
    ("mlp", "mnist", {}, 266_610),  # LeNet-300-100
    ("mlp", "iris", {"hidden": [6]}, 4 * 6 + 6 + 6 * 3 + 3),
]


@pytest.mark.parametrize(("name", "dataset", "options", "expected"), COUNTS)
def test_parameter_counts(name, dataset, options, expected):
    with torch.device("meta"):  # shapes without memory
        assert count(build_model(name, dataset=dataset, **options)) == expected


def test_lenet_weights_of_the_paper():
    model = build_model("lenet", dataset="cifar10")
    sizes = {name: p.numel() for name, p in model.named_parameters() if name.endswith("weight")}
    assert sizes == {
        "conv1.weight": 1_500,
        "conv2.weight": 25_000,
        "fc1.weight": 625_000,
        "fc2.weight": 5_000,
    }


def test_only_one_small_alexnet_has_the_published_count():
    filters = [64, 192, 384, 256, 256]
    widths = [256, 512, 1024, 2048, 4096]
    found = []
    for kernels in itertools.product(range(1, 6), repeat=4):
        convolutions = (
            64 * 3 * 9
            + 64
            + sum(a * b * k * k + b for a, b, k in zip(filters, filters[1:], kernels, strict=False))
        )
        for first, second in itertools.product(widths, repeat=2):
            dense = first + first * second + second + second * 10 + 10
            pixels, rest = divmod(23_210_826 - convolutions - dense, 256 * first)
            if rest == 0 and pixels > 0 and math.isqrt(pixels) ** 2 == pixels:
                found.append((kernels, first, second, pixels))
    assert found == [((2, 3, 3, 3), 4096, 4096, 4)]


SMALL = [
    ("mlp", (1, 8, 8), {}),
    ("lenet", (3, 32, 32), {}),
    ("lenet", (1, 16, 20), {}),
    ("alexnet", (2, 11, 40), {}),
    ("resnet18", (3, 8, 8), {}),
    ("resnet18", (1, 8, 8), {"batch_norm": True}),
]


@pytest.mark.parametrize(("name", "shape", "options"), SMALL)
def test_forward_and_backward_reach_every_parameter(name, shape, options):
    model = build_model(name, shape=shape, n_classes=7, **options)
    scores = model(torch.rand(2, *shape))
    assert scores.shape == (2, 7)
    scores.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("pixels", [63, 64, 224])
def test_imagenet_alexnet_takes_images_from_63_pixels(pixels):
    with torch.device("meta"):
        model = AlexNet((3, pixels, pixels), 10)
        assert model(torch.empty(2, 3, pixels, pixels)).shape == (2, 10)
        assert count(model) == 57_044_810


def test_small_alexnet_ends_in_an_image_of_2x2_at_28_and_32_pixels():
    for channels, pixels in ((3, 32), (1, 28)):
        with torch.device("meta"):
            model = AlexNet((channels, pixels, pixels), 10)
            features = model[: list(dict(model.named_children())).index("flatten")]
            assert features(torch.empty(1, channels, pixels, pixels)).shape == (1, 256, 2, 2)


def test_resnet_without_normalisation_has_biases_and_with_it_has_none():
    with torch.device("meta"):
        plain, normalised = ResNet18(), ResNet18(batch_norm=True)

    def convolutions(model):
        return [m for m in model.modules() if isinstance(m, nn.Conv2d)]

    assert len(convolutions(plain)) == 20  # 17 in the main path, 3 shortcuts
    assert all(layer.bias is not None for layer in convolutions(plain))
    assert all(layer.bias is None for layer in convolutions(normalised))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.modules())


def test_a_residual_block_with_zero_weights_is_a_relu():
    block = ResNet18((3, 32, 32)).stage1[0]
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(2, 64, 4, 4)
    assert torch.equal(block(x), x.relu())


def test_resnet_takes_images_of_another_size():
    model = build_model("resnet18", dataset="cifar10")
    assert model(torch.zeros(1, 3, 20, 24)).shape == (1, 10)


def test_mlp_is_the_composition_it_says():
    model = MLP([3, 4, 2], activation="tanh", output="sigmoid")
    x = torch.randn(5, 3)
    w1, b1, w2, b2 = model.parameters()
    expected = torch.sigmoid(torch.tanh(x @ w1.T + b1) @ w2.T + b2)
    torch.testing.assert_close(model(x), expected)


def test_mlp_flattens_images():
    assert build_model("mlp", dataset="digits")(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("init", ["default", "fan_out"])
@pytest.mark.parametrize("name", ["mlp", "lenet"])
def test_the_seed_fixes_the_weights_and_the_global_generator_is_untouched(name, init):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    options = {"shape": (1, 16, 16), "n_classes": 3, "init": init}
    first, other = (build_model(name, **options, seed=seed) for seed in (5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    again = build_model(name, **options, seed=5)
    for (key, value), weight in zip(first.state_dict().items(), again.parameters(), strict=True):
        assert torch.equal(value, weight)
        if init == "default" or key.endswith("weight"):  # biases start from 0 by fan_out
            assert not torch.equal(value, other.state_dict()[key])


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28)])
def test_alexnet_takes_the_images_of_the_paper(shape):
    with torch.device("meta"):
        model = build_model("alexnet", shape=shape, n_classes=7)
        assert model(torch.rand(2, *shape)).shape == (2, 7)


def test_fan_out_has_the_standard_deviation_of_he_et_al():
    model = build_model("lenet", dataset="cifar10", init="fan_out", seed=2)
    fan_outs = {"conv1": 20 * 25, "conv2": 50 * 25, "fc1": 500, "fc2": 10}
    for name, fan_out in fan_outs.items():
        layer = model.get_submodule(name)
        n, std = layer.weight.numel(), math.sqrt(2 / fan_out)
        # The standard error of a standard deviation is std / sqrt(2 n); allow five of them.
        assert float(layer.weight.detach().std()) == pytest.approx(std, rel=5 / math.sqrt(2 * n))
        assert float(layer.weight.detach().mean()) == pytest.approx(0, abs=5 * std / math.sqrt(n))
        assert torch.count_nonzero(layer.bias) == 0


def test_a_loaded_dataset_says_what_fits_it():
    data = load_dataset("digits", size=28, progress=False)
    model = build_model("lenet", dataset=data)
    assert model(data.x_test[:2]).shape == (2, 10)


def test_slices_are_plain_sequences():
    model = LeNet()
    assert type(model[:3]) is nn.Sequential
    assert list(dict(model[:3].named_children())) == ["conv1", "relu1", "pool1"]
    assert model[0] is model.conv1


def test_models_can_be_copied_and_their_weights_reloaded():
    model = build_model("lenet", shape=(1, 16, 16), n_classes=3)
    twin = copy.deepcopy(model)
    twin.load_state_dict(model.state_dict())
    assert type(twin) is type(model)
    x = torch.rand(2, 1, 16, 16)
    assert torch.equal(twin(x), model(x))


def test_every_image_dataset_has_a_network():
    for dataset in ("digits", "mnist", "fashion_mnist", "cifar10", "tiny_imagenet"):
        shape = dataset_info(dataset).shape
        with torch.device("meta"):
            model = build_model("resnet18", dataset=dataset)
            assert model(torch.empty(1, *shape)).shape == (1, dataset_info(dataset).n_classes)
