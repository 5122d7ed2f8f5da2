"""LeNet and AlexNet, with the parameter counts of the causal pruning paper's code.

Both are convolutions that look for local patterns, max-pooling that halves the image, and fully
connected layers that hold most of the weights.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from causalprune_lib._validation import check_choice, check_fraction, check_int
from causalprune_lib.nets.chain import Chain, check_image_shape


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
