"""The settings of the LEGCNet experiments, as the released code has them, one row per dataset.

Paper: "To prune or not to prune: a chaos-causality approach to principled pruning of dense neural
networks", arXiv:2308.09955. Its text gives the hidden neurons (table 1), the epochs of LEGCNet-PT
(table 2) and a window of 200 for every dataset; the rest is in the authors' released code only.
"""

from __future__ import annotations

from dataclasses import dataclass

from causalprune_lib._validation import check_choice


@dataclass(frozen=True)
class LEGCNetSettings:
    """How one dataset of the LEGCNet paper was trained and cut into windows."""

    dataset: str  # name for `load_dataset` and `load_legcnet_init`
    sizes: tuple[int, int, int]  # D inputs, H hidden neurons, K outputs (1 for two classes)
    lr: float  # of the per-sample SGD
    epochs: int  # that LEGCNet-FT records
    partial_epochs: int  # that LEGCNet-PT records, as printed in table 2 of the paper
    window: int  # iterates per window
    benchmark: float  # training accuracy at which a run counts as finished
    n_train: int
    n_test: int
    label_size: int = 1  # the released code divides each gradient by it: 3 for one-hot iris
    trial: int | None = None  # from 1, whose re-run gives the dense row of table 1, if one does
    extra_epochs: int = 50  # that a run may take beyond `epochs` to reach the benchmark

    @property
    def n_weights(self) -> int:
        """P, the number of weights; biases are trained but never recorded, tested or pruned."""
        d, h, k = self.sizes
        return h * (d + k)

    @property
    def max_epochs(self) -> int:
        """The most epochs that a run to the benchmark may take."""
        return self.epochs + self.extra_epochs


_IRIS = {"lr": 0.05, "epochs": 200, "partial_epochs": 20, "window": 160, "benchmark": 0.95}
_IRIS |= {"n_train": 120, "n_test": 30, "label_size": 3}

LEGCNET_SETTINGS = {
    settings.dataset: settings
    for settings in (
        LEGCNetSettings("cancer", (9, 6, 1), 0.01, 50, 12, 200, 0.90, 546, 137, trial=2),
        LEGCNetSettings("titanic", (6, 8, 1), 0.1, 50, 3, 250, 0.74, 891, 418, trial=1),
        LEGCNetSettings("banknote", (4, 8, 1), 0.5, 100, 2, 250, 0.91, 1097, 275, trial=4),
        LEGCNetSettings("vowel", (3, 4, 6), 0.5, 50, 5, 200, 0.80, 741, 130),
        LEGCNetSettings("iris_csv", (4, 6, 3), **_IRIS, trial=5),
        LEGCNetSettings("iris3f", (3, 6, 3), **_IRIS, trial=2),
    )
}


@dataclass(frozen=True)
class MaskReading:
    """How masks were read off a recorded training."""

    epochs: int  # recorded
    window: int  # iterates per window
    horizon: int = 3  # steps that TISEAN's `lyap_r` followed each pair (`-s`)
    max_lag: int = 14  # of the causality test
    gate: bool = True  # windows with a change point or hardly any range got the exponent 0
    n_windows: int | None = None  # only the first so many windows were read; None: all


# Settings that give the 50 published masks weight for weight but for two of their 402 weights:
# banknote PT, trial 5 (weight 7 is pruned here only, p = .0754) and titanic PT, trial 3 (weight 48
# is pruned there only, p = .0499 here). The published lists stand in ascending order of p, and so
# do ours but for three pairs 1e-4 apart, and one 1.2e-3 apart (banknote FT). The settings were
# found by search; neither the paper nor the released code states them. FT masks come from an older
# script of the repository (`-s20`, no gate), PT masks from the released one, with epochs, windows
# and lags made to fit. With all 243 windows, banknote FT gives 12 of its 13 weights and one more.
PUBLISHED_READINGS = {
    ("cancer", "FT"): MaskReading(50, 200, horizon=20, max_lag=20, gate=False),
    ("titanic", "FT"): MaskReading(50, 250, horizon=20, max_lag=20, gate=False),
    ("iris_csv", "FT"): MaskReading(200, 160, horizon=20, max_lag=20, gate=False),
    ("iris3f", "FT"): MaskReading(200, 160, horizon=20, max_lag=20, gate=False),
    ("banknote", "FT"): MaskReading(50, 250, horizon=20, max_lag=20, gate=False, n_windows=242),
    ("cancer", "PT"): MaskReading(12, 150, max_lag=7),
    ("titanic", "PT"): MaskReading(7, 150, max_lag=7),
    ("banknote", "PT"): MaskReading(2, 50, max_lag=5),
    ("iris_csv", "PT"): MaskReading(20, 50),
    ("iris3f", "PT"): MaskReading(20, 50),
}


def published_reading(dataset: str, *, variant: str = "FT") -> MaskReading:
    """The reading that gives the published masks; for vowel, which has none, the released one."""
    known = PUBLISHED_READINGS.get((dataset, variant))
    return released_reading(dataset, variant=variant) if known is None else known


def released_reading(dataset: str, *, variant: str = "FT") -> MaskReading:
    """The reading that the released files contain: `-s3`, lags 1..14, the dataset's own window.

    Under it several datasets have too few windows for PT: 14 lags need 44.

    Examples
    --------
    >>> released_reading("cancer", variant="PT")
    MaskReading(epochs=12, window=200, horizon=3, max_lag=14, gate=True, n_windows=None)
    """
    settings = legcnet_settings(dataset)
    check_choice("variant", variant, ("FT", "PT"))
    epochs = settings.epochs if variant == "FT" else settings.partial_epochs
    return MaskReading(epochs, settings.window)


def legcnet_settings(dataset: str) -> LEGCNetSettings:
    """The settings of one of the paper's tables, by the name that `load_dataset` knows.

    Examples
    --------
    >>> settings = legcnet_settings("cancer")
    >>> settings.n_weights, settings.window, settings.max_epochs
    (60, 200, 100)
    """
    return LEGCNET_SETTINGS[check_choice("dataset", dataset, LEGCNET_SETTINGS)]
