"""Networks that cannot be built, and batches that do not fit: errors that say what to do."""

import pytest
import torch

from causalprune_lib.nets.models import MLP, AlexNet, LeNet, build_model


def test_unknown_names_offer_the_nearest():
    with pytest.raises(ValueError, match=r"name must be one of .* Did you mean 'lenet'"):
        build_model("LeNet5", dataset="cifar10")
    with pytest.raises(ValueError, match="Did you mean 'cifar10'"):
        build_model("lenet", dataset="cifar-10")
    with pytest.raises(ValueError, match=r"option of mlp must be one of .*'activation'"):
        build_model("mlp", dataset="cifar10", activasion="tanh")
    with pytest.raises(ValueError, match=r"option of lenet must be .* Did you mean 'seed'"):
        build_model("lenet", dataset="cifar10", sed=3)
    with pytest.raises(ValueError, match="Did you mean 'fan_out'"):
        build_model("lenet", dataset="cifar10", init="fanout")
    with pytest.raises(ValueError, match="Did you mean 'imagenet'"):
        build_model("alexnet", dataset="cifar10", variant="image_net")
    with pytest.raises(ValueError, match="Did you mean 'sigmoid'"):
        MLP([2, 2], activation="sigmoidal")


@pytest.mark.parametrize(
    ("name", "options", "smallest"),
    [
        ("lenet", {"dataset": "digits"}, "16x16"),
        ("alexnet", {"dataset": "digits"}, "11x11"),
        ("alexnet", {"dataset": "cifar10", "variant": "imagenet", "image_size": 32}, "63x63"),
    ],
)
def test_images_that_are_too_small_are_named_with_the_smallest_size(name, options, smallest):
    with pytest.raises(ValueError, match=f"at least {smallest} pixels .* Enlarge the images"):
        build_model(name, **options)


@pytest.mark.parametrize(("network", "smallest"), [(LeNet, 16), (AlexNet, 11)])
def test_the_smallest_image_really_works(network, smallest):
    with torch.device("meta"):
        assert network((1, smallest, smallest), 2)(torch.zeros(1, 1, smallest, smallest)).shape == (
            1,
            2,
        )
        with pytest.raises(ValueError, match=f"at least {smallest}x{smallest}"):
            network((1, smallest - 1, smallest), 2)


@pytest.mark.parametrize("name", ["lenet", "alexnet", "resnet18"])
def test_networks_of_images_refuse_tables(name):
    with pytest.raises(ValueError, match=r"shape must be \(channels, height, width\).*got \(4,\)"):
        build_model(name, dataset="iris")


def test_what_is_missing_or_too_much_is_named():
    with pytest.raises(ValueError, match="dataset must be given, or shape and n_classes"):
        build_model("mlp", shape=(3,))
    with pytest.raises(ValueError, match="not be given together"):
        build_model("mlp", dataset="iris", n_classes=3)
    with pytest.raises(ValueError, match="n_classes must be >= 2; got 1"):
        build_model("mlp", shape=(3,), n_classes=1)
    with pytest.raises(ValueError, match="at least two widths"):
        MLP([3])
    with pytest.raises(TypeError, match=r"sizes\[1\] must be a whole number"):
        MLP([3, 2.5, 1])


@pytest.mark.parametrize("name", ["mlp", "lenet", "resnet18"])
def test_a_batch_of_another_shape_is_named(name):
    model = build_model(name, dataset="cifar10")
    with pytest.raises(ValueError, match="x must have shape"):
        model(torch.zeros(2, 1, 28, 28))
