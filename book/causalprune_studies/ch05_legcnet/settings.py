"""The further studies of the chapter "LEGCNet": settings, placebos, scaling and twins.

Their rows are in measured/legcnet-ablation.csv. The seed is one of ten published trials, from 0.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from causalprune_lib._validation import check_choice
from causalprune_lib.causality.decisions import causal_decision
from causalprune_lib.causality.granger import granger_test
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset
from causalprune_lib.pruning.legcnet import legcnet_decision
from causalprune_lib.pruning.windows import DECIMALS, Windows, cut_windows, windowed_exponents
from causalprune_studies.ch05_legcnet.contest import (
    TRIALS,
    Contest,
    all_networks,
    check_trial,
    lowest_at_counts,
    published_reading,
    study_data,
)
from causalprune_studies.ch05_legcnet.study import DATASETS, published_amount
from causalprune_studies.paper_networks.settings import (
    LEGCNET_SETTINGS,
    MaskReading,
    legcnet_settings,
)
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import (
    NetworksRun,
    read_trials,
    train_as_released,
    train_networks,
)
from causalprune_studies.paper_networks.twins import (
    TwinSeries,
    growth_exponents,
    twin_exponents,
    twin_series,
)

# ---- ablation: LEGCNet with other settings: windows, overlap, lags, test, error and orientation,


ORIENTATIONS = ("prune non-causal", "prune causal")


@dataclass(frozen=True)
class Setting:
    """How a mask is read off a recording.

    Attributes
    ----------
    window : float
        Window length, in windows of the table's own.
    overlap : float
        Share of a window that the next one holds too.
    lag : {"all", "5", "10", "one"}
        Lags tested: 1 to the table's own largest, 1 to 5, 1 to 10, or the one that BIC chooses.
    rule : {"as released", "corrected"}
        "as released": the smallest p-value over the lags, of the chi2 form, rounded to four digits,
        below 0.05; a failed test counts as causal. "corrected": the F test, Bonferroni over the
        lags, false discovery rate over the weights.
    error_on : {"test", "train"}
        On which examples the error rate is taken.
    """

    window: float = 1.0
    overlap: float = 0.1
    lag: str = "all"
    rule: str = "as released"
    error_on: str = "test"

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

    Metrics of both masks: `accuracy` on the test set in the epoch that reached the paper's
    benchmark, or else in the last. Of "legcnet": `epochs` to the benchmark (NaN where never
    reached), `reached`, 1 or 0, `n_pruned`, `beats_accuracy` and `beats_epochs` (share of the
    random masks that it beats, ties counted half; NaN where the counts leave no choice). Of
    "legcnet" with "prune non-causal": `causal` and `untestable`, shares of the weights; `jaccard`,
    the weights that it and the base setting of its rule prune both, over those that either does;
    and `jaccard_chance`, the same of random masks as small as its own, in place of its own.

    Parameters
    ----------
    dataset : str
        A key of `LEGCNET_SETTINGS`.
    n_random : int
        Random masks for each pair of counts.
    on, profile : str
        Device, and the size class that rows are filed under.
    """

    dataset: str = "cancer"
    n_random: int = 20
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Record once, read every mask, train them all."""
        check_choice("dataset", self.dataset, LEGCNET_SETTINGS)
        trial = check_trial(seed)
        data = study_data(self.dataset, device=self.on)
        network = all_networks(self.dataset, device=self.on).select([trial])
        wanted = [setting for rule in BASES for setting in settings_of(rule)]
        reading = published_reading(self.dataset)
        series = record_series(self.dataset, network, data, reading, {s.cut for s in wanted})
        contest = Contest(self.dataset, n_random=self.n_random, seed=trial)
        said = {s: decide(*series[s.cut], setting=s, max_lag=reading.max_lag) for s in wanted}
        entries = {
            (setting, orientation): contest.enter(keep)
            for setting, (causal, missing) in said.items()
            for orientation, keep in zip(
                ORIENTATIONS, (causal | missing, ~causal | missing), strict=True
            )
        }
        contest.train(network, data)
        for (setting, orientation), entry in entries.items():
            own = contest.result(entry)
            del own["final_accuracy"]
            if orientation == ORIENTATIONS[0]:
                causal, missing = said[setting]
                own |= {
                    "causal": causal.double().mean().item(),
                    "untestable": missing.double().mean().item(),
                }
                base = contest.keep[entries[setting.base, orientation].row]
                own["jaccard"] = jaccard_pruned(contest.keep[entry.row], base)
                by_chance = [jaccard_pruned(contest.keep[i], base) for i in entry.randoms]
                own["jaccard_chance"] = sum(by_chance) / len(by_chance)
            where = {name: getattr(setting, name) for name in Setting.__dataclass_fields__}
            where["orientation"] = orientation
            yield Point(own, **where, mask="legcnet")
            like = contest.random_result(entry)
            yield Point({"accuracy": like["accuracy"]}, **where, mask="random")


Series = tuple[torch.Tensor, dict[str, torch.Tensor]]


def record_series(
    dataset: str,
    network: SigmoidNetworks,
    data: Dataset,
    reading: MaskReading,
    cuts: set[tuple[float, float]],
) -> dict[tuple[float, float], Series]:
    """Train once; for each (window, overlap) the exponents (W, P) and the errors (W,) by name."""
    n_rows, own = reading.epochs * len(data.x_train) + 1, reading.window
    windows = {c: cut_windows(n_rows, window=round(own * c[0]), overlap=c[1]) for c in sorted(cuts)}
    due = sorted({int(end) for cut in windows.values() for end in cut.ends})
    run = train_as_released(
        legcnet_settings(dataset),
        network,
        data,
        epochs=reading.epochs,
        test=(data.x_test, data.y_test),
        record=[0],
        judge_at=due,
    )
    wrong = {"test": 1 - run.test_accuracy_at[0].cpu(), "train": 1 - run.train_accuracy_at[0].cpu()}
    place = {int(step): i for i, step in enumerate(run.judged_at)}
    found = {}
    for cut, where in windows.items():
        exponent = windowed_exponents(
            run.weights[0],
            window=where.size,
            overlap=cut[1],
            gate=reading.gate,
            decimals=DECIMALS,
            horizon=reading.horizon,
        ).exponent
        n = reading.n_windows if cut == Setting().cut else None  # as the published masks have it
        rows = [place[int(end)] for end in where.ends][:n]
        found[cut] = exponent[:n], {name: error[rows] for name, error in wrong.items()}
    return found


def decide(
    exponents: torch.Tensor,
    errors: dict[str, torch.Tensor],
    *,
    setting: Setting,
    max_lag: int,
    alpha: float = 0.05,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which weights (P,) are called causal, and for which the test failed."""
    lags = {"all": max_lag, "5": 5, "10": 10, "one": max_lag}[setting.lag]
    one, released = setting.lag == "one", setting.rule == "as released"
    result = granger_test(
        errors[setting.error_on],
        exponents,
        max_lag=lags,
        lag="bic" if one else None,
        test="chi2" if released else "f",
    )
    if released and one:  # the one p-value is rounded and read as the released rule does
        p = result.chosen_pvalue.round(decimals=4)
        return (p < alpha) | p.isnan(), p.isnan()
    if released:
        found = causal_decision(result, rule="as_released", alpha=alpha)
    else:
        over = "chosen" if one else "bonferroni"
        found = causal_decision(result, rule="corrected", alpha=alpha, over_lags=over)
    return found.causal, found.missing


