"""The networks of the two papers, and `build_model`, the one entry to all of them.

`MLP` is the kind of network of the LEGCNet paper (arXiv:2308.09955). `LeNet`, `AlexNet` and
`ResNet18` have exactly the parameter counts of the causal pruning paper's code (arXiv:2412.03035).
Their layers have names (`model.conv1.weight`). Each maps N examples to class scores (N, K).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import nn

from causalprune_lib._random import seeded
from causalprune_lib._validation import check_choice, check_int, check_shape
from causalprune_lib.nets.data import Dataset, dataset_info
from causalprune_lib.nets.parameters import PRUNABLE_MODULES

NETWORKS = {  # what `build_model` knows, and the options that it passes on
    "mlp": ("hidden", "activation", "output"),
    "lenet": (),
    "alexnet": ("variant",),
    "resnet18": ("batch_norm",),
}
COMMON = ("dataset", "shape", "n_classes", "image_size", "seed", "init")
Shape = tuple[int, int, int]  # channels, height and width of an image
ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
SMALLEST_IMAGENET = 63  # pixels that the strides of AlexNet's variant "imagenet" need


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
    """Build a network that fits a data set, with weights fixed by a seed, on the default device.

    A ValueError names an unknown option, and images that are too small for the network.

    Parameters
    ----------
    name : {"mlp", "lenet", "alexnet", "resnet18"}
    dataset : str or object with `shape` and `n_classes`
        A name that `load_dataset` knows, or what it returned. Nothing is downloaded.
    shape, n_classes : sequence of int, int
        For data of your own, instead of `dataset`: shape of one example, number of classes K.
    image_size : int, optional
        Side in pixels that images are resized to. AlexNet's variant "imagenet" takes 224 if
        nothing is said and the images are too small for it.
    seed : int
        The same seed gives the same weights, on every device. The global generator is untouched.
    init : {"default", "fan_out"}
        "default": PyTorch's own. "fan_out": normal with variance 2 / fan_out and biases 0
        (He, Zhang, Ren and Sun 2015), as in the causal pruning paper's code of 2024.
    **options
        mlp: `hidden` (default (300, 100)), `activation`, `output`. alexnet: `variant`. resnet18:
        `batch_norm`.

    Examples
    --------
    >>> model = build_model("lenet", dataset="cifar10", seed=1)
    >>> sum(p.numel() for p in model.parameters())
    657080
    """
    check_choice("name", name, NETWORKS)
    check_choice("init", init, ["default", "fan_out"])
    check_int("seed", seed, minimum=0)
    for option in options:
        check_choice(f"option of {name}", option, (*NETWORKS[name], *COMMON))
    if dataset is not None:
        if shape is not None or n_classes is not None:
            raise ValueError("dataset must not be given together with shape or n_classes.")
        info = dataset_info(dataset) if isinstance(dataset, str) else dataset
        shape, n_classes = info.shape, info.n_classes
    elif shape is None or n_classes is None:
        raise ValueError("dataset must be given, or shape and n_classes; got neither.")
    shape = tuple(check_int(f"shape[{i}]", n) for i, n in enumerate(shape))
    check_int("n_classes", n_classes, minimum=2)
    if image_size is None and options.get("variant") == "imagenet":
        image_size = 224 if min(shape[1:], default=0) < SMALLEST_IMAGENET else None
    if image_size is not None:
        channels, _, _ = _check_images(name, shape, n_classes)
        shape = (channels, check_int("image_size", image_size), image_size)

    place = torch.empty(0).device
    drawn_on = place if place.type == "meta" else torch.device("cpu")
    with seeded(seed), drawn_on:
        if name == "mlp":
            hidden = options.pop("hidden", (300, 100))
            model = MLP([prod(shape), *hidden, n_classes], **options)
        else:
            network = {"lenet": LeNet, "alexnet": AlexNet, "resnet18": ResNet18}[name]
            model = network(shape, n_classes, **options)
    if init == "fan_out":
        with seeded(seed):
            _draw_by_fan_out(model)
    return model.to(place)


@torch.no_grad()
def _draw_by_fan_out(model: nn.Module) -> None:
    """Draw linear and convolution weights anew from N(0, 2 / fan_out); set their biases to 0."""
    for module in model.modules():
        if isinstance(module, PRUNABLE_MODULES):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class Network(nn.Sequential):
    """Named layers in order, and the `shape` of one example, where None stands for any length."""

    def __init__(self, layers: OrderedDict[str, nn.Module], shape: tuple[int | None, ...]):
        super().__init__(layers)
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map examples (N, *shape) to class scores (N, K)."""
        check_shape("x", x, (None, *self.shape))
        return super().forward(x)

    def __getitem__(self, index):
        """One layer, or a plain `nn.Sequential` of several (`model[:-1]`)."""
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict(list(self.named_children())[index]))
        return super().__getitem__(index)


