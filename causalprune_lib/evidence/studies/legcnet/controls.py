"""How the masks of the LEGCNet study are matched in counts, and what is measured of them.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

import math

import torch

from causalprune_lib.pruning.legcnet_training import NetworksRun


class Outcome:
    """The metrics (B,) of a run to the paper's benchmark.

    Accuracy and F1 are those of the epoch that reached it, or of the last epoch. A network that
    never reached it has NaN epochs.
    """

    def __init__(self, run: NetworksRun) -> None:
        epochs = run.epochs_to_benchmark.cpu()
        reached = ~epochs.isnan()
        last = run.test_accuracy[:, -1].cpu()
        self.metrics = {
            "accuracy": torch.where(reached, run.at_benchmark("test_accuracy").cpu(), last),
            "f1": torch.where(reached, run.at_benchmark("test_f1").cpu(), run.test_f1[:, -1].cpu()),
            "epochs": epochs,
            "reached": reached.double(),
            "final_accuracy": last,
        }

    def take(self, rows: int | list[int]) -> dict[str, float]:
        """Means over `rows`; of the epochs, over those that reached the benchmark."""
        return {name: v[rows].nanmean().item() for name, v in self.metrics.items()}

    def beats(self, row: int, others: list[int], *, free: bool) -> dict[str, float]:
        """Share of `others` that `row` beats, ties counted half."""
        found = {}
        for name, sign in (("accuracy", 1), ("f1", 1), ("epochs", -1)):
            values = sign * self.metrics[name].nan_to_num(nan=torch.inf)
            gaps = values[row] - values[others]
            gaps = gaps.nan_to_num(nan=0.0)  # neither reached the benchmark
            share = ((gaps > 0).double() + (gaps == 0).double() / 2).mean().item()
            found[f"beats_{name}"] = share if free else math.nan
        return found


def lowest_at_counts(scores: torch.Tensor, keep: torch.Tensor, *, split: int) -> torch.Tensor:
    """Mask (P,) that prunes the lowest scores, as many in each layer as `keep` does.

    Weights whose score is NaN go last. The second layer begins at `split`.

    Examples
    --------
    >>> keep = torch.tensor([True, False, True, True, False])
    >>> lowest_at_counts(torch.tensor([0.1, 0.9, 0.5, torch.nan, 2.0]), keep, split=3)
    tensor([False,  True,  True,  True, False])
    """
    scores = scores.cpu().nan_to_num(nan=torch.inf, neginf=-torch.inf)
    parts = []
    for part in (slice(0, split), slice(split, None)):
        rank = scores[part].argsort(stable=True).argsort(stable=True)
        parts.append(rank >= (~keep[part]).sum().cpu())
    return torch.cat(parts)


def has_choice(keep: torch.Tensor, *, split: int) -> bool:
    """Whether another mask with the same counts per layer exists."""
    return any(0 < int(part.sum()) < len(part) for part in (keep[:split], keep[split:]))
