"""How sharp a minimum is: top eigenvalues, trace and spectral density of the Hessian of the loss.

The causal pruning paper (section 4.2, figure 3) calls a minimum flatter where the top eigenvalues
of its Hessian are smaller. Here SciPy's Lanczos method finds them: it needs fewer products with the
Hessian than the power iteration of PyHessian, which the paper used, and says how far off it is.
Eigenvalues are no verdict on their own: they change when a network is written in other units, and
masks leave them in a smaller space.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_int, check_positive
from causalprune_lib.diagnostics.hessian import HessianOperator
from causalprune_lib.dynamics.tangent import Batch, Loss

DENSE_BELOW = 40  # coordinates: here the whole matrix costs no more than Lanczos


@dataclass(frozen=True, eq=False)
class Curvature:
    """Top eigenvalues and trace of a Hessian."""

    eigenvalues: torch.Tensor  # (k,) float64, largest first; NaN where one did not converge
    residuals: torch.Tensor  # (k,) |H v - lambda v|: some eigenvalue is no farther from lambda
    trace: float  # estimated sum of all eigenvalues; NaN if not asked for
    trace_error: float  # its standard error
    size: int  # n, the number of weights left and of eigenvalues
    n_products: int  # Hessian-vector products used, for everything


def top_eigenvalues(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    *,
    k: int = 5,
    tol: float = 1e-3,
    trace_probes: int = 30,
    max_products: int = 2000,
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> Curvature:
    r"""The k largest eigenvalues and the trace of the Hessian of the mean loss.

    With Q the eigenvectors found, tr H = tr Q^T H Q + tr (1 - Q Q^T) H (1 - Q Q^T). The first term
    is known, the second is the mean of v^T H v over random signs v, projected. Its variance lacks
    the large eigenvalues (Meyer, Musco, Musco and Woodruff, "Hutch++", SOSA 2021).

    Parameters
    ----------
    model, loss, batches, dtype, seed
        As for `HessianOperator`.
    k : int
        How many, at most n, the number of weights left.
    tol : float
        Lanczos stops where every residual is at most tol |lambda|; the error of an eigenvalue is
        then of the order of tol^2. In float32 below about 1e-5 nothing is gained: see `residuals`.
    trace_probes : int
        Random vectors of +1 and -1 for the trace. 0: no trace. Where a few eigenvalues dominate,
        the estimate is skewed and its error too small: take them out by a larger `k`.
    max_products : int
        Products after which Lanczos gives up, about: what is missing then is NaN, with a warning.

    Examples
    --------
    >>> model = nn.Linear(3, 1, bias=False)
    >>> batch = (torch.diag(torch.tensor([1.0, 2.0, 3.0])), torch.zeros(3, 1))
    >>> found = top_eigenvalues(model, nn.functional.mse_loss, [batch], k=2)
    >>> [round(value, 4) for value in found.eigenvalues.tolist()], round(found.trace, 4)
    ([6.0, 2.6667], 9.3333)
    """
    check_positive("tol", tol)
    check_int("trace_probes", trace_probes, minimum=0)
    check_int("max_products", max_products)
    hessian = HessianOperator(model, loss, batches, dtype=dtype, seed=seed)
    if check_int("k", k) > hessian.size:
        raise ValueError(f"k must be at most {hessian.size}, the weights left; got {k}.")

    if not bool((hessian @ next(random_signs(hessian, 1, seed))).any()):
        hessian.check_loss_curves()  # else H = 0: a random vector misses no eigenvector
        zeros = torch.zeros(k, dtype=torch.float64)
        trace = (0.0, 0.0) if trace_probes else (math.nan, math.nan)
        return Curvature(zeros, zeros.clone(), *trace, hessian.size, hessian.n_products)
    vectors = _eigenvectors(hessian, k, tol, max_products, seed)
    values, residuals = rayleigh_quotients(hessian, vectors, k)
    trace = _trace(hessian, vectors, values, trace_probes, seed)
    return Curvature(values, residuals, *trace, hessian.size, hessian.n_products)


def _eigenvectors(
    hessian: HessianOperator, k: int, tol: float, max_products: int, seed: int
) -> torch.Tensor:
    """Unit eigenvectors (k or fewer, n) by SciPy's implicitly restarted Lanczos method."""
    n = hessian.size
    if n <= max(DENSE_BELOW, 2 * k + 1):
        _, vectors = torch.linalg.eigh(hessian.dense().double())  # smallest eigenvalue first
        return vectors.T.flip(0)[:k]
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    def product(v):
        return (hessian @ torch.from_numpy(v.reshape(-1))).double().cpu().numpy()

    basis = min(n, max(2 * k + 1, 20))
    try:
        _, vectors = eigsh(
            LinearOperator((n, n), matvec=product, dtype="float64"),
            k,
            which="LA",
            tol=tol,
            v0=next(random_signs(hessian, 1, seed + 1)).double().cpu().numpy(),
            ncv=basis,
            maxiter=max(1, max_products // (basis - k)),
        )
    except ArpackNoConvergence as failure:
        vectors = failure.eigenvectors
        warnings.warn(
            f"Only {vectors.shape[1]} of {k} eigenvalues converged to tol={tol:g} within about "
            f"{max_products} products; the others are NaN. Raise max_products or tol.",
            RuntimeWarning,
            stacklevel=3,
        )
    return torch.from_numpy(vectors.T.copy())


def rayleigh_quotients(
    hessian: HessianOperator, vectors: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """h = v^T H v, largest first, and |H v - h v| of k unit vectors; NaN for those not found."""
    values = torch.full((k,), math.nan, dtype=torch.float64)
    residuals = values.clone()
    for i, vector in enumerate(vectors):
        vector = vector.double().to(hessian.objective.device)
        product = (hessian @ vector).double()
        values[i] = vector @ product
        residuals[i] = (product - values[i].item() * vector).norm()
    order = values.nan_to_num(-math.inf).argsort(descending=True)
    return values[order], residuals[order]


def _trace(
    hessian: HessianOperator, vectors: torch.Tensor, values: torch.Tensor, n: int, seed: int
) -> tuple[float, float]:
    """Trace and its standard error from `n` random vectors; what `vectors` span is known."""
    if n == 0:
        return math.nan, math.nan
    basis = vectors.to(hessian.objective.device, hessian.objective.dtype)  # (<= k, n)
    samples = []
    for sign in random_signs(hessian, n, seed + 2):
        rest = sign - basis.T @ (basis @ sign)
        samples.append(float(rest.double() @ (hessian @ rest).double()))
    mean, error = mean_and_error(samples)
    return mean + float(values.nansum()), error


def random_signs(hessian: HessianOperator, n: int, seed: int) -> Iterator[torch.Tensor]:
    """`n` vectors of random signs: the mean of v^T H v is tr H (Hutchinson 1989)."""
    random = own_stream(seed, "probes")
    for _ in range(n):
        bits = torch.randint(2, (hessian.size,), generator=random, dtype=torch.int8)
        yield (2 * bits - 1).to(hessian.objective.device, hessian.objective.dtype)


def mean_and_error(samples: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error; the error of one sample is NaN."""
    if len(samples) < 2:
        return statistics.fmean(samples), math.nan
    return statistics.fmean(samples), statistics.stdev(samples) / math.sqrt(len(samples))


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    """The spectrum of a Hessian as a probability distribution over eigenvalues."""

    nodes: torch.Tensor  # (R,) float64, ascending
    weights: torch.Tensor  # (R,) the mass at each node; they sum to 1
    mean: float  # mean eigenvalue, trace / n
    mean_error: float  # its standard error over the random vectors
    size: int  # n, the number of weights left
    n_products: int  # Hessian-vector products used

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
    n_vectors: int = 5,
    seed: int = 0,
) -> SpectralDensity:
    """How all eigenvalues of the Hessian are spread, from steps x n_vectors products.

    Stochastic Lanczos quadrature: `steps` Lanczos steps, at least 2, from each of `n_vectors`
    vectors of random signs (Ubaru, Chen and Saad, SIAM J. Matrix Anal. Appl. 2017). All else is as
    in `top_eigenvalues`.

    >>> model = nn.Linear(3, 1, bias=False)
    >>> batch = (torch.diag(torch.tensor([1.0, 2.0, 3.0])), torch.zeros(3, 1))
    >>> found = spectral_density(model, nn.functional.mse_loss, [batch], n_vectors=2)
    >>> round(found.weights.sum().item(), 6), round(found.mean, 4)  # trace 9.3333 over 3
    (1.0, 3.1111)
    """
    check_int("steps", steps, minimum=2)
    check_int("n_vectors", n_vectors)
    hessian = HessianOperator(model, loss, batches, seed=seed)
    rules = []
    for start in random_signs(hessian, n_vectors, seed):
        diagonal, beside, _ = lanczos(hessian, start, steps)
        rules.append(gauss_rule(diagonal, beside))
        if not bool(rules[-1][0].any()):
            hessian.check_loss_curves()
    nodes, order = torch.cat([t for t, _ in rules]).sort()
    weights = torch.cat([w for _, w in rules])[order] / n_vectors
    mean, error = mean_and_error([float((t * w).sum()) for t, w in rules])
    return SpectralDensity(nodes, weights, mean, error, hessian.size, hessian.n_products)


def lanczos(
    operator, start: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """At most `steps` Lanczos steps with any symmetric `operator @ v`, from `start` (n,).

    Gives the diagonal (m,) and what stands beside it (m - 1,) of T = basis H basis^T, in float64,
    and the orthonormal basis (m, n); m < `steps` where it spans a space that H maps into itself.
    Every vector is made orthogonal to all before it, twice: rounding repeats no eigenvalue.
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
    entries = (torch.tensor(part, dtype=torch.float64) for part in (diagonal, beside))
    return *entries, basis[: len(diagonal)]


def gauss_rule(diagonal: torch.Tensor, beside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes and weights (m,) of a tridiagonal matrix's quadrature (Golub and Welsch 1969)."""
    matrix = torch.diag(diagonal) + torch.diag(beside, 1) + torch.diag(beside, -1)
    nodes, vectors = torch.linalg.eigh(matrix)
    return nodes, vectors[0] ** 2
