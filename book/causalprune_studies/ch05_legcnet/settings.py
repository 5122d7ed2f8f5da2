"""LEGCNet with one setting changed at a time, as a spec.

Its rows are in measured/legcnet-ablation, with those of the specs that change something else:
`placebos` takes other exponents, `twins` the exponents that the paper describes, `LEGCNetScaled`
other features. The seed is one of ten published trials, from 0.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import torch

from causalprune_lib.causality.decisions import CausalDecision, causal_decision
from causalprune_lib.causality.granger import granger_test
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset
from causalprune_lib.pruning.contest import RANDOM
from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.windows import cut_windows, windowed_exponents
from causalprune_studies.ch05_legcnet.controls import (
    compared,
    contest_of,
    enter_beside_random,
    jaccard_pruned,
    means,
    shares,
)
from causalprune_studies.ch05_legcnet.placebos import LEGCNetPlacebos
from causalprune_studies.ch05_legcnet.study import DATASETS, LEGCNetScaled, start_of
from causalprune_studies.ch05_legcnet.twins import LEGCNetTwins
from causalprune_studies.paper_networks.settings import (
    MaskReading,
    legcnet_settings,
    published_reading,
)
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import train_as_released

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
ABLATION_STUDIES["paper"] = ABLATION_STUDIES["full"]  # which have the paper's size
