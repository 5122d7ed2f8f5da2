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

import importlib
import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import nn

from causalprune_lib._validation import check_choice, check_int, check_positive
from causalprune_lib.diagnostics.hessian import (
    HessianOperator,
    Loss,
    Objective,
    dense,
    mean_and_error,
    rademacher,
)
from causalprune_lib.dynamics.tangent import Batch
from causalprune_lib.pruning.masks import Masks

# ---- density: How all the eigenvalues of a Hessian are spread, by stochastic Lanczos quadrature.


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


# ---- curvature_peers: Two other libraries on the same Hessian: PyHessian, as in the paper, and h


Found = tuple[torch.Tensor, tuple[float, float]]  # unit vectors (k, n); trace and its error


class OneVector(nn.Module):
    """The network of an objective as a function of one parameter, the vector of weights left.

    Examples
    --------
    >>> batch = (torch.eye(2), torch.zeros(2, 1))
    >>> objective = Objective(nn.Linear(2, 1), nn.functional.mse_loss, [batch])
    >>> [tuple(parameter.shape) for parameter in OneVector(objective).parameters()]
    [(3,)]
    """

    def __init__(self, objective: Objective):
        super().__init__()
        self.objective = objective
        self.weights_left = nn.Parameter(objective.start.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The network's output."""
        objective = self.objective
        theta = objective.full(self.weights_left, base=objective.theta)
        return objective.output(objective.named(theta), x)


def by_pyhessian(
    hessian: HessianOperator, k: int, *, by: str, tol: float, trace_probes: int, max_products: int
) -> Found:
    """Power iteration and Hutchinson's trace of PyHessian 0.1, with its stopping rules.

    Both rules compare two successive estimates: the trace may stop by chance after a few probes.
    """
    objective = hessian.objective
    if objective.dtype != torch.float32:
        raise ValueError(
            f"dtype must be torch.float32 for method='pyhessian'; got {objective.dtype}."
        )
    pyhessian = _require("pyhessian", "PyHessian")
    network = OneVector(objective)
    with (
        objective.at_rest(),
        torch.inference_mode(False),
        torch.enable_grad(),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message=".*create_graph=True", category=UserWarning)
        peer = pyhessian.hessian(
            network,
            objective.loss,
            dataloader=objective.batches,
            cuda=objective.device.type == "cuda",
        )
        product = peer.dataloader_hv_product

        def counted(v):
            hessian.n_products += 1
            return product(v)

        peer.dataloader_hv_product = counted
        _, vectors = peer.eigenvalues(maxIter=max(2, max_products // k), tol=tol, top_n=k)
        samples = peer.trace(maxIter=trace_probes, tol=tol) if trace_probes else []
        network.weights_left.grad = None  # breaks the circle that backward(create_graph) leaves
    if not all(math.isfinite(sample) for sample in samples):
        raise FloatingPointError("PyHessian's trace must be finite; got NaN or infinity.")
    trace = mean_and_error(samples) if samples else (math.nan, math.nan)
    found = torch.stack([pieces[0].detach() for pieces in vectors]).double()
    return nn.functional.normalize(found, dim=1), trace


def by_eigenthings(
    hessian: HessianOperator, k: int, *, by: str, tol: float, trace_probes: int, max_products: int
) -> Found:
    """Lanczos without restarts and Hutchinson's trace of hessian-eigenthings 1.0."""
    peer = _require("hessian_eigenthings", "hessian-eigenthings")
    objective, n_batches = hessian.objective, len(hessian.objective.batches)

    def loss_of(network: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        share = len(batch[0]) / objective.n_examples  # the peer gives every batch one weight
        return n_batches * share * objective.loss(network(batch[0]), batch[1])

    with objective.at_rest(), torch.inference_mode(False), torch.enable_grad():
        operator = peer.HessianOperator(OneVector(objective), objective.batches, loss_of)
        steps = min(max(4 * k, 20), hessian.size)
        while True:  # it cannot go on from where it stopped
            found = peer.lanczos(
                operator,
                k=k,
                max_iter=steps,
                tol=tol,
                reorthogonalize=True,
                which="LA" if by == "algebraic" else "LM",
                seed=objective.seed,
            )
            hessian.n_products += found.iterations
            done = found.iterations < steps or steps == hessian.size
            if done or bool(found.converged.all()) or hessian.n_products + 2 * steps > max_products:
                break
            steps = min(2 * steps, hessian.size)
        trace = (math.nan, math.nan)
        if trace_probes:
            guess = peer.hutchinson(operator, num_samples=trace_probes, seed=objective.seed)
            hessian.n_products += trace_probes
            trace = guess.estimate, guess.stderr
    return nn.functional.normalize(found.eigenvectors.double(), dim=1), trace


def _require(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This method needs the package {package!r}: pip install {package}"
        ) from error


# ---- curvature: How sharp a minimum is: the largest eigenvalues and the trace of the Hessian of


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
