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
from causalprune_lib.pruning.windows import cut_windows
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import train_networks

CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class TwinSeries:
    """A training of T steps and the twins of all its P weights. Row 0 is before the first step.

    The windows of `own` are read as those of any series, but without gate and rounding: six
    decimals would leave nothing of a difference of 1e-8.
    """

    weights: torch.Tensor  # (T+1, P), the unperturbed training
    own: torch.Tensor  # (T+1, P), weight k of the twin in which weight k was moved, minus weight k
    first: torch.Tensor  # (T+1, P), all weights of the twin in which weight 0 was moved, likewise
    distance: torch.Tensor  # (T+1, P), Euclidean, of twin k over all weights, without biases

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
    """Train one network and, beside it, one twin for each of its weights, moved by `delta`.

    The rest is as in `train_networks`: the same order of the examples in every epoch. In float64
    `delta` should be far above 1e-16 and far below the weights.

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
    check_positive("delta", delta)
    n_weights = network.layout.size
    twins, number = network.repeat(n_weights + 1), 1  # the first one is not moved
    for weight in twins.weights:
        for k in range(weight[0].numel()):
            weight[number].view(-1)[k] += delta
            number += 1
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
            parts.append(_differences(run.weights[:, 1 if parts else 0 :]))
            twins = run.networks
    return TwinSeries(*(torch.cat(series) for series in zip(*parts, strict=True)))


def _differences(recorded: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What `TwinSeries` holds, from recordings (P+1, t, P); the first one is unperturbed."""
    apart = recorded[1:] - recorded[0]  # (P, t, P)
    own = apart.diagonal(dim1=0, dim2=2)  # (t, P)
    # Copies, for a view would keep all of `recorded` in memory.
    return recorded[0].clone(), own.clone(), apart[0].clone(), apart.norm(dim=2).T


def growth_exponents(distance: torch.Tensor, *, window: int) -> torch.Tensor:
    """Windowed growth rates (W, P): ln(distance at the end / at the start) / steps.

    What a Lyapunov exponent is in the limit, and what the difference of twins is recorded for. NaN
    where a distance is 0.

    Examples
    --------
    >>> fall = 1e-8 * 0.99 ** torch.arange(400).double()[:, None]
    >>> f"{float(growth_exponents(fall, window=200)[0]):.5f}"  # ln 0.99
    '-0.01005'
    """
    windows = cut_windows(len(distance), window=window)
    logs = distance.double().log()
    logs = logs.masked_fill(logs.isinf(), torch.nan)
    rise = logs[windows.ends] - logs[windows.starts]
    return (rise / (windows.size - 1)).cpu()
