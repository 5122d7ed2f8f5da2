"""Many masks of one initial network, trained side by side with random masks of the same counts.

Every study of the chapter "LEGCNet" that turns a setting ends here: which weights are pruned was
decided elsewhere, and the question is only how the masks do. Masks that are equal are trained once,
and masks with the same counts per layer share their random masks.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch

from causalprune_lib._validation import check_int
from causalprune_lib.nets.data import Dataset
from causalprune_studies.paper_networks.initial import load_legcnet_init
from causalprune_studies.paper_networks.settings import (
    PUBLISHED_READINGS,
    MaskReading,
    legcnet_settings,
    released_reading,
)
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks, random_masks_like
from causalprune_studies.paper_networks.training import NetworksRun, legcnet_data, train_as_released

# ---- controls: How the masks of the LEGCNet study are matched in counts, and what is measured of


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


# ---- contest: Many masks of one initial network, trained side by side with random masks of the s


TRIALS = 10  # published initial networks


METRICS = ("accuracy", "epochs", "reached", "final_accuracy")


@dataclass(frozen=True)
class Entry:
    """Where a mask and its random masks stand in the batch; `free` if others were possible."""

    row: int
    randoms: tuple[int, ...]
    free: bool
    n_pruned: int


class Contest:
    """Masks that all start from one network.

    Parameters
    ----------
    dataset : str
        A key of `LEGCNET_SETTINGS`.
    n_random : int
        Random masks for each pair of counts per layer.
    seed : int
        Fixes them, together with the counts.
    """

    def __init__(self, dataset: str, *, n_random: int, seed: int) -> None:
        self.settings = legcnet_settings(dataset)
        self.n_random, self.seed = check_int("n_random", n_random), seed
        d, h, _ = self.settings.sizes
        self.split = h * d
        self.keep: list[torch.Tensor] = []
        self._rows: dict[bytes, int] = {}
        self._randoms: dict[tuple[int, int], tuple[int, ...]] = {}
        self.outcome: Outcome | None = None

    def enter(self, keep: torch.Tensor) -> Entry:
        """Enter the mask `keep` (P,), True = keep, with its random masks."""
        keep = keep.cpu()
        cut = ~keep
        counts = int(cut[: self.split].sum()), int(cut[self.split :].sum())
        if counts not in self._randoms:
            salt = 100_000 * self.seed + 300 * counts[0] + counts[1]
            like = random_masks_like(keep[None], self.n_random, seed=salt, split=self.split)
            self._randoms[counts] = tuple(self._row(mask) for mask in like)
        free = has_choice(keep, split=self.split)
        return Entry(self._row(keep), self._randoms[counts], free, sum(counts))

    def _row(self, keep: torch.Tensor) -> int:
        row = self._rows.setdefault(keep.numpy().tobytes(), len(self.keep))
        if row == len(self.keep):
            self.keep.append(keep)
        return row

    def train(self, network: SigmoidNetworks, data: Dataset) -> None:
        """Train `network` under every mask entered so far, each for all the epochs it may take."""
        run = train_as_released(
            self.settings,
            network.select([0] * len(self.keep)),
            data,
            epochs=self.settings.max_epochs,
            masks=torch.stack(self.keep),
            test=(data.x_test, data.y_test),
            benchmark=self.settings.benchmark,
        )
        self.outcome = Outcome(run)

    def result(self, entry: Entry) -> dict[str, float]:
        """Metrics of one mask: those of `Outcome`, how many weights it prunes, whom it beats."""
        own = self._take(entry.row)
        beats = self._trained().beats(entry.row, list(entry.randoms), free=entry.free)
        beats = {name: value for name, value in beats.items() if name != "beats_f1"}
        return own | {"n_pruned": entry.n_pruned} | beats

    def random_result(self, entry: Entry) -> dict[str, float]:
        """Means over the random masks of one mask."""
        return self._take(list(entry.randoms))

    def _take(self, rows: int | list[int]) -> dict[str, float]:
        found = self._trained().take(rows)
        return {name: found[name] for name in METRICS}

    def _trained(self) -> Outcome:
        if self.outcome is None:
            raise RuntimeError("the masks have not been trained yet: call train first.")
        return self.outcome


def check_trial(seed: int) -> int:
    """The seed as the number of a published trial, from 0."""
    trial = check_int("seed", seed, minimum=0)
    if trial >= TRIALS:
        raise ValueError(f"seed must be a trial, 0..{TRIALS - 1}; got {trial}.")
    return trial


def published_reading(dataset: str, *, variant: str = "FT") -> MaskReading:
    """Epochs, window and lags: those that give the published masks, or else the released ones."""
    known = PUBLISHED_READINGS.get((dataset, variant))
    return released_reading(dataset, variant=variant) if known is None else known


def all_networks(dataset: str, *, device: str = "cpu") -> SigmoidNetworks:
    """The ten published initial networks."""
    return SigmoidNetworks.from_trials(load_legcnet_init(dataset, trials=TRIALS), device=device)


@lru_cache(maxsize=4)
def study_data(dataset: str, preprocessing: str = "as_released", device: str = "cpu") -> Dataset:
    """`legcnet_data` on a device, read once."""
    return legcnet_data(dataset, preprocessing=preprocessing).to(device)
