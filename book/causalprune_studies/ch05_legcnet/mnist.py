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

from collections.abc import Iterator, Sequence
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
from causalprune_lib.pruning.contest import DENSE, RANDOM, Contest, Entry, Metrics
from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.scores import inverse_scores
from causalprune_lib.pruning.select import masks_from_scores
from causalprune_studies.ch05_legcnet.controls import (
    by_place,
    half_shifted,
    means,
    share_beaten,
    shares,
)
from causalprune_studies.judge import grade
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

    Metrics: those of `DeepRun.metrics`. Of "legcnet": `n_kept`, `n_pruned`, and `beats_accuracy`,
    `beats_f1`, `beats_epochs`, the share of the random masks that it beats (see `share_beaten`). Of
    "legcnet" and the placebos: `causal`, the share of the weights called causal, and `untestable`,
    of those without a test.

    `images` takes the place of the settings' 42,000, `n_random` is the number of random masks for
    each reading, `on` the device, and `profile` the size class that rows are filed under.
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

        def play(masks: Sequence[Masks]) -> list[Metrics]:
            networks = own.initial.repeat(len(masks))
            how = {"seed": seed, "masks": masks, "benchmark": settings.benchmark}
            return train_on_images(networks, settings, _data(*where), **how).outcomes()

        started, generator = perf_counter(), own_stream(seed, "random masks")
        contest, layout = Contest({}, play, nan="keep"), own.initial.layout
        dense = contest.enter_dense(layout.unflatten(torch.zeros(layout.size)))
        places: dict[Place, list[Entry]] = {("none", "none", DENSE): [dense]}
        facts: dict[Place, dict[str, float]] = {}
        for variant in settings.readings:
            n = len(contest.entries)
            said = self._enter(contest, variant, own, other, generator)
            found = by_place(contest.entries[n:])
            places |= {(variant, *at): entries for at, entries in found.items()}
            facts |= {(variant, *at): known for at, known in said.items()}
        seconds = own.seconds | {"decisions": perf_counter() - started}
        facts["none", "none", DENSE] = {f"seconds_{k}": v for k, v in seconds.items()}
        outcome = dict(contest.run())
        for place in places | facts:  # each once, in order; some were not trained
            variant, reading, mask = place
            metrics = means(places[place], outcome) if place in places else {}
            if mask == "legcnet" and metrics:
                [entry] = places[place]
                base = "as released" if reading == "corrected ranking" else reading
                randoms = [outcome[entry] for entry in places[variant, base, RANDOM]]
                beaten = share_beaten(outcome[entry], randoms)
                metrics |= _counts(entry.masks) | {f"beats_{k}": v for k, v in beaten.items()}
            metrics |= facts.get(place, {})
            yield Point(metrics, variant=variant, reading=reading, mask=mask)

    def _enter(
        self,
        contest: Contest,
        variant: str,
        own: DenseRecording,
        other: DenseRecording,
        generator: torch.Generator,
    ) -> dict[tuple[str, str], dict[str, float]]:
        """Enter all masks of FT or PT; what is known of them, by reading and mask."""
        layout = own.initial.layout

        def enter(reading: str, masks: Masks, *, controls: bool) -> None:
            contest.enter_masks(masks, "legcnet", reading, masks.amount)
            for draw in range(self.n_random):
                drawn = layout.unflatten(torch.rand(layout.size, generator=generator))
                like = masks_from_scores(drawn, scope="like", like=masks)
                contest.enter_masks(like, RANDOM, reading, masks.amount, draw=draw)
            if controls:
                contest.enter("magnitude", masks.amount, at=reading, like=masks)
                contest.enter("inverse", masks.amount, at=reading, like=masks)
                whole = contest.allocation("magnitude", masks.n - masks.n_kept)
                contest.enter_masks(whole, "magnitude, global", reading, masks.amount)

        read = {rule: own.decide(variant, rule=rule) for rule in RULES}
        released, corrected = read["as_released"], read["corrected"]
        scores = layout.unflatten(released.scores)
        for ranking, values in {
            "legcnet": scores,
            "corrected": layout.unflatten(corrected.scores),
            "inverse": inverse_scores(scores),
            "magnitude": layout.unflatten(own.weights[variant].abs().cpu()),
        }.items():
            contest.rank(ranking, values)
        n_scored = int((~released.scores.isnan()).sum())
        amount = min(own.settings.amounts[variant], n_scored)
        if amount:
            enter("ranked", contest.allocation("legcnet", amount), controls=True)
        like, prunes = Masks.from_flat(layout, released.keep), released.n_pruned > 0
        if prunes:
            enter("as released", like, controls=True)
            first = layout.names[0]  # kept whole, as in the released notebook
            upper = Masks({**like, first: torch.ones_like(like[first])})
            enter("upper layers", upper, controls=False)
            enter("corrected", Masks.from_flat(layout, corrected.keep), controls=False)
            ranking = contest.cut("corrected", like=like)
            contest.enter_masks(ranking, "legcnet", "corrected ranking", like.amount)
        facts = {}
        for rule, said in read.items():
            reading = rule.replace("_", " ")
            facts[reading, "legcnet"] = shares(said) | _counts(Masks.from_flat(layout, said.keep))
            for mask, exponents in _placebos(own, other, variant, generator).items():
                placebo = own.decide(variant, rule=rule, exponents=exponents)
                facts[reading, mask] = shares(placebo)
                if rule == "as_released" and prunes:
                    contest.rank(mask, layout.unflatten(placebo.scores))
                    contest.enter(mask, like.amount, at=reading, like=like)
        return facts


def _placebos(
    own: DenseRecording, other: DenseRecording, variant: str, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Exponents (W, P) that cannot cause the error."""
    exponents = own.exponents[variant]
    order = torch.rand(exponents.shape, generator=generator).argsort(0)
    return {
        "another seed": other.exponents[variant],
        "shuffled": exponents.gather(0, order),
        "half-shifted": half_shifted(exponents),
    }


def _counts(masks: Masks) -> dict[str, float]:
    return {"n_kept": masks.n_kept, "n_pruned": masks.n - masks.n_kept}


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