def jaccard_pruned(a: torch.Tensor, b: torch.Tensor) -> float:
    """Weights that the masks `a` and `b` (P,) prune both, over those that either does.

    Examples
    --------
    >>> keep = torch.tensor([[True, False, False, True], [True, True, False, True]])
    >>> jaccard_pruned(*keep), jaccard_pruned(*(keep | True))
    (0.5, nan)
    """
    either = int((~(a & b)).sum())
    return int((~a & ~b).sum()) / either if either else math.nan


# ---- placebos: What makes another network's exponents look causal: the order of the data, or the


ORDERS = ("released", "another", "reshuffled")


RULES = {"as released": ("as_released", "test"), "corrected": ("corrected", "train")}


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

    Parameters
    ----------
    dataset : str
        A key of `LEGCNET_SETTINGS`.
    on, profile : str
        Device, and the size class that rows are filed under.
    """

    dataset: str = "cancer"
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Train own and other networks in each order, and test."""
        check_choice("dataset", self.dataset, LEGCNET_SETTINGS)
        trial = check_trial(seed)
        reading, data = published_reading(self.dataset), study_data(self.dataset, device=self.on)
        pair = all_networks(self.dataset, device=self.on).select([trial, (trial + 1) % TRIALS])
        windows = cut_windows(reading.epochs * len(data.x_train) + 1, window=reading.window)
        runs = {}
        for i, order in enumerate((*ORDERS, "reshuffled again")):
            draws = torch.Generator().manual_seed(10 * trial + i)
            rows = order_of(order, len(data.x_train), reading.epochs, draws)
            runs[order] = train_in_order(
                self.dataset, pair, data, rows, windows=windows if i in (0, 2) else None
            )
        read = {
            (order, i): exponents_of(run.weights[i], reading)
            for order, run in runs.items()
            for i in range(2)
            if (order, i) not in {("another", 0), ("reshuffled again", 0)}
        }
        for judged, others in (
            ("released", {"another order": "another", "reshuffled": "reshuffled"}),
            ("reshuffled", {"reshuffled": "reshuffled again"}),
        ):
            run, n = runs[judged], len(read[judged, 0])
            series = placebo_series(read[judged, 0], generator=torch.Generator().manual_seed(trial))
            series["other, same order"] = read[judged, 1]
            series["other, half-shifted"] = half_shifted(read[judged, 1])
            for name, order in others.items():
                series[f"other, {name}"] = read[order, 1]
            for name, (rule, on) in RULES.items():
                error = 1 - getattr(run, f"{on}_accuracy_at")[0, :n].cpu()
                for whose, exponents in series.items():
                    said = legcnet_decision(exponents, error, rule=rule, max_lag=reading.max_lag)
                    yield Point(
                        {
                            "causal": said.causal.double().mean().item(),
                            "untestable": said.missing.double().mean().item(),
                        },
                        judged=judged,
                        exponents=whose,
                        rule=name,
                    )


