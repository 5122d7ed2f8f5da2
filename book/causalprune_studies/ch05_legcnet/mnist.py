"""LEGCNet on the paper's MNIST network, with its controls, as specs for `run_grid`.

One cell is one seed: it fixes the initial weights, as `torch.manual_seed` would, and the order of
the examples. The dense network is trained and read as it goes, FT and PT, and every mask is trained
from the initial weights beside its controls, all in one batch that sees the same examples. The
recorded dense network and the one of the batch differ by float32 rounding alone, and that has moved
the epoch of the benchmark by two: so small a gap means nothing. The paper's tables print its third
initialisation; its weights are those of seed 3, its data order is not known.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from time import perf_counter

import pandas as pd
import torch

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.causality.decisions import RULES
from causalprune_lib.evidence.grid import Point
from causalprune_lib.evidence.statistics import PairedDifference, paired_difference, summarise
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_lib.nets.data import Dataset
from causalprune_lib.pruning.legcnet import LEGCNetDecision
from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.select import masks_from_scores
from causalprune_studies.ch05_legcnet.contest import Outcome
from causalprune_studies.judge import grade
from causalprune_studies.paper_networks.deep import DeepRun, upper_layers_only
from causalprune_studies.paper_networks.mnist import (
    MNIST_SETTINGS,
    DenseRecording,
    ImageSettings,
    mnist_data,
    mnist_settings,
    record_dense,
    train_on_images,
)
from causalprune_studies.tables import published

# ---- mnist: LEGCNet on the paper's MNIST network, with its controls, as specs for `run_grid`.


Place = tuple[str, str, str]  # variant, reading, mask


@dataclass(frozen=True)
class MNISTTrial:
    """One seed of LEGCNet's MNIST network with its controls.

    Gives points with the coordinates `variant`, `reading` and `mask`:

    - variant "none", reading "none", mask "dense": the dense network; also `seconds_training`,
      `seconds_exponents` and `seconds_decisions`;
    - variants "FT", "PT" (windows of FT, first tenth of the steps) and "PT, short windows";
    - reading "as released": the decision over all weights (smallest of many uncorrected p-values,
      error on the test set);
    - reading "upper layers": the same, pruning nothing in the first layer, as the released files;
    - reading "ranked": the published number of weights, the lowest scores first;
    - reading "corrected" (the same exponents; F test, lag by BIC, false discovery rate, error on
      the training set), and "corrected ranking", its lowest scores, as many in each layer as "as
      released" prunes.

    Masks: "legcnet"; "random", the mean over `n_random` masks; "magnitude" (smallest weights when
    the recording ended) and "inverse" (LEGCNet's ranking upside down), all with LEGCNet's counts in
    every layer; "magnitude, global", with its count over all layers. "upper layers" and "corrected"
    are trained beside "random" only, "as released" beside three placebos more, ranked at the same
    counts: the exponents of "another seed", those of the network "shuffled" in time, each weight
    for itself, and those "half-shifted": all weights' series rotated by half their length, which
    keeps everything but the time. "corrected" has only the placebos' `causal`, "corrected ranking"
    shares the controls of "as released". Where "as released" prunes nothing, "ranked" alone is
    trained.

    Metrics: `accuracy`, `f1`, `train_accuracy`, `first_accuracy` and `first_f1` (first example of
    each test batch, as released) in the epoch that reached the paper's benchmark, or else in the
    last; `epochs` to the benchmark, from 0, NaN where it was never reached, and then `reached` is
    0; `final_accuracy` and `final_train_accuracy`, those of the last epoch. Of "legcnet": `n_kept`,
    `n_pruned`, and `beats_accuracy`, `beats_f1`, `beats_epochs`, the share of the random masks that
    it beats, ties counted half. Of "legcnet" and the placebos: `causal`, the share of the weights
    called causal, and `untestable`, of those without a test.

    Parameters
    ----------
    dataset : str
        A key of `MNIST_SETTINGS`.
    images : int, optional
        In place of the settings' 42,000.
    n_random : int
        Random masks per reading.
    on, profile : str
        Device, and the size class that rows are filed under.
    """

    dataset: str = "mnist"
    images: int | None = None
    n_random: int = 5
    on: str = "cpu"
    profile: str = "quick"

    @property
    def settings(self) -> ImageSettings:
        """How the network is trained and read."""
        settings = mnist_settings(self.dataset)
        return settings if self.images is None else replace(settings, images=self.images)

    def run(self, seed: int) -> Iterator[Point]:
        """Train and read the dense network, make the masks, train them all."""
        check_choice("dataset", self.dataset, MNIST_SETTINGS)
        check_int("seed", seed, minimum=0)
        check_int("n_random", self.n_random)
        settings, where = self.settings, (self.dataset, self.images, self.on)
        own, other = _recording(*where, seed), _recording(*where, seed + 1)
        started = perf_counter()
        masks = _Masks(own, other, n_random=self.n_random, seed=seed)
        for variant in settings.readings:
            masks.read(variant)
        seconds = own.seconds | {"decisions": perf_counter() - started}
        masks.facts["none", "none", "dense"] = {f"seconds_{k}": v for k, v in seconds.items()}
        data = _data(*where)
        run = train_on_images(
            own.initial.repeat(len(masks.keep)),
            settings,
            data,
            seed=seed,
            masks=torch.stack(masks.keep),
            benchmark=settings.benchmark,
        )
        yield from masks.points(run)


class _Masks:
    """The masks of one cell, in the order of training, and what is known of each."""

    def __init__(
        self, own: DenseRecording, other: DenseRecording, *, n_random: int, seed: int
    ) -> None:
        self.own, self.other, self.n_random = own, other, n_random
        self.layout = own.initial.layout
        self.generator = own_stream(seed, "random masks")
        self.keep = [torch.ones(self.layout.size, dtype=torch.bool)]
        self.of: list[Place] = [("none", "none", "dense")]
        self.facts: dict[Place, dict[str, float]] = {}

    def read(self, variant: str) -> None:
        """All masks of FT or PT."""
        decisions = {rule: self.own.decide(variant, rule=rule) for rule in RULES}
        released, corrected = decisions["as_released"], decisions["corrected"]
        scores, size = released.scores, self.own.weights[variant].abs().cpu()
        amount = min(self.own.settings.amounts[variant], int((~scores.isnan()).sum()))
        ranked = self._lowest(scores, amount)
        like = released.keep if released.n_pruned else ranked
        if amount:
            self._add_with_controls((variant, "ranked"), ranked, scores, size)
        if released.n_pruned:
            self._add_with_controls((variant, "as released"), like, scores, size)
            upper = upper_layers_only(released.keep, self.own.initial)
            self._add_with_random((variant, "upper layers"), upper)
            self._add_with_random((variant, "corrected"), corrected.keep)
            ranking = self._lowest_like(corrected.scores, like)
            self._add((variant, "corrected ranking", "legcnet"), ranking)
        for rule, decision in decisions.items():
            reading = rule.replace("_", " ")
            said = (decision, *self._placebos(variant, rule))
            names = ("legcnet", "another seed", "shuffled", "half-shifted")
            for mask, decided in zip(names, said, strict=True):
                place = variant, reading, mask
                if rule == "as_released" and mask != "legcnet" and released.n_pruned:
                    self._add(place, self._lowest_like(decided.scores, like))
                self.facts.setdefault(place, {}).update(_facts(decided, mask))

    def _placebos(self, variant: str, rule: str) -> Iterator[LEGCNetDecision]:
        own = self.own.exponents[variant]
        order = torch.rand(own.shape, generator=self.generator).argsort(0)
        series = (
            self.other.exponents[variant],
            own.gather(0, order),
            own.roll(len(own) // 2, 0),
        )
        for exponents in series:
            yield self.own.decide(variant, rule=rule, exponents=exponents)

    def _add(self, place: Place, keep: torch.Tensor) -> None:
        self.keep.append(keep.cpu())
        self.of.append(place)

    def _add_with_random(self, where: tuple[str, str], keep: torch.Tensor) -> None:
        self._add((*where, "legcnet"), keep)
        for _ in range(self.n_random):
            drawn = torch.rand(self.layout.size, generator=self.generator)
            self._add((*where, "random"), self._lowest_like(drawn, keep))

    def _add_with_controls(
        self, where: tuple[str, str], keep: torch.Tensor, scores: torch.Tensor, size: torch.Tensor
    ) -> None:
        self._add_with_random(where, keep)
        self._add((*where, "magnitude"), self._lowest_like(size, keep))
        self._add((*where, "inverse"), self._lowest_like(-scores, keep))
        self._add((*where, "magnitude, global"), self._lowest(size, int((~keep).sum())))

    def _lowest(self, scores: torch.Tensor, amount: int) -> torch.Tensor:
        return masks_from_scores(self.layout.unflatten(scores.cpu()), amount, nan="keep").flat()

    def _lowest_like(self, scores: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Prune the lowest scores, as many in each layer as `keep` does; NaN goes last."""
        like = Masks.from_flat(self.layout, keep.cpu())
        named = self.layout.unflatten(scores.cpu())
        return masks_from_scores(named, scope="like", like=like, nan="keep").flat()

    def points(self, run: DeepRun) -> Iterator[Point]:
        outcome = _outcome(run)
        places: dict[Place, list[int]] = {}
        for i, place in enumerate(self.of):
            places.setdefault(place, []).append(i)
        for place in places | self.facts:  # each once, in order
            variant, reading, mask = place
            metrics = outcome.take(places[place]) if place in places else {}
            if mask == "legcnet" and metrics:
                base = "as released" if reading == "corrected ranking" else reading
                randoms, row = places[variant, base, "random"], places[place][0]
                metrics |= _counts(self.keep[row]) | outcome.beats(row, randoms, free=True)
            metrics |= self.facts.get(place, {})
            yield Point(metrics, variant=variant, reading=reading, mask=mask)


def _outcome(run: DeepRun) -> Outcome:
    """The metrics (B,) of a run: those of the other tables, and those that only images have."""
    outcome, reached = Outcome(run), ~run.epochs_to_benchmark.isnan()
    for name in ("train_accuracy", "first_accuracy", "first_f1"):
        last = getattr(run, name)[:, -1]
        outcome.metrics[name] = torch.where(reached, run.at_benchmark(name), last).cpu()
    outcome.metrics["final_train_accuracy"] = run.train_accuracy[:, -1].cpu()
    return outcome


def _facts(decision: LEGCNetDecision, mask: str) -> dict[str, float]:
    n = len(decision.keep)
    facts = {"causal": int(decision.causal.sum()) / n, "untestable": decision.n_missing / n}
    return facts | (_counts(decision.keep) if mask == "legcnet" else {})


def _counts(keep: torch.Tensor) -> dict[str, float]:
    n_kept = int(keep.sum())
    return {"n_kept": n_kept, "n_pruned": len(keep) - n_kept}


@lru_cache(maxsize=1)
def _data(dataset: str, images: int | None, device: str) -> Dataset:
    return mnist_data(MNISTTrial(dataset, images).settings).to(device)


@lru_cache(maxsize=2)
def _recording(dataset: str, images: int | None, device: str, seed: int) -> DenseRecording:
    """Kept, for the next seed needs it too."""
    settings = MNISTTrial(dataset, images).settings
    return record_dense(settings, _data(dataset, images, device), seed=seed)


MNIST_STUDIES: dict[str, tuple[MNISTTrial, ...]] = {
    "quick": (MNISTTrial("digits", n_random=2),),
    "full": (MNISTTrial(profile="full"),),
}


# ---- mnist_tables: The MNIST row of the paper's tables 1 to 3, and its verdicts, from the rows o


MARGIN = 0.01  # one point of accuracy


CRITERIA = {
    "MNIST: keeps accuracy": "reproduced if the interval of FT minus dense accuracy lies above "
    "minus one point, partly if only the mean does",
    "MNIST: beats random masks": "reproduced if FT is more accurate than random masks with the "
    "same counts in every layer (interval above zero), partly if the mean is",
    "MNIST: causes are the network's own": "reproduced if more weights are called causal by the "
    "network's own exponents than by those of another seed and than by its own shuffled in time "
    "(both intervals above zero), partly if only than by the shuffled ones",
}


ROWS = {  # how the page calls a network -> where its rows are
    "dense": ("none", "none", "dense"),
    "FT": ("FT", "as released", "legcnet"),
    "FT, upper layers": ("FT", "upper layers", "legcnet"),
    "FT, published number": ("FT", "ranked", "legcnet"),
    "PT, short windows": ("PT, short windows", "as released", "legcnet"),
    "PT, published number": ("PT", "ranked", "legcnet"),
    "random, FT's counts": ("FT", "as released", "random"),
    "magnitude, FT's counts": ("FT", "as released", "magnitude"),
    "inverse, FT's counts": ("FT", "as released", "inverse"),
    "another seed, FT's counts": ("FT", "as released", "another seed"),
    "half-shifted, FT's counts": ("FT", "as released", "half-shifted"),
}


PUBLISHED = {  # the same networks -> table -> the column of each metric
    "dense": ("legcnet_table1", "Flops - DN", "Epochs DN", "Accuracy DN", "F1-score DN"),
    "FT, published number": (
        "legcnet_table1",
        "Flops - LEGCNet-FT",
        "Epochs LEGCNet-FT",
        "Accuracy LEGCNet-FT",
        "F1-score LEGCNet-FT",
    ),
    "PT, published number": (
        "legcnet_table2",
        "Flops (SN) - LEGCNet-PT",
        "Epochs (SN) LEGCNet-PT",
        "Accuracy (SN) LEGCNet-PT",
        "F1-score (SN) LEGCNet-PT",
    ),
    "random, FT's counts": (
        "legcnet_table3",
        None,
        "Epochs (SN) Random",
        "Accuracy (SN) Random",
        "F1-score (SN) Random",
    ),
    "magnitude, FT's counts": (
        "legcnet_table3",
        None,
        None,
        "Accuracy (SN) Magnitude",
        "F1-score (SN) Magnitude",
    ),
}


METRICS = ("n_kept", "epochs", "accuracy", "f1")


def mnist_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of every network of `ROWS`, each metric beside the published number.

    Columns are pairs of a metric and "published" or "here"; what is not printed is NaN.
    """
    table = {}
    for name in ROWS:
        means = _of(rows, name).groupby("metric").value.mean()
        printed = _printed(name)
        table[name] = {
            (metric, side): values.get(metric, float("nan"))
            for metric in METRICS
            for side, values in (("published", printed), ("here", means))
        }
    return pd.DataFrame(table).T


def causal_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of the weights called causal in FT, by whose exponents and by which rule."""
    found = rows[(rows.metric == "causal") & (rows.variant == "FT")]
    found = found[found.reading.isin(["as released", "corrected"])]
    return summarise(found.assign(exponents=found["mask"]), ["reading", "exponents"])


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each claim of `CRITERIA`; refuses rows that are not full."""
    require_full(rows)
    n_seeds = int(rows.seed.nunique())
    accuracy = rows[rows.metric == "accuracy"]
    accuracy = pd.concat([_of(accuracy, name).assign(network=name) for name in ROWS])
    dense = _difference(accuracy, "FT", "dense")
    random = _difference(accuracy, "FT", "random, FT's counts")
    shares = rows[(rows.metric == "causal") & (rows.variant == "FT")]
    shares = shares[shares.reading == "as released"].assign(network=lambda frame: frame["mask"])
    other = _difference(shares, "legcnet", "another seed")
    shuffled = _difference(shares, "legcnet", "shuffled")
    own = other.low > 0 and shuffled.low > 0
    found = {
        "MNIST: keeps accuracy": (
            "LEGCNet-FT keeps the dense network's accuracy on MNIST (table 1).",
            grade(dense.low > -MARGIN, dense.mean > -MARGIN),
            dense,
            "random masks with the same counts in every layer; FT minus those: "
            f"{random.mean:+.4f} ({random.low:+.4f} to {random.high:+.4f})",
            "of accuracy, FT minus dense",
        ),
        "MNIST: beats random masks": (
            "LEGCNet-FT is better than random pruning on MNIST (table 3).",
            grade(random.low > 0, random.mean > 0),
            random,
            "the random masks themselves, five for each seed",
            "of accuracy, FT minus random",
        ),
        "MNIST: causes are the network's own": (
            "The Granger test tells the weights that cause this network's error (section 3).",
            grade(own, shuffled.low > 0),
            other,
            "exponents of another network; against the network's own, shuffled in time: "
            f"{shuffled.mean:+.4f} ({shuffled.low:+.4f} to {shuffled.high:+.4f})",
            "of the weights, own minus another seed's",
        ),
    }
    return {
        name: Verdict(
            claim, verdict, gap.mean, (gap.low, gap.high), n_seeds, control=control, unit=unit
        )
        for name, (claim, verdict, gap, control, unit) in found.items()
    }


def _of(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    variant, reading, mask = ROWS[name]
    return rows[(rows.variant == variant) & (rows.reading == reading) & (rows["mask"] == mask)]


def _difference(rows: pd.DataFrame, a: str, b: str) -> PairedDifference:
    return paired_difference(rows, between="network", a=a, b=b)


def _printed(name: str) -> dict[str, float]:
    if name not in PUBLISHED:
        return {}
    table, *columns = PUBLISHED[name]
    row = published(table).query("row == 'mnist'").set_index("column").value
    return {metric: float(row[c]) for metric, c in zip(METRICS, columns, strict=True) if c}
