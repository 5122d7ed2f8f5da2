"""How all the eigenvalues of a Hessian are spread, by stochastic Lanczos quadrature.

m Lanczos steps from a random unit vector v give a small tridiagonal matrix. Its eigenvalues, and
the squared first entries of its eigenvectors, are nodes and weights of the Gauss quadrature of the
spectrum as v sees it: sum_i w_i f(t_i) = v^T f(H) v for every polynomial f of degree up to 2m - 1.
The mean over random v is tr f(H) / n (Ubaru, Chen and Saad, SIAM J. Matrix Analysis 2017; for
networks Ghorbani, Krishnan and Xiao, ICML 2019). PyHessian 0.1 has such a function too, but it
calls `torch.eig`, which PyTorch has removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from causalprune_lib._validation import check_int, check_positive
from causalprune_lib.diagnostics.hessian import HessianOperator
from causalprune_lib.diagnostics.objective import Batch, Loss
from causalprune_lib.diagnostics.probing import mean_and_error, rademacher
from causalprune_lib.pruning.maskset import Masks


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    """The spectrum of a Hessian as a probability distribution over eigenvalues.

    Attributes
    ----------
    nodes, weights : tensors (R,) of float64
        Points and their masses, ordered; the weights sum to 1.
    grid, density : tensors (G,) of float64
        The same, each point widened to a normal distribution of deviation `sigma`: for drawing.
    sigma : float
        That deviation, in units of eigenvalues.
    mean, mean_error : float
        Mean eigenvalue, trace / n, and its standard error over the probes.
    size : int
        n, the number of weights left.
    n_products : int
        Hessian-vector products used.
    """

    nodes: torch.Tensor
    weights: torch.Tensor
    grid: torch.Tensor
    density: torch.Tensor
    sigma: float
    mean: float
    mean_error: float
    size: int
    n_products: int

    def moment(self, power: int) -> float:
        """Mean of lambda^power: an estimate of tr(H^power) / n."""
        return float((self.weights * self.nodes**power).sum())

    def mass_within(self, low: float, high: float) -> float:
        """Share of the eigenvalues in [low, high]."""
        inside = (self.nodes >= low) & (self.nodes <= high)
        return float(self.weights[inside].sum())


def spectral_density(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    *,
    steps: int = 60,
    probes: int = 5,
    sigma: float | None = None,
    points: int = 1000,
    which: str = "all",
    masks: Masks | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    graph_gigabytes: float = 2.0,
) -> SpectralDensity:
    """The density of the Hessian's eigenvalues, from steps x probes products.

    Parameters
    ----------
    model, loss, batches, which, masks, dtype, seed, graph_gigabytes
        As for `HessianOperator`: the spectrum is that of the weights left.
    steps : int
        m, Lanczos steps per probe, at least 2. Every vector is made orthogonal to all before it,
        twice, so that no eigenvalue appears more than once for rounding; m vectors of n numbers
        are kept for that.
    probes : int
        Random vectors of +1 and -1, divided by their length.
    sigma : float, optional
        Width of the smoothing; default 1% of the range of the nodes. It has no part in `nodes`,
        `weights` and the moments.
    points : int
        G.

    Returns
    -------
    SpectralDensity

    Raises
    ------
    ValueError, FloatingPointError
        As for `HessianOperator`; also a loss without second derivatives whose Hessian is zero.

    Examples
    --------
    >>> model = nn.Linear(3, 1, bias=False)
    >>> batch = (torch.diag(torch.tensor([1.0, 2.0, 3.0])), torch.zeros(3, 1))
    >>> found = spectral_density(model, nn.functional.mse_loss, [batch], probes=2)
    >>> round(found.weights.sum().item(), 6), round(found.mean, 4)  # trace 9.3333 over 3
    (1.0, 3.1111)
    """
    check_int("steps", steps, minimum=2)
    check_int("probes", probes)
    check_int("points", points, minimum=2)
    if sigma is not None:
        check_positive("sigma", sigma)
    hessian = HessianOperator(
        model,
        loss,
        batches,
        which=which,
        masks=masks,
        dtype=dtype,
        seed=seed,
        graph_gigabytes=graph_gigabytes,
    )
    place = {"dtype": hessian.objective.dtype, "device": hessian.objective.device}
    rules = []
    for probe in rademacher(probes, hessian.size, seed=seed, **place):
        rules.append(gauss_rule(*lanczos(hessian, probe, steps)))
        if not bool(rules[-1][0].any()):
            hessian.check_loss_curves()
    nodes, order = torch.cat([t for t, _ in rules]).sort()
    weights = torch.cat([w for _, w in rules])[order] / probes
    mean, error = mean_and_error([float((t * w).sum()) for t, w in rules])
    sigma = sigma or 0.01 * float(nodes[-1] - nodes[0]) or 1e-2 * (float(nodes.abs().max()) or 1.0)
    low, high = float(nodes[0]) - 5 * sigma, float(nodes[-1]) + 5 * sigma
    grid = torch.linspace(low, high, points, dtype=torch.float64)
    density = torch.zeros_like(grid)
    for node, weight in zip(nodes, weights, strict=True):  # one by one: R x G may be large
        density += weight * torch.exp(-(((grid - node) / sigma) ** 2) / 2)
    density /= sigma * (2 * torch.pi) ** 0.5
    return SpectralDensity(
        nodes, weights, grid, density, sigma, mean, error, hessian.size, hessian.n_products
    )


def lanczos(
    operator, start: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """At most `steps` Lanczos steps from `start` (n,), with full reorthogonalisation.

    Parameters
    ----------
    operator
        Anything symmetric for which `operator @ v` is defined.

    Returns
    -------
    diagonal (m,), beside (m - 1,), basis (m, n)
        The tridiagonal matrix T = basis H basis^T, in float64, and the orthonormal basis. m is less
        than `steps` where the vectors reached span a space that H maps into itself.

    Examples
    --------
    >>> diagonal, beside, _ = lanczos(torch.diag(torch.tensor([1.0, 3.0])), torch.ones(2), 2)
    >>> diagonal.round(decimals=4), beside.round(decimals=4)
    (tensor([2., 2.], dtype=torch.float64), tensor([1.], dtype=torch.float64))
    """
    steps = min(steps, len(start))
    basis = start.new_empty(steps, len(start))
    basis[0] = start / start.norm()
    diagonal, beside, scale = [], [], 0.0
    for j in range(steps):
        product = operator @ basis[j]
        diagonal.append(float(basis[j] @ product))
        for _ in range(2):
            product = product - basis[: j + 1].T @ (basis[: j + 1] @ product)
        length = float(product.norm())
        scale = max(scale, abs(diagonal[-1]), length)
        if j + 1 == steps or length <= 100 * torch.finfo(start.dtype).eps * scale:
            break
        beside.append(length)
        basis[j + 1] = product / length
    return (
        torch.tensor(diagonal, dtype=torch.float64),
        torch.tensor(beside, dtype=torch.float64),
        basis[: len(diagonal)],
    )


def gauss_rule(
    diagonal: torch.Tensor, beside: torch.Tensor, _basis: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes (m,) and weights (m,) of a tridiagonal matrix's quadrature (Golub and Welsch 1969).

    Examples
    --------
    >>> nodes, weights = gauss_rule(torch.tensor([2.0, 2.0]), torch.tensor([1.0]))
    >>> nodes.tolist(), weights.round(decimals=4).tolist()
    ([1.0, 3.0], [0.5, 0.5])
    """
    matrix = torch.diag(diagonal) + torch.diag(beside, 1) + torch.diag(beside, -1)
    nodes, vectors = torch.linalg.eigh(matrix)
    return nodes, vectors[0] ** 2
