"""QR and singular value decompositions of many small matrices.

On a CPU they are NumPy's: PyTorch's may split one matrix of 46 x 30 between the cores, which takes
milliseconds instead of 20 microseconds where another program uses a core.
"""

from __future__ import annotations

import numpy as np
import torch


def native(tensor: torch.Tensor) -> torch.Tensor | np.ndarray:
    """On a CPU the memory of `tensor` as an array; elsewhere `tensor`."""
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def triangle(matrices: torch.Tensor) -> torch.Tensor:
    """R (S, m, m) of the QR decompositions of `matrices` (S, n, m), n >= m.

    Examples
    --------
    >>> r = triangle(torch.tensor([[[3.0, 0.0], [4.0, 2.0]]]))
    >>> [round(value, 1) for value in r.abs().flatten().tolist()]
    [5.0, 1.6, 0.0, 1.2]
    """
    if matrices.device.type == "cpu":
        return torch.from_numpy(np.linalg.qr(native(matrices), mode="r"))
    return torch.linalg.qr(matrices, mode="r").R


def column_space(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Left singular vectors (S, n, m) and singular values (S, m) of `matrices` (S, n, m), n >= m.

    Examples
    --------
    >>> _, singular = column_space(torch.tensor([[[3.0, 3.0], [4.0, 4.0]]]))
    >>> [round(value, 3) for value in singular.flatten().tolist()]
    [7.071, 0.0]
    """
    if matrices.device.type == "cpu":
        u, singular, _ = np.linalg.svd(native(matrices), full_matrices=False)
        return torch.from_numpy(u), torch.from_numpy(singular)
    u, singular, _ = torch.linalg.svd(matrices, full_matrices=False)
    return u, singular
