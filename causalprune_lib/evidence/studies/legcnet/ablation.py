"""LEGCNet with other settings: windows, overlap, lags, test, error and orientation, one at a time.

One cell is one of the paper's tables and one published initial network; the seed is its number,
from 0. The dense network is recorded once, for the epochs of LEGCNet-FT. Its masks are read off
under every setting, and all of them are trained beside random masks with the same counts.

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
from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.studies.legcnet.contest import (
    Contest,
    all_networks,
    check_trial,
    published_reading,
    study_data,
)
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.pruning.legcnet_networks import SigmoidNetworks
from causalprune_lib.pruning.legcnet_released import train_as_released
from causalprune_lib.pruning.legcnet_settings import LEGCNET_SETTINGS, MaskReading, legcnet_settings
from causalprune_lib.pruning.legcnet_windows import DECIMALS, cut_windows, windowed_exponents

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
