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
from causalprune_lib._validation import check_choice, check_fraction, check_int, check_shape
from causalprune_lib.nets.data import Dataset, dataset_info
from causalprune_lib.nets.parameters import PRUNABLE_MODULES
from causalprune_lib.nets.training import device_and_dtype

# ---- chain: What the networks of `models.py` and `resnet.py` share: a chain of named layers.


class Chain(nn.Sequential):
    """`nn.Sequential` that knows the shape of one example and says so when another one comes.

    Parameters
    ----------
    layers : OrderedDict of nn.Module
        The layers by name, in order.
    shape : tuple of int or None
        Shape of one example. None stands for any length.
    """

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


def check_image_shape(model: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return `shape` if it is (channels, height, width)."""
    shape = tuple(shape)
    if len(shape) != 3:
        raise ValueError(
            f"shape must be (channels, height, width) for a {model}; got {shape}. "
            f"For {prod(shape)} plain features use an MLP."
        )
    names = ("channels", "height", "width")
    return tuple(check_int(name, n) for name, n in zip(names, shape, strict=True))


# ---- convnets: LeNet and AlexNet, with the parameter counts of the causal pruning paper's code.


class LeNet(Chain):
    """Two convolutions, each followed by max-pooling, and two fully connected layers.

    LeNet-5 (LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
    recognition", Proceedings of the IEEE 1998) in its later form, with 20 and 50 filters, 500
    hidden units and ReLU.

    Parameters
    ----------
    shape : (int, int, int)
        Channels, height and width of an image.
    n_classes : int
        K, the number of classes.
    kernel_size : int, optional
        Side of both kernels. None (default): 5, or 7 for images of 64 pixels and more.

    Notes
    -----
    657,080 parameters for CIFAR-10, 431,080 for 28x28 grey images, 3,177,710 for Tiny ImageNet.

    Examples
    --------
    >>> model = LeNet((1, 28, 28), 10)
    >>> sum(p.numel() for p in model.parameters())
    431080
    """

    def __init__(
        self,
        shape: tuple[int, int, int] = (3, 32, 32),
        n_classes: int = 10,
        *,
        kernel_size: int | None = None,
    ):
        channels, height, width = check_image_shape("LeNet", shape)
        check_int("n_classes", n_classes, minimum=2)
        k = 7 if min(height, width) >= 64 else 5
        if kernel_size is not None:
            k = check_int("kernel_size", kernel_size)
        _check_smallest(f"LeNet with {k}x{k} kernels", height, width, smallest=3 * k + 1)
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


class AlexNet(Chain):
    """Five convolutions and three fully connected layers.

    The one-column form (Krizhevsky, "One weird trick for parallelizing convolutional neural
    networks", 2014) of the network that won ImageNet in 2012, with torchvision's widths: 64, 192,
    384, 256 and 256 filters, then 4096, 4096 and K units, with dropout before the first two.

    Parameters
    ----------
    shape : (int, int, int), optional
        Channels, height and width of an image. None: 3 channels, and 224 pixels for "imagenet" or
        32 for "small".
    n_classes : int
        K, the number of classes.
    variant : {"imagenet", "small"}, optional
        "imagenet": an 11x11 kernel with stride 4 first, then 5x5; from 63 pixels up, with the last
        image averaged to 6x6. "small": a 3x3 kernel with stride 2 first, then 2x2; made for 28 and
        32 pixels, where the last image is 2x2. None (default): by the size of the image.
    dropout : float
        Share of units silenced in training, in [0, 1).

    Notes
    -----
    "imagenet": 57,044,810 parameters for 3 channels and 10 classes, 57,823,240 for 200 classes.
    "small": 23,210,826 for CIFAR-10 and 23,209,674 for Fashion-MNIST. We know the 32-pixel form of
    the paper's code by these counts alone. With the filters above, kernels up to 5x5 and hidden
    widths that are powers of two, one network has them: kernels 3, 2, 3, 3, 3 and a last image of
    2x2. Strides and padding leave no trace in a count; these are ours.

    Examples
    --------
    >>> import torch
    >>> with torch.device("meta"):  # shapes only, no memory
    ...     model = AlexNet((3, 32, 32), 10)
    >>> sum(p.numel() for p in model.parameters())
    23210826
    """

    def __init__(
        self,
        shape: tuple[int, int, int] | None = None,
        n_classes: int = 10,
        *,
        variant: str | None = None,
        dropout: float = 0.5,
    ):
        if variant is not None:
            check_choice("variant", variant, ["imagenet", "small"])
        if shape is None:
            shape = (3, 224, 224) if variant == "imagenet" else (3, 32, 32)
        channels, height, width = check_image_shape("AlexNet", shape)
        check_int("n_classes", n_classes, minimum=2)
        check_fraction("dropout", dropout, closed=False)
        if variant is None:
            variant = "imagenet" if min(height, width) >= 63 else "small"
        if variant == "imagenet":
            _check_smallest("AlexNet of variant 'imagenet'", height, width, smallest=63)
            first = nn.Conv2d(channels, 64, 11, stride=4, padding=2)
            second = nn.Conv2d(64, 192, 5, padding=2)
            pool, average = {"kernel_size": 3, "stride": 2}, nn.AdaptiveAvgPool2d(6)
            h, w = 6, 6
        else:
            _check_smallest("AlexNet of variant 'small'", height, width, smallest=11)
            first = nn.Conv2d(channels, 64, 3, stride=2, padding=1)
            second = nn.Conv2d(64, 192, 2, padding=1)
            pool, average = {"kernel_size": 2}, nn.Identity()
            h, w = (((side + 1) // 2 // 2 + 1) // 2 // 2 for side in (height, width))
        layers = OrderedDict(
            conv1=first,
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(**pool),
            conv2=second,
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(**pool),
            conv3=nn.Conv2d(192, 384, 3, padding=1),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(384, 256, 3, padding=1),
            relu4=nn.ReLU(),
            conv5=nn.Conv2d(256, 256, 3, padding=1),
            relu5=nn.ReLU(),
            pool5=nn.MaxPool2d(**pool),
            average=average,
            flatten=nn.Flatten(),
            drop1=nn.Dropout(dropout),
            fc1=nn.Linear(256 * h * w, 4096),
            relu6=nn.ReLU(),
            drop2=nn.Dropout(dropout),
            fc2=nn.Linear(4096, 4096),
            relu7=nn.ReLU(),
            fc3=nn.Linear(4096, n_classes),
        )
        super().__init__(layers, shape=(channels, height, width))


def _check_smallest(network: str, height: int, width: int, *, smallest: int) -> None:
    if min(height, width) < smallest:
        raise ValueError(
            f"shape must be an image of at least {smallest}x{smallest} pixels for a {network}; got "
            f"{height}x{width}. Enlarge the images (`image_size=` in build_model, `size=` in "
            "load_dataset) or choose a smaller network."
        )


# ---- resnet: ResNet18 for small images, with and without batch normalisation.


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a way round them: `relu(x + conv(relu(conv(x))))`.

    Where the block changes the number of channels or halves the image, the way round is a 1x1
    convolution; elsewhere it is the identity.

    Parameters
    ----------
    c_in, c_out : int
        Channels that come in and go out.
    stride : int
        2 halves the image, 1 keeps it.
    batch_norm : bool
        Normalise after each convolution. Without it each convolution has a bias.
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


class ResNet18(Chain):
    """Eighteen layers of weights: a stem, eight residual blocks of two, and a linear layer.

    The channel widths are 64, 128, 256 and 512, two blocks each; the image is halved on entering
    each of the last three widths and averaged over before the last layer, so only the number of
    channels fixes the weights and images of any size may come.

    Parameters
    ----------
    shape : (int, int, int)
        Channels, height and width of an image.
    n_classes : int
        K, the number of classes.
    batch_norm : bool
        False (default): the form of the causal pruning paper's code, without normalisation and
        with biases. True: the usual form.

    Notes
    -----
    11,169,162 parameters for CIFAR-10, 11,168,010 for one channel, 11,266,632 for 200 classes;
    with batch normalisation 11,173,962 for CIFAR-10.

    Examples
    --------
    >>> model = ResNet18((3, 32, 32), 10)
    >>> sum(p.numel() for p in model.parameters())
    11169162
    >>> tuple(model(torch.zeros(1, 3, 32, 32)).shape)
    (1, 10)
    """

    def __init__(
        self,
        shape: tuple[int, int, int] = (3, 32, 32),
        n_classes: int = 10,
        *,
        batch_norm: bool = False,
    ):
        channels = check_image_shape("ResNet18", shape)[0]
        check_int("n_classes", n_classes, minimum=2)
        layers = OrderedDict(
            conv1=_conv(channels, 64, 3, 1, batch_norm),
            norm1=_norm(64, batch_norm),
            relu1=nn.ReLU(),
        )
        c_in = 64
        for stage, c_out in enumerate((64, 128, 256, 512), start=1):
            layers[f"stage{stage}"] = nn.Sequential(
                ResidualBlock(c_in, c_out, stride=1 if stage == 1 else 2, batch_norm=batch_norm),
                ResidualBlock(c_out, c_out, batch_norm=batch_norm),
            )
            c_in = c_out
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(512, n_classes)
        super().__init__(layers, shape=(channels, None, None))


def _conv(c_in: int, c_out: int, kernel: int, stride: int, batch_norm: bool) -> nn.Conv2d:
    padding = kernel // 2  # keeps the image's size at stride 1
    return nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=padding, bias=not batch_norm)


def _norm(channels: int, batch_norm: bool) -> nn.Module:
    return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()


# ---- models: The networks of the two papers, and `build_model`, the one entry to all of them.


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
