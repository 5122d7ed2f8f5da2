"""ResNet18 for small images, with and without batch normalisation.

The form with batch normalisation is the usual one (He, Zhang, Ren and Sun, "Deep residual learning
for image recognition", CVPR 2016) with the 3x3 stem that small images need. The causal pruning
paper's code takes the normalisation out and gives every convolution a bias in its place.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from causalprune_lib._validation import check_int
from causalprune_lib.nets.chain import Chain, check_image_shape


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
