"""The networks of the two papers, and `build_model`, the one entry to all of them.

`MLP` is the kind of network of the LEGCNet paper. `LeNet` and `AlexNet` (`convnets.py`) and
`ResNet18` (`resnet.py`) have exactly the parameter counts of the causal pruning paper's code. Each
is a chain of named layers, so weights have the names one would expect: `model.conv1.weight`,
`model.fc2.bias`. Each maps N examples to class scores (logits) of shape (N, K).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import prod

import torch
from torch import nn

from causalprune_lib._random import seeded
from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.nets.chain import Chain, check_image_shape
from causalprune_lib.nets.convnets import AlexNet, LeNet
from causalprune_lib.nets.datasets import Dataset, dataset_info
from causalprune_lib.nets.guards import device_and_dtype
from causalprune_lib.nets.parameters import PRUNABLE_MODULES
from causalprune_lib.nets.resnet import ResNet18

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


class MLP(Chain):
    """A chain of fully connected layers with an activation between them.

    Parameters
    ----------
    sizes : sequence of int
        Width of every layer, the input and the output included: [784, 300, 10].
    activation : {"relu", "sigmoid", "tanh"}
        What follows every layer but the last.
    output : {"relu", "sigmoid", "tanh"}, optional
        What follows the last layer. None (default) leaves class scores; the networks of the
        LEGCNet paper have "sigmoid".

    Examples
    --------
    >>> model = MLP([4, 6, 3], activation="sigmoid", output="sigmoid")  # LEGCNet's iris network
    >>> [name for name, _ in model.named_parameters()]
    ['fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias']
    >>> tuple(model(torch.zeros(5, 4)).shape)
    (5, 3)
    """

    def __init__(
        self, sizes: Sequence[int], activation: str = "relu", *, output: str | None = None
    ):
        widths = [check_int(f"sizes[{i}]", size) for i, size in enumerate(sizes)]
        if len(widths) < 2:
            raise ValueError(f"sizes must hold at least two widths, input and output; got {sizes}.")
        check_choice("activation", activation, ACTIVATIONS)
        if output is not None:
            check_choice("output", output, ACTIVATIONS)
        layers = OrderedDict()
        last = len(widths) - 1
        for i in range(1, last + 1):
            layers[f"fc{i}"] = nn.Linear(widths[i - 1], widths[i])
            following = activation if i < last else output
            if following is not None:
                layers[f"{following}{i}"] = ACTIVATIONS[following]()
        super().__init__(layers, shape=(widths[0],))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map vectors (N, F), or images (N, C, H, W) with C * H * W = F, to scores (N, K)."""
        return super().forward(x.flatten(1))


NETWORKS = {"mlp": MLP, "lenet": LeNet, "alexnet": AlexNet, "resnet18": ResNet18}
OPTIONS = {
    "mlp": ("hidden", "activation", "output"),
    "lenet": ("kernel_size",),
    "alexnet": ("variant", "dropout"),
    "resnet18": ("batch_norm",),
}


def build_model(
    name: str,
    *,
    dataset: str | Dataset | None = None,
    shape: Sequence[int] | None = None,
    n_classes: int | None = None,
    image_size: int | None = None,
    seed: int = 0,
    init: str = "default",
    **options,
) -> nn.Module:
    """Build a network that fits a data set, with weights fixed by a seed.

    Parameters
    ----------
    name : {"mlp", "lenet", "alexnet", "resnet18"}
        Which network.
    dataset : str or object with `shape` and `n_classes`
        A name that `load_dataset` knows, or what `load_dataset` returned. Nothing is downloaded.
    shape, n_classes : sequence of int, int
        Shape of one example and number of classes K, for data of your own, instead of `dataset`.
    image_size : int, optional
        Side of the images in pixels, where they are resized. AlexNet's variant "imagenet" takes
        224 if nothing is said and the images are too small for it.
    seed : int
        The same seed gives the same weights, on every device. The global generator is untouched.
    init : {"default", "fan_out"}
        "default": PyTorch's own. "fan_out": normal with variance 2 / fan_out and biases 0
        (He, Zhang, Ren and Sun 2015), as in the causal pruning paper's code of 2024.
    **options
        mlp: `hidden` (default (300, 100)), `activation`, `output`. lenet: `kernel_size`. alexnet:
        `variant`, `dropout`. resnet18: `batch_norm`.

    Returns
    -------
    nn.Module
        In training mode, on PyTorch's default device (usually the CPU).

    Raises
    ------
    ValueError
        If a name is unknown, or the images are too small for the network.

    Examples
    --------
    >>> model = build_model("lenet", dataset="cifar10", seed=1)
    >>> sum(p.numel() for p in model.parameters())
    657080
    >>> tuple(build_model("mlp", shape=(4,), n_classes=3, hidden=[6])(torch.zeros(1, 4)).shape)
    (1, 3)
    """
    check_choice("name", name, NETWORKS)
    check_choice("init", init, ["default", "fan_out"])
    check_int("seed", seed, minimum=0)
    for option in options:
        check_choice(f"option of {name}", option, OPTIONS[name])
    shape, n_classes = _shape_and_classes(dataset, shape, n_classes)
    if (
        image_size is None
        and options.get("variant") == "imagenet"
        and min(shape[1:], default=0) < 63
    ):
        image_size = 224
    if image_size is not None:
        channels, _, _ = check_image_shape(name, shape)
        shape = (channels, check_int("image_size", image_size), image_size)

    place = torch.empty(0).device
    drawn_on = place if place.type == "meta" else torch.device("cpu")
    with seeded(seed), drawn_on:
        if name == "mlp":
            hidden = options.pop("hidden", (300, 100))
            model = MLP([prod(shape), *hidden, n_classes], **options)
        else:
            model = NETWORKS[name](shape, n_classes, **options)
        if init == "fan_out":
            initialise_fan_out(model, seed=seed)
    return model.to(place)


def initialise_fan_out(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """Draw every linear and convolution weight anew from N(0, 2 / fan_out); set their biases to 0.

    fan_out is the number of outputs that one input reaches: the rows of a matrix, or the filters
    times the kernel's pixels. Changes `model` in place and returns it.
    """
    with seeded(seed, device_and_dtype(model)[0]), torch.no_grad():
        for module in model.modules():
            if isinstance(module, PRUNABLE_MODULES):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return model


def _shape_and_classes(dataset, shape, n_classes) -> tuple[tuple[int, ...], int]:
    if dataset is not None:
        if shape is not None or n_classes is not None:
            raise ValueError("dataset must not be given together with shape or n_classes.")
        info = dataset_info(dataset) if isinstance(dataset, str) else dataset
        if not info.shape:
            raise ValueError(f"dataset must have examples of a fixed shape; got {dataset!r}.")
        return tuple(info.shape), info.n_classes
    if shape is None or n_classes is None:
        raise ValueError("dataset must be given, or shape and n_classes; got neither.")
    shape = tuple(check_int(f"shape[{i}]", n) for i, n in enumerate(shape))
    return shape, check_int("n_classes", n_classes, minimum=2)
