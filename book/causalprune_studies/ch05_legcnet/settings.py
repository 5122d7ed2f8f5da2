"""LEGCNet with something changed: its settings, the exponents, the data, or twins in their place.

`LEGCNetAblation` changes one setting at a time, `LEGCNetPlacebos` takes other exponents,
`LEGCNetScaled` other features, `LEGCNetTwins` the exponents that the paper describes. Their rows
are in measured/legcnet-ablation. The seed is one of ten published trials, from 0.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache

import torch

from causalprune_lib.causality.decisions import CausalDecision, causal_decision
from causalprune_lib.causality.granger import granger_test
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset
from causalprune_lib.pruning.contest import DENSE, RANDOM, Contest, Entry, Metrics, each_once
from causalprune_lib.pruning.legcnet import legcnet_decision
from causalprune_lib.pruning.masks import Masks, jaccard
from causalprune_lib.pruning.windows import cut_windows, windowed_exponents
from causalprune_studies.ch05_legcnet.controls import (
    beats,
    enter_random,
    half_shifted,
    means,
    placebo_series,
    shares,
    side_by_side,
    size_and_inverse,
)
from causalprune_studies.ch05_legcnet.study import DATASETS, decided_or_ranked, start_of
from causalprune_studies.paper_networks.settings import (
    MaskReading,
    legcnet_settings,
    published_reading,
)
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import (
    TableRun,
    legcnet_data,
    read_trials,
    train_as_released,
)
from causalprune_studies.paper_networks.twins import TwinSeries, growth_exponents, twin_series

RULES = {"as released": ("as_released", "test"), "corrected": ("corrected", "train")}
METRICS = ("accuracy", "epochs", "reached")
ORIENTATIONS = ("prune non-causal", "prune causal")


@dataclass(frozen=True)
class Setting:
    """How a mask is read off a recording.

    Rule "as released": the smallest p-value over the lags, of the chi2 form, rounded to four
    digits, below 0.05; a failed test counts as causal. "corrected": the F test, Bonferroni over the
    lags, false discovery rate over the weights.
    """

    window: float = 1.0  # its length, in windows of the table's own
    overlap: float = 0.1  # share of a window that the next one holds too
    lag: str = "all"  # lags tested: 1 to the table's largest; to "5", "10"; "one", chosen by BIC
    rule: str = "as released"
    error_on: str = "test"  # or "train": the examples on which the error rate is taken

    @property
    def cut(self) -> tuple[float, float]:
        """What the windows depend on."""
        return self.window, self.overlap

    @property
    def base(self) -> Setting:
        """The setting of the same rule from which one thing at a time is changed."""
        return BASES[self.rule]


BASES = {"as released": Setting(), "corrected": Setting(lag="one", rule="corrected")}
CHANGES = {
    "window": (0.5, 2.0),
    "overlap": (0.0, 0.5),
    "lag": ("all", "5", "10", "one"),
    "error_on": ("train",),
}


def settings_of(rule: str) -> tuple[Setting, ...]:
    """The base of `rule`, and what comes of changing one thing.

    Examples
    --------
    >>> [s.lag for s in settings_of("corrected") if s.cut == (1, 0.1) and s.error_on == "test"]
    ['one', 'all', '5', '10']
    """
    base = BASES[rule]
    changed = [replace(base, **{name: v}) for name, values in CHANGES.items() for v in values]
    return tuple(dict.fromkeys([base, *changed]))


@dataclass(frozen=True)
class LEGCNetAblation:
    """LEGCNet-FT of one trial under every setting of `settings_of`, for both rules.

    Coordinates `window`, `overlap`, `lag`, `rule`, `error_on` as in `Setting`; `orientation`
    ("prune non-causal", "prune causal"); `mask` ("legcnet", "random": the mean over `n_random`
    masks with the same counts per layer).

    Metrics of both masks: `accuracy` as in `NetworksRun.metrics`. Of "legcnet": `epochs` and
    `reached` too, `n_pruned`, `beats_accuracy` and `beats_epochs` (share of the random masks that
    it beats; NaN where the counts leave no choice). Of "legcnet" with "prune non-causal": `causal`
    and `untestable`, shares of the weights; `jaccard`, the weights that it and the base setting of
    its rule prune both, over those that either does; and `jaccard_chance`, the same of random masks
    as small as its own, in place of its own.
    """

    dataset: str = "cancer"
    n_random: int = 20
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Record once, read every mask, train them all."""
        trial, networks, data = start_of(self.dataset, seed, device=self.on)
        network, reading = networks.select([0]), published_reading(self.dataset)
        wanted = [setting for rule in BASES for setting in settings_of(rule)]
        series = record_series(self.dataset, network, data, reading, {s.cut for s in wanted})
        contest = contest_of(self.dataset, network, data)
        said, entered = {}, {}
        for setting in wanted:
            found = decide(*series[setting.cut], setting, max_lag=reading.max_lag)
            said[setting] = shares(found)
            spared = found.causal | found.missing, ~found.causal | found.missing
            for orientation, keep in zip(ORIENTATIONS, spared, strict=True):
                masks = Masks.from_flat(network.layout, keep)
                beside = enter_beside_random(contest, masks, n=self.n_random, trial=trial)
                entered[setting, orientation] = beside
        outcome = dict(contest.run())
        for (setting, orientation), (own, randoms) in entered.items():
            result = compared(own, randoms, outcome)
            if orientation == ORIENTATIONS[0]:
                base = entered[setting.base, orientation][0].masks
                by_chance = [jaccard_pruned(entry.masks, base) for entry in randoms]
                result |= said[setting] | {
                    "jaccard": jaccard_pruned(own.masks, base),
                    "jaccard_chance": sum(by_chance) / len(by_chance),
                }
            where = asdict(setting) | {"orientation": orientation}
            yield Point(result, **where, mask="legcnet")
            like = {"accuracy": means(randoms, outcome)["accuracy"]}
            yield Point(like, **where, mask=RANDOM)


