"""How sharp a minimum is: the largest eigenvalues and the trace of the Hessian of the loss.

The causal pruning paper (section 4.2, figure 3) calls a minimum flatter where the top eigenvalues
of its Hessian are smaller, and finds them with PyHessian (Yao, Gholami, Keutzer and Mahoney, IEEE
Big Data 2020). Here SciPy's Lanczos method is the default: it needs fewer products with the Hessian
than power iteration, and says how far off it is. PyHessian and hessian-eigenthings can do the same
work on the same function (`curvature_peers.py`).

Eigenvalues are no verdict on their own. They change when a network is written in other units
(`flatness.rescale_relu`), and masks leave them in a smaller space: give the trace per weight too.

`HessianOperator` and `exact_hessian` are in `hessian.py`, `spectral_density` in `density.py`; they
can be imported from here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from causalprune_lib._validation import check_choice, check_int, check_positive
from causalprune_lib.diagnostics.curvature_peers import by_eigenthings, by_pyhessian
from causalprune_lib.diagnostics.density import SpectralDensity, spectral_density
from causalprune_lib.diagnostics.hessian import HessianOperator, dense, exact_hessian
from causalprune_lib.diagnostics.objective import Batch, Loss
from causalprune_lib.diagnostics.probing import mean_and_error, rademacher
from causalprune_lib.pruning.maskset import Masks

__all__ = [
    "Curvature",
    "HessianOperator",
    "SpectralDensity",
    "exact_hessian",
    "spectral_density",
    "top_eigenvalues",
]

METHODS = ("lanczos", "pyhessian", "hessian-eigenthings")
DENSE_BELOW = 40  # coordinates: here the whole matrix costs no more than Lanczos


@dataclass(frozen=True, eq=False)
class Curvature:
    """Top eigenvalues and trace of a Hessian.

    Attributes
    ----------
    eigenvalues : tensor (k,) of float64
        Largest first. NaN where the method did not converge.
    residuals : tensor (k,) of float64
        |H v - lambda v| for the unit vectors v found: some eigenvalue of H is no farther than this
        from lambda.
    trace, trace_error : float
        Estimate of the sum of all eigenvalues, and its standard error; NaN without probes.
    size : int
        n, the number of weights left, which is the number of eigenvalues.
    n_products : int
        Hessian-vector products used, for everything.
    method, by : str
        As asked for.
    """

    eigenvalues: torch.Tensor
    residuals: torch.Tensor
    trace: float
    trace_error: float
    size: int
    n_products: int
    method: str
    by: str

    @property
    def mean_eigenvalue(self) -> float:
        """trace / n: comparable between networks with different numbers of weights."""
        return self.trace / self.size


def top_eigenvalues(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    *,
    k: int = 5,
    which: str = "all",
    masks: Masks | None = None,
    method: str = "lanczos",
    by: str | None = None,
    tol: float = 1e-3,
    trace_probes: int = 30,
    max_products: int = 2000,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    graph_gigabytes: float = 2.0,
) -> Curvature:
    r"""The k largest eigenvalues and the trace of the Hessian of the mean loss.

    The Hessian is that of the weights that are left, in their own coordinates: pruned weights add
    no zero eigenvalues. See `HessianOperator`.

    Parameters
    ----------
    model, loss, batches, which, masks, dtype, seed, graph_gigabytes
        As for `HessianOperator`. masks=None: the masks that the model carries.
    k : int
        How many, at most n.
    method : {"lanczos", "pyhessian", "hessian-eigenthings"}
        "lanczos": `scipy.sparse.linalg.eigsh`, with the trace by Hutchinson's method on what the
        eigenvectors found leave over. "pyhessian": power iteration and Hutchinson's trace as in the
        paper, with its own stopping rules. "hessian-eigenthings": a cross-check.
    by : {"algebraic", "magnitude"}, optional
        Largest by value, or by size whatever the sign; the order is by value, largest first, in
        either case. Default "algebraic", and "magnitude" for "pyhessian", whose power iteration
        can do no other. At a minimum they are the same.
    tol : float
        "lanczos" and "hessian-eigenthings" stop where every residual is at most tol |lambda|; the
        error of an eigenvalue is then of the order of tol^2. "pyhessian" stops where one iteration
        changes lambda by less than tol |lambda|, which bounds nothing. In float32 below about 1e-5
        nothing is gained: see `residuals`.
    trace_probes : int
        Random vectors of +1 and -1 for the trace. 0: no trace. "pyhessian" may stop before. Where
        a few eigenvalues dominate, the estimate is skewed and its error too small: take them out
        by a larger `k`.
    max_products : int
        Products for the eigenvalues after which "lanczos" and "pyhessian" give up, about.

    Returns
    -------
    Curvature

    Raises
    ------
    ValueError
        As for `HessianOperator`; also k > n, or a loss without second derivatives whose Hessian is
        zero.
    FloatingPointError
        The curvature is NaN or infinite.
    ImportError
        The library behind `method` is not installed.

    Warns
    -----
    RuntimeWarning
        Where eigenvalues did not converge; they are NaN.

    Notes
    -----
    With Q the eigenvectors found, tr H = tr Q^T H Q + tr (1 - Q Q^T) H (1 - Q Q^T). The first term
    is known, the second is the mean of v^T H v over random signs v, projected. Its variance lacks
    the large eigenvalues (Meyer, Musco, Musco and Woodruff, "Hutch++", SOSA 2021).

    "lanczos" keeps about 20 vectors of n numbers in float64.

    Examples
    --------
    >>> model = nn.Linear(3, 1, bias=False)
    >>> batch = (torch.diag(torch.tensor([1.0, 2.0, 3.0])), torch.zeros(3, 1))
    >>> found = top_eigenvalues(model, nn.functional.mse_loss, [batch], k=2)
    >>> [round(value, 4) for value in found.eigenvalues.tolist()], round(found.trace, 4)
    ([6.0, 2.6667], 9.3333)
    """
    check_choice("method", method, METHODS)
    by = by or ("magnitude" if method == "pyhessian" else "algebraic")
    check_choice("by", by, ["algebraic", "magnitude"])
    if method == "pyhessian" and by != "magnitude":
        raise ValueError("by must be 'magnitude' with method='pyhessian'; got 'algebraic'.")
    check_positive("tol", tol)
    check_int("trace_probes", trace_probes, minimum=0)
    check_int("max_products", max_products)
    graph_gigabytes = 0.0 if method != "lanczos" else graph_gigabytes  # the peers make their own
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
    if check_int("k", k) > hessian.size:
        raise ValueError(f"k must be at most {hessian.size}, the weights left; got {k}.")

    probe = next(_signs(hessian, 1, seed))
    if not bool((hessian @ probe).any()):  # then H = 0: a random vector misses no eigenvector
        hessian.check_loss_curves()
        zeros = torch.zeros(k, dtype=torch.float64)
        trace = (0.0, 0.0) if trace_probes else (math.nan, math.nan)
        return Curvature(zeros, zeros.clone(), *trace, hessian.size, 1, method, by)
    if method == "lanczos":
        vectors = _eigenvectors(hessian, k, by=by, tol=tol, max_products=max_products, seed=seed)
        values, residuals = _rayleigh(hessian, vectors, k)
        trace = _trace(hessian, vectors, values, trace_probes, seed)
    else:
        search = by_pyhessian if method == "pyhessian" else by_eigenthings
        vectors, trace = search(
            hessian, k, by=by, tol=tol, trace_probes=trace_probes, max_products=max_products
        )
        values, residuals = _rayleigh(hessian, vectors, k)
    return Curvature(values, residuals, *trace, hessian.size, hessian.n_products, method, by)


def _eigenvectors(
    hessian: HessianOperator, k: int, *, by: str, tol: float, max_products: int, seed: int
) -> torch.Tensor:
    """Unit eigenvectors (k or fewer, n) by SciPy's implicitly restarted Lanczos method."""
    if hessian.size <= max(DENSE_BELOW, 2 * k + 1):
        values, vectors = torch.linalg.eigh(dense(hessian).double())
        order = values if by == "algebraic" else values.abs()
        return vectors.T[order.argsort(descending=True)[:k]]
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    start = next(_signs(hessian, 1, seed + 1)).double().cpu().numpy()
    basis = min(hessian.size, max(2 * k + 1, 20))
    try:
        _, vectors = eigsh(
            hessian.to_scipy(),
            k,
            which="LA" if by == "algebraic" else "LM",
            tol=tol,
            v0=start,
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


def _rayleigh(
    hessian: HessianOperator, vectors: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rayleigh quotients (k,), largest first, and residuals (k,); NaN for vectors not found."""
    values = torch.full((k,), math.nan, dtype=torch.float64)
    residuals = values.clone()
    for row, vector in enumerate(vectors):
        vector = vector.double().to(hessian.objective.device)
        product = (hessian @ vector).double()
        values[row] = vector @ product
        residuals[row] = (product - values[row].item() * vector).norm()
    order = values.nan_to_num(-math.inf).argsort(descending=True)
    return values[order], residuals[order]


def _trace(
    hessian: HessianOperator, vectors: torch.Tensor, values: torch.Tensor, probes: int, seed: int
) -> tuple[float, float]:
    """Trace and its standard error, the part that `vectors` span taken as known."""
    if probes == 0:
        return math.nan, math.nan
    basis = vectors.to(hessian.objective.device, hessian.objective.dtype)  # (<= k, n)
    samples = []
    for sign in _signs(hessian, probes, seed + 2):
        rest = sign - basis.T @ (basis @ sign)
        samples.append(float(rest.double() @ (hessian @ rest).double()))
    mean, error = mean_and_error(samples)
    return mean + float(values.nansum()), error


def _signs(hessian: HessianOperator, n: int, seed: int) -> Iterator[torch.Tensor]:
    objective = hessian.objective
    return rademacher(n, hessian.size, seed=seed, dtype=objective.dtype, device=objective.device)
