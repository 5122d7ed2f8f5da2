"""LEGCNet as its paper describes it: exponents of the difference between a training and its twins.

Section 3.4 of arXiv:2308.09955: a weight is moved by an infinitesimal delta before training, the
training is repeated with everything else the same, and the windows are cut from the difference of
the two weight series. Section 2.1 says that every weight had its turn. The released code has no
twin; its exponents are those of the raw weight series.

`dynamics.twins` runs twins of any network. Here are those of the paper's sigmoid networks, one
example per step, fast enough for all weights and tens of thousands of steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from causalprune_lib._validation import check_int, check_positive
from causalprune_lib.pruning.windows import WindowedExponents, cut_windows, windowed_exponents
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import train_networks

CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class TwinSeries:
    """A training of T steps and the twins of all its P weights. Row 0 is before the first step.

    Attributes
    ----------
    weights : tensor (T+1, P)
        The unperturbed training.
    own : tensor (T+1, P)
        Column k: weight k of the twin in which weight k was moved, minus weight k unperturbed.
    first : tensor (T+1, P)
        Differences of all weights in the twin in which weight 0 was moved.
    distance : tensor (T+1, P)
        Column k: Euclidean distance of twin k over all weights, without biases.
    """

    weights: torch.Tensor
    own: torch.Tensor
    first: torch.Tensor
    distance: torch.Tensor

    def growth(self) -> torch.Tensor:
        """ln(last distance / first distance) / T of each twin, nats per step, (P,)."""
        return (self.distance[-1] / self.distance[0]).log() / (len(self.distance) - 1)


@torch.no_grad()
def twin_series(
    network: SigmoidNetworks,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    lr: float,
    epochs: int,
    label_size: int = 1,
    delta: float = 1e-8,
) -> TwinSeries:
    """Train a network and, beside it, one twin for each of its weights, moved by `delta`.

    Parameters
    ----------
    network : SigmoidNetworks
        One network.
    x, y, lr, epochs, label_size
        As in `train_networks`: the same order of the examples in every epoch.
    delta : float
        The perturbation. In float64 it should be far above 1e-16 and far below the weights.

    Returns
    -------
    TwinSeries

    Raises
    ------
    ValueError
        More or fewer than one network, or an option out of range.

    Examples
    --------
    >>> x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)).double()
    >>> network = SigmoidNetworks.random((2, 3, 1), 1, seed=0)
    >>> twins = twin_series(network, x, (x[:, 0] > 0).long(), lr=0.1, epochs=2)
    >>> twins.own.shape, bool(torch.allclose(twins.own[0], torch.tensor(1e-8).double()))
    (torch.Size([61, 9]), True)
    """
    if len(network) != 1:
        raise ValueError(f"network must hold one network; got {len(network)}.")
    check_int("epochs", epochs)
    n_weights = network.layout.size
    twins = network.select([0] * (n_weights + 1)).clone()
    moved = torch.arange(n_weights, device=x.device)
    split = twins.w1[0].numel()
    delta = check_positive("delta", delta)
    twins.w1.view(n_weights + 1, -1)[1 + moved[:split], moved[:split]] += delta
    twins.w2.view(n_weights + 1, -1)[1 + moved[split:], moved[split:] - split] += delta
    parts, steps = [], max(1, CHUNK_BYTES // (8 * (n_weights + 1) * n_weights))
    for _ in range(epochs):
        for some in torch.arange(len(x), device=x.device).split(steps):
            run = train_networks(
                twins,
                x[some],
                y[some],
                lr=lr,
                label_size=label_size,
                epochs=1,
                record=range(n_weights + 1),
            )
            parts.append(_parted(run.weights[:, 0 if not parts else 1 :]))
            twins = run.networks
    return TwinSeries(*(torch.cat(series) for series in zip(*parts, strict=True)))


def _parted(rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What `TwinSeries` holds, from recordings (P+1, t, P); the first one is unperturbed."""
    apart = rows[1:] - rows[0]  # (P, t, P)
    own = apart.diagonal(dim1=0, dim2=2)  # (t, P)
    # Copies, for a view would keep all of `rows` in memory.
    return rows[0].clone(), own.clone(), apart[0].clone(), apart.norm(dim=2).T


def twin_exponents(
    series: torch.Tensor, *, window: int, overlap: float = 0.1, horizon: int = 3
) -> WindowedExponents:
    """Windowed exponents of a difference series (T+1, P), read as `windowed_exponents` reads.

    The reading does not depend on the scale of the series, so neither on delta. Nothing is rounded
    or set to 0: six decimals would leave nothing of a difference of 1e-8.

    Examples
    --------
    >>> fall = 1e-8 * 0.99 ** torch.arange(400).double()[:, None]  # the twins meet
    >>> f"{float(twin_exponents(fall, window=200).exponent[0]):.2f}"
    '-0.01'
    """
    options = {"overlap": overlap, "gate": False, "decimals": None, "horizon": horizon}
    return windowed_exponents(series, window=window, **options)


def growth_exponents(
    distance: torch.Tensor, *, window: int, overlap: float = 0.1
) -> WindowedExponents:
    """Windowed growth rates: ln(distance at the end / at the start) / steps, (W, P).

    What a Lyapunov exponent is in the limit, and what the difference of twins is recorded for. NaN
    where a distance is 0.

    Examples
    --------
    >>> fall = 1e-8 * 0.99 ** torch.arange(400).double()[:, None]
    >>> f"{float(growth_exponents(fall, window=200).exponent[0]):.5f}"  # ln 0.99
    '-0.01005'
    """
    windows = cut_windows(len(distance), window=window, overlap=overlap)
    logs = distance.double().log()
    logs = logs.masked_fill(logs.isinf(), torch.nan)
    rise = logs[windows.ends] - logs[windows.starts]
    exponent = (rise / (windows.size - 1)).cpu()
    return WindowedExponents(exponent, torch.zeros_like(exponent, dtype=torch.bool), windows)