class MLP(Network):
    """Fully connected layers with an activation between them.

    `sizes` are the widths of all layers, input and output included. The `activation` ("relu",
    "sigmoid" or "tanh") follows every layer but the last, and `output` follows that one. None
    leaves class scores; the networks of the LEGCNet paper have "sigmoid" there.

    >>> model = MLP([4, 6, 3], activation="sigmoid", output="sigmoid")  # LEGCNet's iris network
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
        for i, (n_in, n_out) in enumerate(pairwise(widths), start=1):
            layers[f"fc{i}"] = nn.Linear(n_in, n_out)
            following = activation if i < len(widths) - 1 else output
            if following is not None:
                layers[f"{following}{i}"] = ACTIVATIONS[following]()
        super().__init__(layers, shape=(widths[0],))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map vectors (N, F), or images (N, C, H, W) with C * H * W = F, to scores (N, K)."""
        return super().forward(x.flatten(1))


class LeNet(Network):
    """Two convolutions, each followed by max-pooling, and two fully connected layers.

    LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998) in its later form: 20 and 50 filters of 5x5, or
    7x7 for images of 64 pixels and more, 500 hidden units, ReLU. 657,080 parameters for CIFAR-10,
    431,080 for 28x28 grey images, 3,177,710 for Tiny ImageNet.
    """

    def __init__(self, shape: Shape = (3, 32, 32), n_classes: int = 10):
        channels, height, width = _check_images("LeNet", shape, n_classes, smallest=16)
        k = 7 if min(height, width) >= 64 else 5
        h, w = (((side - k + 1) // 2 - k + 1) // 2 for side in (height, width))
        layers = OrderedDict(
            conv1=nn.Conv2d(channels, 20, k),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(20, 50, k),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(50 * h * w, 500),
            relu3=nn.ReLU(),
            fc2=nn.Linear(500, n_classes),
        )
        super().__init__(layers, shape=(channels, height, width))


class AlexNet(Network):
    """Five convolutions and three fully connected layers, in a `variant` by the size of the image.

    The one-column form (Krizhevsky, "One weird trick for parallelizing convolutional neural
    networks", 2014) of the network that won ImageNet in 2012, with torchvision's widths: 64, 192,
    384, 256 and 256 filters, then 4096, 4096 and K units, with dropout before the first two.

    "imagenet": an 11x11 kernel with stride 4 first, then 5x5; from 63 pixels up, with the last
    image averaged to 6x6; 57,044,810 parameters for 3 channels and 10 classes. "small": a 3x3
    kernel with stride 2 first, then 2x2; made for 28 and 32 pixels, where the last image is 2x2;
    23,210,826 parameters for CIFAR-10 and 23,209,674 for Fashion-MNIST. We know this form of the
    paper's code by these counts alone; strides and padding, which no count shows, are ours.
    """

    def __init__(
        self, shape: Shape | None = None, n_classes: int = 10, *, variant: str | None = None
    ):
        if variant is not None:
            check_choice("variant", variant, ["imagenet", "small"])
        if shape is None:
            shape = (3, 224, 224) if variant == "imagenet" else (3, 32, 32)
        channels, height, width = _check_images("AlexNet", shape, n_classes)
        if variant is None:
            variant = "imagenet" if min(height, width) >= SMALLEST_IMAGENET else "small"
        smallest = SMALLEST_IMAGENET if variant == "imagenet" else 11
        _check_images(f"AlexNet of variant {variant!r}", shape, n_classes, smallest)
        if variant == "imagenet":
            first = nn.Conv2d(channels, 64, 11, stride=4, padding=2)
            second = nn.Conv2d(64, 192, 5, padding=2)
            pool, average = {"kernel_size": 3, "stride": 2}, nn.AdaptiveAvgPool2d(6)
            h, w = 6, 6
        else:
            first = nn.Conv2d(channels, 64, 3, stride=2, padding=1)
            second = nn.Conv2d(64, 192, 2, padding=1)
            pool, average = {"kernel_size": 2}, nn.Identity()
            h, w = (((side + 1) // 2 // 2 + 1) // 2 // 2 for side in (height, width))
        later = [nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise((192, 384, 256, 256))]
        layers = OrderedDict()
        for i, convolution in enumerate((first, second, *later), start=1):
            layers |= {f"conv{i}": convolution, f"relu{i}": nn.ReLU()}
            if i in (1, 2, 5):
                layers[f"pool{i}"] = nn.MaxPool2d(**pool)
        layers |= {
            "average": average,
            "flatten": nn.Flatten(),
            "drop1": nn.Dropout(0.5),
            "fc1": nn.Linear(256 * h * w, 4096),
            "relu6": nn.ReLU(),
            "drop2": nn.Dropout(0.5),
            "fc2": nn.Linear(4096, 4096),
            "relu7": nn.ReLU(),
            "fc3": nn.Linear(4096, n_classes),
        }
        super().__init__(layers, shape=(channels, height, width))


class ResNet18(Network):
    """Eighteen layers of weights: a first convolution, eight residual blocks, a linear layer.

    The form for small images of He, Zhang, Ren and Sun (2015): widths of 64, 128, 256 and 512, two
    blocks each. The image is halved on entering each of the last three and averaged at the end, so
    images of any size may come. 11,169,162 parameters for CIFAR-10, 11,168,010 for one channel,
    11,266,632 for 200 classes: the causal pruning paper's code has biases and no normalisation.
    With `batch_norm` it is the usual form: 11,173,962 for CIFAR-10.
    """

    def __init__(
        self, shape: Shape = (3, 32, 32), n_classes: int = 10, *, batch_norm: bool = False
    ):
        channels, _, _ = _check_images("ResNet18", shape, n_classes)
        conv1, norm1 = _conv(channels, 64, 3, 1, batch_norm), _norm(64, batch_norm)
        layers = OrderedDict(conv1=conv1, norm1=norm1, relu1=nn.ReLU())
        c_in = 64
        for stage, c_out in enumerate((64, 128, 256, 512), start=1):
            layers[f"stage{stage}"] = nn.Sequential(
                ResidualBlock(c_in, c_out, stride=1 if stage == 1 else 2, batch_norm=batch_norm),
                ResidualBlock(c_out, c_out, batch_norm=batch_norm),
            )
            c_in = c_out
        layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        layers["fc"] = nn.Linear(512, n_classes)
        super().__init__(layers, shape=(channels, None, None))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a way round them: `relu(shortcut(x) + conv2(relu(conv1(x))))`.

    The shortcut is the identity or, where the shape changes, a 1x1 convolution. With `batch_norm`
    each convolution is followed by a normalisation; without it each has a bias.
    """

    def __init__(self, c_in: int, c_out: int, *, stride: int = 1, batch_norm: bool = False):
        super().__init__()
        self.conv1 = _conv(c_in, c_out, 3, stride, batch_norm)
        self.norm1 = _norm(c_out, batch_norm)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv(c_out, c_out, 3, 1, batch_norm)
        self.norm2 = _norm(c_out, batch_norm)
        self.relu2 = nn.ReLU()
        self.shortcut = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(
                _conv(c_in, c_out, 1, stride, batch_norm), _norm(c_out, batch_norm)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, c_in, H, W) to (N, c_out, H / stride, W / stride)."""
        h = self.relu1(self.norm1(self.conv1(x)))
        h = self.norm2(self.conv2(h))
        return self.relu2(h + self.shortcut(x))


def _conv(c_in: int, c_out: int, kernel: int, stride: int, batch_norm: bool) -> nn.Conv2d:
    """A convolution whose padding keeps the image's size at stride 1."""
    padding = kernel // 2
    return nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=padding, bias=not batch_norm)


def _norm(channels: int, batch_norm: bool) -> nn.Module:
    """Batch normalisation, or nothing."""
    return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()


def _check_images(network: str, shape: Sequence[int], n_classes: int, smallest: int = 1) -> Shape:
    """Return `shape` if it is (channels, height, width) of images that are large enough."""
    shape = tuple(shape)
    if len(shape) != 3:
        raise ValueError(
            f"shape must be (channels, height, width) for a {network}; got {shape}. "
            f"For {prod(shape)} plain features use an MLP."
        )
    names = ("channels", "height", "width")
    channels, *sides = (check_int(name, n) for name, n in zip(names, shape, strict=True))
    check_int("n_classes", n_classes, minimum=2)
    if min(sides) < smallest:
        raise ValueError(
            f"shape must be an image of at least {smallest}x{smallest} pixels for a {network}; got "
            f"{sides[0]}x{sides[1]}. Enlarge the images (`image_size=` in build_model, `size=` in "
            "load_dataset) or choose a smaller network."
        )
    return (channels, *sides)