Series = tuple[torch.Tensor, dict[str, torch.Tensor]]


def record_series(
    dataset: str,
    network: SigmoidNetworks,
    data: Dataset,
    reading: MaskReading,
    cuts: set[tuple[float, float]],
) -> dict[tuple[float, float], Series]:
    """Train once; for each (window, overlap) the exponents (W, P) and the errors (W,) by name."""
    n_steps, own = reading.epochs * len(data.x_train), reading.window
    windows = {
        cut: cut_windows(n_steps + 1, window=round(own * cut[0]), overlap=cut[1])
        for cut in sorted(cuts)
    }
    ends = sorted({end for where in windows.values() for end in where.ends.tolist()})
    run = train_as_released(
        legcnet_settings(dataset),
        network,
        data,
        epochs=reading.epochs,
        test=(data.x_test, data.y_test),
        record=[0],
        judge_at=ends,
    )
    wrong = {"test": 1 - run.test_accuracy_at[0].cpu(), "train": 1 - run.train_accuracy_at[0].cpu()}
    found = {}
    for cut, where in windows.items():
        exponents = windowed_exponents(
            run.weights[0],
            window=where.size,
            overlap=cut[1],
            gate=reading.gate,
            horizon=reading.horizon,
        ).exponent
        n = reading.n_windows if cut == Setting().cut else None  # as the published masks have it
        at = [ends.index(end) for end in where.ends.tolist()[:n]]
        found[cut] = exponents[:n], {name: error[at] for name, error in wrong.items()}
    return found


def decide(
    exponents: torch.Tensor, errors: dict[str, torch.Tensor], setting: Setting, *, max_lag: int
) -> CausalDecision:
    """Which weights are called causal, by exponents (W, P) and errors (W,), as a setting says."""
    one, released = setting.lag == "one", setting.rule == "as released"
    result = granger_test(
        errors[setting.error_on],
        exponents,
        max_lag=max_lag if setting.lag in ("all", "one") else int(setting.lag),
        lag="bic" if one else None,
        test="chi2" if released else "f",
    )
    if released and one:  # the one p-value is rounded and read as the released rule does
        p = result.chosen_pvalue.round(decimals=4)
        missing, alpha = p.isnan(), 0.05
        return CausalDecision((p < alpha) | missing, p, missing, rule="as_released", alpha=alpha)
    over = "chosen" if one else "bonferroni"
    options = {"rule": "as_released"} if released else {"rule": "corrected", "over_lags": over}
    return causal_decision(result, **options)


def contest_of(
    dataset: str, network: SigmoidNetworks, data: Dataset, *, metrics: Sequence[str] = METRICS
) -> Contest:
    """A contest of masks of `network` that trains equal masks once."""
    play = side_by_side(dataset, network, data, metrics=metrics)
    return Contest({}, each_once(play), nan="keep")


def enter_beside_random(
    contest: Contest, masks: Masks, *, n: int, trial: int
) -> tuple[Entry, list[Entry]]:
    """Enter `n` random masks, the same for equal counts per layer, and then `masks`."""
    first, second = (int((~keep).sum()) for keep in masks.values())
    seed = 100_000 * trial + 300 * first + second
    randoms = enter_random(contest, masks, "legcnet", n, seed=seed)
    return contest.enter_masks(masks, "legcnet", "legcnet", first + second), randoms


