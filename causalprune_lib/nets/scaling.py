"""From raw arrays to scaled tensors, with statistics of the training examples alone."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from causalprune_lib._validation import check_finite

BLOCK = 2**20  # bytes of images handled at a time, so that they stay in the processor's cache


def scale(
    train: np.ndarray,
    test: np.ndarray,
    *,
    standard: bool,
    size: int | None = None,
    dtype: torch.dtype = torch.float32,
    title: str = "data",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make tensors of both parts; with `standard`, x <- (x - mean) / std.

    Parameters
    ----------
    train, test : array (N, C, H, W) or (N, D)
        Floats, or images as uint8, which are first brought from 0..255 to [0, 1].
    standard : bool
        Whether to shift and scale. Mean and deviation (population form, divisor N) are those of
        `train` alone: per channel of images, per feature of tables. A feature that is constant in
        `train` is shifted but not divided.
    size : int, optional
        Resize images to this height and width first, bilinear.
    dtype : torch.float32 or torch.float64
    title : str
        How to call the data in an error.

    Examples
    --------
    >>> train, test = np.array([[1.0], [3.0]]), np.array([[5.0]])
    >>> scale(train, test, standard=True)
    (tensor([[-1.],
            [ 1.]]), tensor([[3.]]))
    """
    if train.dtype == np.uint8 and size is None:
        mean, std = byte_statistics(train) if standard else (np.zeros(1), np.ones(1))
        return _from_bytes(train, mean, std, dtype), _from_bytes(test, mean, std, dtype)
    tensors = [_from_floats(x, size, dtype, title) for x in (train, test)]
    if standard:
        _standardise_(*tensors)
    return tensors[0], tensors[1]


def byte_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (C,) of uint8 images (N, C, H, W) on the scale [0, 1].

    Exact but for one last rounding: both follow from how often each of the 256 values occurs.
    """
    counts = np.zeros((images.shape[1], 256), dtype=np.int64)
    for block in _blocks(images):
        for channel, row in enumerate(counts):
            row += np.bincount(images[block, channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum(1)
    std = np.sqrt((counts * (values - mean[:, None]) ** 2).sum(1) / counts.sum(1))
    return mean, std


def _from_bytes(
    images: np.ndarray, mean: np.ndarray, std: np.ndarray, dtype: torch.dtype
) -> torch.Tensor:
    """(images / 255 - mean) / std in one pass, straight from the file where it is mapped."""
    out = torch.empty(images.shape, dtype=dtype)
    view = out.numpy()
    std = np.where(std == 0, 1.0, std)
    factor = (1 / (255 * std)).astype(view.dtype).reshape(-1, 1, 1)
    shift = (mean / std).astype(view.dtype).reshape(-1, 1, 1)
    for block in _blocks(images):
        np.multiply(images[block], factor, out=view[block])
        view[block] -= shift
    return out


def _blocks(images: np.ndarray) -> list[slice]:
    step = max(1, BLOCK // max(1, images[0].nbytes))
    return [slice(start, start + step) for start in range(0, len(images), step)]


def _from_floats(x: np.ndarray, size: int | None, dtype: torch.dtype, title: str) -> torch.Tensor:
    check_finite(title, x)
    out = torch.tensor(x).to(dtype)
    if x.dtype == np.uint8:
        out.div_(255)
    if size is None:
        return out
    shrinks = size < min(out.shape[-2:])
    return functional.interpolate(out, size=(size, size), mode="bilinear", antialias=shrinks)


def _standardise_(train: torch.Tensor, test: torch.Tensor) -> None:
    dims = tuple(d for d in range(train.ndim) if d != 1)
    n = train.numel() // train.shape[1]
    constant = train.amin(dims, keepdim=True) == train.amax(dims, keepdim=True)
    mean = train.mean(dims, keepdim=True, dtype=torch.float64).to(train.dtype)
    train.sub_(mean)
    length = torch.linalg.vector_norm(train, dim=dims, keepdim=True, dtype=torch.float64)
    std = torch.where(constant, 1.0, length / n**0.5).to(train.dtype)
    train.div_(std)
    test.sub_(mean).div_(std)