def placebo_series(
    exponents: torch.Tensor, *, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """A network's own exponents (W, P), and three stand-ins that need no other network."""
    order = torch.rand(exponents.shape, generator=generator).argsort(0)
    noise = torch.randn(exponents.shape, generator=generator, dtype=exponents.dtype)
    return {
        "own": exponents,
        "own, half-shifted": half_shifted(exponents),
        "own, shuffled": exponents.gather(0, order),
        "noise": noise,
    }


def half_shifted(exponents: torch.Tensor) -> torch.Tensor:
    """The series (W, P) rolled by half their length, all by the same number of windows.

    Examples
    --------
    >>> half_shifted(torch.arange(5)[:, None])[:, 0]
    tensor([3, 4, 0, 1, 2])
    """
    return exponents.roll(len(exponents) // 2, dims=0)


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
    rows: torch.Tensor,
    *,
    windows: Windows | None,
) -> NetworksRun:
    """Train on the examples `rows` (T,), one after the other, and record all networks.

    The accuracies are taken at the ends of the windows; that on the training set over all of
    `rows`, where every example stands once per epoch.
    """
    settings, rows = legcnet_settings(dataset), rows.to(data.x_train.device)
    return train_networks(
        networks,
        data.x_train[rows],
        data.y_train[rows],
        lr=settings.lr,
        label_size=settings.label_size,
        epochs=1,
        test=(data.x_test, data.y_test),
        record=range(len(networks)),
        judge_at=None if windows is None else windows.ends.tolist(),
    )


def exponents_of(weights: torch.Tensor, reading: MaskReading) -> torch.Tensor:
    """Windowed exponents (W, P) of a recording, as the masks of the paper were read."""
    found = windowed_exponents(
        weights, window=reading.window, gate=reading.gate, horizon=reading.horizon
    )
    return found.exponent[: reading.n_windows]


# ---- scaled: LEGCNet on data that are scaled properly: each feature by the training set's mean a


SCALINGS = ("as released", "standard")


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

    Metrics: `accuracy` on the test set in the epoch that reached the paper's benchmark, or else in
    the last; `final_accuracy` in the last; `epochs` to the benchmark, NaN where never reached;
    `reached`, 1 or 0. Of masks but "random" and "dense": `n_pruned`, `beats_accuracy`,
    `beats_epochs`. Of "legcnet": `empty`, and `causal`, the share of the weights called causal, by
    its own exponents; of the mask "another trial" only `causal`, by another trial's.

    Parameters
    ----------
    dataset : str
        A key of `LEGCNET_SETTINGS`.
    variant : {"FT", "PT"}
    n_random : int
        Random masks.
    on, profile : str
        Device, and the size class that rows are filed under.
    """

    dataset: str = "cancer"
    variant: str = "FT"
    n_random: int = 20
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Read the masks on standardised data, train them with their controls."""
        check_choice("dataset", self.dataset, LEGCNET_SETTINGS)
        trial = check_trial(seed)
        settings = legcnet_settings(self.dataset)
        reading = published_reading(self.dataset, variant=self.variant)
        data = study_data(self.dataset, "standard", self.on)
        pair = all_networks(self.dataset, device=self.on).select([trial, (trial + 1) % TRIALS])
        how = {"variant": self.variant, "reading": reading, "networks": pair, "data": data}
        own, other = read_trials(self.dataset, rule="as_released", error="test", **how)
        corrected = read_trials(self.dataset, rule="corrected", error="train", **how)[0].decision_
        keep, scores = own.decision_.keep.cpu(), own.decision_.scores
        empty = bool(keep.all())
        if empty:
            amount = published_amount(self.dataset, variant=self.variant)
            keep = torch.ones_like(keep)
            keep[scores.nan_to_num(nan=torch.inf).argsort(stable=True)[:amount]] = False
        trained = train_as_released(settings, pair.select([0]), data, epochs=reading.epochs)
        contest = Contest(self.dataset, n_random=self.n_random, seed=trial)
        ranked = {
            "corrected ranking": corrected.scores,
            "magnitude": trained.networks.flat()[0].abs(),
            "inverse": -scores,
        }
        entries = {"legcnet": contest.enter(keep)}
        for mask, by in ranked.items():
            entries[mask] = contest.enter(lowest_at_counts(by, keep, split=contest.split))
        dense = contest.enter(torch.ones_like(keep))
        contest.train(pair.select([0]), data)
        standard = {"scaling": "standard"}
        for mask, entry in entries.items():
            result = contest.result(entry)
            if mask == "legcnet":
                result |= {"empty": float(empty), "causal": _share(own.decision_.causal)}
            yield Point(result, **standard, mask=mask)
        yield Point(contest.random_result(entries["legcnet"]), **standard, mask="random")
        yield Point(contest.random_result(dense), **standard, mask="dense")
        theirs = other.exponents_[: len(own.error_)]
        said = legcnet_decision(theirs, own.error_, rule="as_released", max_lag=reading.max_lag)
        yield Point({"causal": _share(said.causal)}, **standard, mask="another trial")
        released = Contest(self.dataset, n_random=1, seed=trial)
        dense = released.enter(torch.ones_like(keep))
        released.train(pair.select([0]), study_data(self.dataset, device=self.on))
        yield Point(released.random_result(dense), scaling="as released", mask="dense")


def _share(causal: torch.Tensor) -> float:
    return causal.double().mean().item()


# ---- twins: LEGCNet as described: the exponents of twins, tested, and their masks trained.


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

    Parameters
    ----------
    dataset : str
        A key of `LEGCNET_SETTINGS`.
    delta : float
        How far a weight is moved.
    n_random : int
        Random masks for each pair of counts.
    on, profile : str
        Device, and the size class that rows are filed under.
    """

    dataset: str = "cancer"
    delta: float = 1e-8
    n_random: int = 20
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Run the twins, read the masks of each route, train them."""
        check_choice("dataset", self.dataset, LEGCNET_SETTINGS)
        trial = check_trial(seed)
        reading, data = published_reading(self.dataset), study_data(self.dataset, device=self.on)
        pair = all_networks(self.dataset, device=self.on).select([trial, (trial + 1) % TRIALS])
        twins, read = [], []
        for i in range(2):
            twins.append(self.twins(pair.select([i]), data, reading))
            read.append(routes(twins[i], reading))
        errors = errors_of(self.dataset, pair.select([0]), data, reading)
        contest = Contest(self.dataset, n_random=self.n_random, seed=trial)
        said, entries = {}, {}
        for route in ROUTES:
            for name, (rule, on) in RULES.items():
                for i, mask in enumerate(("legcnet", "another trial")):
                    said[route, name, mask] = legcnet_decision(
                        read[i][route], errors[on], rule=rule, max_lag=reading.max_lag
                    )
                entries[route, name] = contest.enter(said[route, name, "legcnet"].keep)
        contest.train(pair.select([0]), data)
        for (route, name), entry in entries.items():
            where = {"route": route, "rule": name}
            own = said[route, name, "legcnet"]
            result = contest.result(entry)
            del result["final_accuracy"]
            result |= {
                "causal": own.causal.double().mean().item(),
                "untestable": own.missing.double().mean().item(),
                "jaccard_raw": jaccard_pruned(own.keep, said["raw", name, "legcnet"].keep),
            }
            yield Point(result, **where, mask="legcnet")
            like = contest.random_result(entry)
            yield Point({"accuracy": like["accuracy"]}, **where, mask="random")
            other = said[route, name, "another trial"].causal
            yield Point({"causal": other.double().mean().item()}, **where, mask="another trial")
        yield from _exponents(read[0], twins[0])

    def twins(self, network: SigmoidNetworks, data: Dataset, reading: MaskReading) -> TwinSeries:
        """The twins of one network."""
        settings = legcnet_settings(self.dataset)
        return twin_series(
            network,
            data.x_train,
            data.y_train,
            lr=settings.lr,
            label_size=settings.label_size,
            epochs=reading.epochs,
            delta=self.delta,
        )


def routes(twins: TwinSeries, reading: MaskReading) -> dict[str, torch.Tensor]:
    """Windowed exponents (W, P) by each of `ROUTES`."""
    window, n = reading.window, reading.n_windows
    options = {"window": window, "horizon": reading.horizon}
    found = {
        "raw": windowed_exponents(twins.weights, gate=reading.gate, **options),
        "own twin": twin_exponents(twins.own, **options),
        "first twin": twin_exponents(twins.first, **options),
        "growth": growth_exponents(twins.distance, window=window),
    }
    return {route: windowed.exponent[:n] for route, windowed in found.items()}


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


def _exponents(read: dict[str, torch.Tensor], twins: TwinSeries) -> Iterator[Point]:
    for route, exponents in read.items():
        known = exponents[~exponents.isnan()]
        yield Point(
            {"exponent": known.mean().item(), "positive": (known > 0).double().mean().item()},
            route=route,
            rule="none",
            mask="dense",
        )
    growth = twins.growth()
    whole = {
        "exponent": growth.mean().item(),
        "positive": (growth > 0).double().mean().item(),
        "ratio": (twins.distance[-1] / twins.distance[0]).median().item(),
    }
    yield Point(whole, route="whole training", rule="none", mask="dense")


# ---- further: The further studies of the chapter "LEGCNet": settings, placebos, scaling and twin


FurtherStudy = LEGCNetAblation | LEGCNetPlacebos | LEGCNetScaled | LEGCNetTwins


FURTHER_STUDIES: dict[str, tuple[FurtherStudy, ...]] = {
    "quick": (
        LEGCNetAblation("iris_csv", n_random=2),
        LEGCNetPlacebos("iris_csv"),
        LEGCNetScaled("iris_csv", "PT", n_random=2),
        LEGCNetTwins("iris_csv", n_random=2),
    ),
    "full": tuple(
        study
        for dataset in DATASETS
        for study in (
            LEGCNetAblation(dataset, profile="full"),
            LEGCNetPlacebos(dataset, profile="full"),
            LEGCNetScaled(dataset, "FT", profile="full"),
            LEGCNetScaled(dataset, "PT", profile="full"),
            LEGCNetTwins(dataset, profile="full"),
        )
    ),
}