def compared(
    own: Entry, randoms: Sequence[Entry], outcome: Mapping[Entry, Metrics]
) -> dict[str, float]:
    """The outcome of one mask, how many weights it prunes, whom it beats."""
    n_pruned = own.masks.n - own.masks.n_kept
    return {**outcome[own], "n_pruned": n_pruned, **beats(own, randoms, outcome)}


def jaccard_pruned(a: Masks, b: Masks) -> float:
    """Weights that both masks prune, over those that either does; NaN where neither prunes any."""
    return jaccard(a, b, of="pruned") if a.n_kept + b.n_kept < 2 * a.n else math.nan


ORDERS = ("released", "another", "reshuffled", "reshuffled again")


@dataclass(frozen=True)
class LEGCNetPlacebos:
    """How many weights are called causal by exponents that share less and less with the error.

    Coordinates:

    - `judged`, how the network whose error is tested was trained: "released", one order in every
      epoch, or "reshuffled", a new order in every epoch;
    - `exponents`, whose are tested: "own"; "own, half-shifted" (rolled by half their length: the
      same values, at another time of training); "own, shuffled"; "noise"; "other, same order"
      (another initial network, trained as the judged one was); "other, half-shifted" (the same,
      rolled); for a judged network of the released order also "other, another order" (one other
      order in every epoch) and "other, reshuffled"; for a reshuffled one "other, reshuffled" comes
      from shuffles of its own;
    - `rule`: "as released" against the test error, "corrected" (one lag by BIC, F test, false
      discovery rate) against the training error.

    Metrics: `causal` and `untestable`, shares of the weights. Windows and lags are those of
    LEGCNet-FT, and the same for all.
    """

    dataset: str = "cancer"
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Train own and other networks in each order, and test."""
        trial, networks, data = start_of(self.dataset, seed, device=self.on)
        reading, n = published_reading(self.dataset), len(data.x_train)
        windows = cut_windows(reading.epochs * n + 1, window=reading.window)
        runs = {}
        for i, order in enumerate(ORDERS):
            draws = torch.Generator().manual_seed(10 * trial + i)
            examples = order_of(order, n, reading.epochs, draws)
            at = windows.ends.tolist() if order in ("released", "reshuffled") else None
            runs[order] = train_in_order(self.dataset, networks, data, examples, judge_at=at)

        @cache
        def exponents(order: str, i: int) -> torch.Tensor:
            return exponents_of(runs[order].weights[i], reading)

        for judged, others in (
            ("released", {"another order": "another", "reshuffled": "reshuffled"}),
            ("reshuffled", {"reshuffled": "reshuffled again"}),
        ):
            own, other = exponents(judged, 0), exponents(judged, 1)
            series = placebo_series(own, generator=torch.Generator().manual_seed(trial))
            series["other, same order"] = other
            series["other, half-shifted"] = half_shifted(other)
            series |= {f"other, {name}": exponents(order, 1) for name, order in others.items()}
            for name, (rule, on) in RULES.items():
                error = 1 - getattr(runs[judged], f"{on}_accuracy_at")[0, : len(own)].cpu()
                for whose, tested in series.items():
                    said = legcnet_decision(tested, error, rule=rule, max_lag=reading.max_lag)
                    yield Point(shares(said), judged=judged, exponents=whose, rule=name)


def order_of(order: str, n: int, epochs: int, generator: torch.Generator) -> torch.Tensor:
    """Which example comes at each step, (epochs n,)."""
    if order == "released":
        return torch.arange(n).repeat(epochs)
    if order == "another":
        return torch.randperm(n, generator=generator).repeat(epochs)
    return torch.cat([torch.randperm(n, generator=generator) for _ in range(epochs)])


def train_in_order(
    dataset: str,
    networks: SigmoidNetworks,
    data: Dataset,
    examples: torch.Tensor,
    *,
    judge_at: Sequence[int] | None,
) -> TableRun:
    """Train on the `examples` (T,), one after the other, and record all networks.

    The accuracy on the training set is that on `examples`, where each stands once per epoch.
    """
    examples = examples.to(data.x_train.device)
    return train_as_released(
        legcnet_settings(dataset),
        networks,
        replace(data, x_train=data.x_train[examples], y_train=data.y_train[examples]),
        epochs=1,
        test=(data.x_test, data.y_test),
        record=range(len(networks)),
        judge_at=judge_at,
    )


def exponents_of(weights: torch.Tensor, reading: MaskReading) -> torch.Tensor:
    """Windowed exponents (W, P) of a recording, as the masks of the paper were read."""
    found = windowed_exponents(
        weights, window=reading.window, gate=reading.gate, horizon=reading.horizon
    )
    return found.exponent[: reading.n_windows]


@dataclass(frozen=True)
class LEGCNetScaled:
    """One trial of LEGCNet on standardised features, with its controls.

    Coordinates `scaling` ("standard"; for "dense" also "as released") and `mask`:

    - "dense";
    - "legcnet", the released rule with the error on the test set; where it prunes nothing, the
      published number of weights, lowest scores first, and `empty` is 1;
    - "corrected ranking", the lowest scores of the corrected test (error on the training set);
    - "random" (mean over `n_random`), "magnitude", "inverse" (LEGCNet's ranking upside down).

    All but "dense" prune as many weights in every layer as "legcnet".

    Metrics: those of `NetworksRun.metrics` but F1. Of masks but "random" and "dense": `n_pruned`,
    `beats_accuracy`, `beats_epochs`. Of "legcnet": `empty`, and `causal`, the share of the weights
    called causal, by its own exponents; of the mask "another trial" only `causal`, by another
    trial's.
    """

    dataset: str = "cancer"
    variant: str = "FT"
    n_random: int = 20
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Read the masks on standardised data, train them with their controls."""
        cell = start_of(self.dataset, seed, device=self.on, preprocessing="standard")
        trial, networks, data = cell
        how = {"variant": self.variant, "networks": networks, "data": data}
        own, other = read_trials(self.dataset, rule="as_released", error="test", **how)
        corrected = read_trials(self.dataset, rule="corrected", error="train", **how)[0]
        like = decided_or_ranked(own, self.dataset, self.variant)
        network, metrics = networks.select([0]), (*METRICS, "final_accuracy")
        contest = contest_of(self.dataset, network, data, metrics=metrics)
        first, randoms = enter_beside_random(contest, like, n=self.n_random, trial=trial)
        entries = [first]
        rankings = {"corrected ranking": corrected.scores_} | size_and_inverse(own)
        for ranking, scores in rankings.items():
            contest.rank(ranking, scores)
            entries += contest.enter(ranking, like.amount, at="legcnet", like=like)
        dense = contest.enter_dense(like)
        outcome, standard = dict(contest.run()), {"scaling": "standard"}
        causal = shares(own.decision_)["causal"]
        for entry in entries:
            result = compared(entry, randoms, outcome)
            if entry is first:
                result |= {"empty": float(own.masks_.amount == 0), "causal": causal}
            yield Point(result, **standard, mask=entry.ranking)
        yield Point(means(randoms, outcome), **standard, mask=RANDOM)
        same = [dense] * self.n_random  # what random masks of its counts are
        yield Point(means(same, outcome), **standard, mask=DENSE)
        said = legcnet_decision(other.exponents_, own.error_, max_lag=own.max_lag)
        yield Point({"causal": shares(said)["causal"]}, **standard, mask="another trial")
        released = legcnet_data(self.dataset, device=self.on)
        play = side_by_side(self.dataset, network, released, metrics=metrics)
        yield Point(play([dense.masks])[0], scaling="as released", mask=DENSE)


ROUTES = ("raw", "own twin", "first twin", "growth")


@dataclass(frozen=True)
class LEGCNetTwins:
    """LEGCNet-FT of one trial by four routes, each with random masks of the same counts.

    Coordinates:

    - `route`: "raw", exponents of the weight series, as released; "own twin", of the difference of
      the weight that was moved, one twin for each; "first twin", of the differences of all weights
      when the first one was moved; "growth", the growth rate of each twin's distance, in place of
      the released reading;
    - `rule`: "as released" against the test error, "corrected" against the training error;
    - `mask`: "legcnet", "random" (mean over `n_random` with the same counts per layer), "another
      trial" (the exponents of another initial network by the same route).

    Metrics of "legcnet" and "random": `accuracy`; of "legcnet" also `reached`, `epochs`,
    `n_pruned`, `beats_accuracy`, `beats_epochs`, `causal`, `untestable`, and `jaccard_raw`, the
    overlap of the pruned weights with those of the raw route; of "another trial" `causal`. With
    rule "none" and mask "dense": `exponent`, the mean over windows and weights, in nats per step,
    and `positive`, the share of the windows above zero. With route "whole training" there: the mean
    over the twins of ln(last distance / first distance) / T, and the share of the twins that ended
    further apart than they began; `ratio`, the median of last distance / first distance.

    `delta` is how far a weight is moved.
    """

    dataset: str = "cancer"
    delta: float = 1e-8
    n_random: int = 20
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Run the twins, read the masks of each route, train them."""
        trial, networks, data = start_of(self.dataset, seed, device=self.on)
        network, reading = networks.select([0]), published_reading(self.dataset)
        twins = [self.twins(networks.select([i]), data, reading) for i in range(2)]
        read = [routes(series, reading) for series in twins]
        errors = errors_of(self.dataset, network, data, reading)
        contest = contest_of(self.dataset, network, data)
        said, entered = {}, {}
        for route in ROUTES:
            for name, (rule, on) in RULES.items():
                said[route, name] = [
                    legcnet_decision(r[route], errors[on], rule=rule, max_lag=reading.max_lag)
                    for r in read
                ]
                masks = Masks.from_flat(network.layout, said[route, name][0].keep)
                beside = enter_beside_random(contest, masks, n=self.n_random, trial=trial)
                entered[route, name] = beside
        outcome = dict(contest.run())
        for (route, name), (own, randoms) in entered.items():
            where, (ours, theirs) = {"route": route, "rule": name}, said[route, name]
            result = compared(own, randoms, outcome)
            raw = entered["raw", name][0].masks
            result |= shares(ours) | {"jaccard_raw": jaccard_pruned(own.masks, raw)}
            yield Point(result, **where, mask="legcnet")
            like = {"accuracy": means(randoms, outcome)["accuracy"]}
            yield Point(like, **where, mask=RANDOM)
            yield Point({"causal": shares(theirs)["causal"]}, **where, mask="another trial")
        for route, exponents in read[0].items():
            known = exponents[~exponents.isnan()]
            yield Point(mean_and_positive(known), route=route, rule="none", mask=DENSE)
        ratio = (twins[0].distance[-1] / twins[0].distance[0]).median().item()
        whole = mean_and_positive(twins[0].growth()) | {"ratio": ratio}
        yield Point(whole, route="whole training", rule="none", mask=DENSE)

    def twins(self, network: SigmoidNetworks, data: Dataset, reading: MaskReading) -> TwinSeries:
        """The twins of one network."""
        settings = legcnet_settings(self.dataset)
        how = {"lr": settings.lr, "label_size": settings.label_size, "epochs": reading.epochs}
        return twin_series(network, data.x_train, data.y_train, delta=self.delta, **how)


def routes(twins: TwinSeries, reading: MaskReading) -> dict[str, torch.Tensor]:
    """Windowed exponents (W, P) by each of `ROUTES`."""
    how = {"window": reading.window, "horizon": reading.horizon}
    plain = {"gate": False, "decimals": None}
    found = {
        "raw": windowed_exponents(twins.weights, gate=reading.gate, **how).exponent,
        "own twin": windowed_exponents(twins.own, **plain, **how).exponent,
        "first twin": windowed_exponents(twins.first, **plain, **how).exponent,
        "growth": growth_exponents(twins.distance, window=reading.window),
    }
    return {route: exponents[: reading.n_windows] for route, exponents in found.items()}


def errors_of(
    dataset: str, network: SigmoidNetworks, data: Dataset, reading: MaskReading
) -> dict[str, torch.Tensor]:
    """Error rates (W,) on "test" and "train" at the windows' ends."""
    windows = cut_windows(reading.epochs * len(data.x_train) + 1, window=reading.window)
    run = train_as_released(
        legcnet_settings(dataset),
        network,
        data,
        epochs=reading.epochs,
        test=(data.x_test, data.y_test),
        judge_at=windows.ends.tolist(),
    )
    at = {"test": run.test_accuracy_at, "train": run.train_accuracy_at}
    return {on: 1 - accuracy[0, : reading.n_windows].cpu() for on, accuracy in at.items()}


def mean_and_positive(values: torch.Tensor) -> dict[str, float]:
    """Mean exponent, and the share above zero."""
    return {"exponent": values.mean().item(), "positive": (values > 0).double().mean().item()}


ABLATION_STUDIES = {
    "quick": (
        LEGCNetAblation("iris_csv", n_random=2),
        LEGCNetPlacebos("iris_csv"),
        LEGCNetScaled("iris_csv", "PT", n_random=2),
        LEGCNetTwins("iris_csv", n_random=2),
    ),
    "full": tuple(
        spec
        for dataset in DATASETS
        for spec in (
            LEGCNetAblation(dataset, profile="full"),
            LEGCNetPlacebos(dataset, profile="full"),
            LEGCNetScaled(dataset, "FT", profile="full"),
            LEGCNetScaled(dataset, "PT", profile="full"),
            LEGCNetTwins(dataset, profile="full"),
        )
    ),
}
