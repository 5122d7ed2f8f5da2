"""Windowed exponents while a network trains, without keeping the recording.

The recording of LEGCNet's MNIST network, 11,501 rows of 41,000 weights, is 1.9 GB in float32, and
no window looks back further than its own rows. So a stream keeps one window of rows, 33 MB here,
and turns it into exponents as soon as it is full. They are the same numbers.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from time import perf_counter

import torch

from causalprune_lib._validation import check_choice, check_int, check_shape
from causalprune_lib.causality.decisions import RULES
from causalprune_lib.nets.data import Dataset, load_dataset
from causalprune_lib.pruning.legcnet import LEGCNetDecision, legcnet_decision
from causalprune_lib.pruning.windows import WindowedExponents, cut_windows, windowed_exponents
from causalprune_studies.paper_networks.deep import DeepNetworks, DeepRun, train_deep
from causalprune_studies.paper_networks.settings import MaskReading

# ---- legcnet_stream: Windowed exponents while a network trains, without keeping the recording.


class WindowStream:
    """Takes the rows of a recording one by one and gives `windowed_exponents` of them.

    Parameters
    ----------
    n_weights : int
        P.
    window, overlap
        As in `cut_windows`.
    **options
        Those of `windowed_exponents`: `gate`, `decimals`, `horizon`, `estimator`.

    Attributes
    ----------
    n_rows : int
        Rows taken so far.
    seconds : float
        Time spent on exponents.

    Examples
    --------
    >>> rows = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)) / 100
    >>> stream = WindowStream(3, window=100)
    >>> full = [stream.push(row) for row in rows]
    >>> whole = windowed_exponents(rows, window=100)
    >>> sum(full), torch.equal(stream.result().exponent, whole.exponent)
    (11, True)
    """

    def __init__(
        self, n_weights: int, *, window: int = 200, overlap: float = 0.1, **options: object
    ) -> None:
        self._cut = {"window": window, "overlap": overlap}
        windows = cut_windows(0, **self._cut)
        self.n_weights, self.n_rows, self.seconds = check_int("n_weights", n_weights), 0, 0.0
        self._size, self._stride, self._options = windows.size, windows.stride, options
        self._rows: torch.Tensor | None = None  # (window, P)
        self._filled = 0
        self._found: list[WindowedExponents] = []

    @torch.no_grad()
    def push(self, row: torch.Tensor) -> bool:
        """Take the next row (P,), row 0 first; True where it is the last one of a window."""
        check_shape("row", row, (self.n_weights,))
        if self._rows is None:
            self._rows = row.new_empty((self._size, self.n_weights))
        self._rows[self._filled] = row
        self._filled += 1
        self.n_rows += 1
        if self._filled < self._size:
            return False
        started = perf_counter()
        self._found.append(windowed_exponents(self._rows, **self._cut, **self._options))
        self.seconds += perf_counter() - started
        self._filled = self._size - self._stride
        self._rows[: self._filled] = self._rows[self._stride :].clone()
        return True

    def result(self) -> WindowedExponents:
        """The exponents of all windows that are full so far."""
        nothing = torch.empty((0, self.n_weights), dtype=torch.float64)
        exponents = [nothing, *(found.exponent for found in self._found)]
        gated = [nothing.bool(), *(found.gated for found in self._found)]
        windows = cut_windows(self.n_rows, **self._cut)
        return WindowedExponents(torch.cat(exponents), torch.cat(gated), windows)


# ---- legcnet_mnist: LEGCNet on images: the paper's MNIST network, from its settings to exponents


SHUFFLE_SEED = 42  # the order of the images is always the same


@dataclass(frozen=True)
class ImageSettings:
    """How a network is trained on images, and how its masks are read.

    Attributes
    ----------
    dataset : str
        Name for `load_dataset`.
    sizes : tuple of int
        Inputs, hidden neurons, outputs.
    images : int
        Images taken, before the split.
    top : int
        The value of the brightest pixel: images are not scaled.
    batch_size, epochs : int
        Of the dense training, and of each retraining.
    readings : dict of str to MaskReading
        "FT", "PT" (windows as in FT, the first tenth of the steps: too few for 14 lags) and "PT,
        short windows".
    amounts : dict of str to int
        How many weights the paper prunes, for rankings.
    lr, benchmark, train_share : float
        Learning rate, training accuracy at which a run counts as finished, share of the images to
        train on.
    """

    dataset: str
    sizes: tuple[int, ...]
    images: int
    top: int
    batch_size: int
    epochs: int
    readings: dict[str, MaskReading] = field(hash=False)
    amounts: dict[str, int] = field(hash=False)
    lr: float = 0.5
    benchmark: float = 0.92
    train_share: float = 0.7


_MNIST = {
    "FT": MaskReading(50, 200),
    "PT": MaskReading(5, 200),
    "PT, short windows": MaskReading(5, 50, max_lag=7),  # 7 is the most that 25 windows allow
}


_DIGITS = {
    "FT": MaskReading(20, 30, max_lag=6),
    "PT": MaskReading(4, 30, max_lag=6),
    "PT, short windows": MaskReading(4, 10, max_lag=5),
}


MNIST_SETTINGS = {
    settings.dataset: settings
    for settings in (
        ImageSettings(
            "mnist",
            (784, 50, 30, 10),
            images=42_000,
            top=255,
            batch_size=128,
            epochs=50,
            readings=_MNIST,
            amounts={"FT": 139, "PT": 133, "PT, short windows": 133},
        ),
        ImageSettings(  # the same in small, for a quick look
            "digits",
            (64, 50, 30, 10),
            images=1797,
            top=16,
            batch_size=32,
            epochs=20,
            lr=4.0,
            readings=_DIGITS,
            amounts={"FT": 17, "PT": 16, "PT, short windows": 16},
        ),
    )
}


def mnist_settings(dataset: str = "mnist") -> ImageSettings:
    """The settings for "mnist", or for "digits".

    Examples
    --------
    >>> settings = mnist_settings()
    >>> settings.images, settings.readings["PT, short windows"].window
    (42000, 50)
    """
    return MNIST_SETTINGS[check_choice("dataset", dataset, MNIST_SETTINGS)]


def mnist_data(settings: ImageSettings) -> Dataset:
    """Images as vectors with pixels from 0 to `settings.top`, shuffled once and split.

    Both parts of the dataset are put together and shuffled, always in the same way; the first
    `settings.images` are taken, and the first 70% of these are for training.

    Examples
    --------
    >>> data = mnist_data(mnist_settings("digits"))
    >>> tuple(data.x_train.shape), len(data.x_test), data.x_test.max().item()
    ((1257, 64), 540, 16.0)
    """
    data = load_dataset(settings.dataset, preprocessing="none", progress=False)
    total = len(data.y_train) + len(data.y_test)
    if check_int("images", settings.images) > total:
        raise ValueError(f"images must be at most {total}, all there are; got {settings.images}.")
    rows = torch.randperm(total, generator=torch.Generator().manual_seed(SHUFFLE_SEED))
    rows = rows[: settings.images]
    x = torch.cat([data.x_train, data.x_test]).flatten(1)[rows].mul_(settings.top).round_()
    y = torch.cat([data.y_train, data.y_test])[rows]
    n = int(settings.train_share * len(y))
    parts = {"x_train": x[:n], "y_train": y[:n], "x_test": x[n:], "y_test": y[n:]}
    return replace(data, **parts, shape=tuple(x.shape[1:]))


@dataclass(frozen=True, eq=False)
class DenseRecording:
    """A dense training, read as it went.

    Attributes
    ----------
    settings : ImageSettings
    initial : DeepNetworks
        The network before training.
    run : DeepRun
        The training.
    exponents : dict of reading to tensor (W, P) of float64
        As released: gated, and of weights rounded to six decimals.
    errors : dict of reading to tensor (2, W) of float64
        Error rates at the windows' ends, on the training and on the test examples.
    weights : dict of reading to tensor (P,)
        The weights when the recording ended.
    seconds : dict of str to float
        "training", the judging at the windows' ends included, and "exponents".
    """

    settings: ImageSettings
    initial: DeepNetworks
    run: DeepRun
    exponents: dict[tuple[str, str], torch.Tensor]
    errors: dict[str, torch.Tensor]
    weights: dict[str, torch.Tensor]
    seconds: dict[str, float]

    def decide(
        self, reading: str, *, rule: str, exponents: torch.Tensor | None = None
    ) -> LEGCNetDecision:
        """Which weights are kept: one recording, two rules.

        "as_released" takes the error on the test examples, "corrected" that on the training
        examples. Both test the same exponents. Others (W, P) may take their place, for a placebo.
        """
        check_choice("reading", reading, self.settings.readings)
        check_choice("rule", rule, RULES)
        error = self.errors[reading][int(rule == "as_released")]
        found = self.exponents[reading] if exponents is None else exponents
        max_lag = self.settings.readings[reading].max_lag
        return legcnet_decision(found, error, rule=rule, max_lag=max_lag)


def train_on_images(
    networks: DeepNetworks, settings: ImageSettings, data: Dataset, *, seed: int, **options: object
) -> DeepRun:
    """`train_deep` at the learning rate, batch size and number of epochs of `settings`.

    Parameters
    ----------
    networks : DeepNetworks
        B networks; they are not changed.
    data : Dataset
        From `mnist_data`, on the device of the networks.
    seed : int
        Of the order of examples.
    **options
        `masks`, `benchmark`, `watch` and `progress` of `train_deep`, which checks them all.

    Examples
    --------
    >>> settings = replace(mnist_settings("digits"), sizes=(64, 5, 5, 10), epochs=2)
    >>> networks = DeepNetworks.initial(settings.sizes, seed=0)
    >>> train_on_images(networks, settings, mnist_data(settings), seed=0).test_accuracy.shape
    torch.Size([1, 2])
    """
    return train_deep(
        networks,
        data.x_train,
        data.y_train,
        test=(data.x_test, data.y_test),
        lr=settings.lr,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        seed=seed,
        **options,
    )


def record_dense(settings: ImageSettings, data: Dataset, *, seed: int) -> DenseRecording:
    """Train the dense network of a seed; take exponents and errors window by window.

    No more than one window of rows is held at a time.

    Examples
    --------
    >>> settings = replace(mnist_settings("digits"), sizes=(64, 5, 5, 10))
    >>> recording = record_dense(settings, mnist_data(settings), seed=0)
    >>> recording.exponents["FT"].shape
    torch.Size([29, 395])
    """
    started = perf_counter()
    initial = DeepNetworks.initial(settings.sizes, seed=seed, device=data.x_train.device)
    n_weights = initial.layout.size
    steps_per_epoch = -(-len(data.y_train) // settings.batch_size)
    last = {name: r.epochs * steps_per_epoch for name, r in settings.readings.items()}
    streams = {
        name: WindowStream(n_weights, window=reading.window, horizon=reading.horizon)
        for name, reading in settings.readings.items()
        if name != "PT"  # its windows are the first of FT
    }
    errors: dict[str, list[torch.Tensor]] = {name: [] for name in settings.readings}
    weights: dict[str, torch.Tensor] = {}

    def watch(step: int, networks: DeepNetworks) -> None:
        row = networks.flat()[0]
        weights.update({name: row.clone() for name, end in last.items() if step == end})
        due = [name for name, s in streams.items() if step <= last[name] and s.push(row)]
        if due:
            sets = (data.x_train, data.y_train), (data.x_test, data.y_test)
            wrong = torch.cat([1 - networks.judge(*part)[0] for part in sets]).cpu()
            for name in due:
                errors[name].append(wrong)
            if "FT" in due and step <= last["PT"]:
                errors["PT"].append(wrong)

    run = train_on_images(
        initial, settings, data, seed=seed, benchmark=settings.benchmark, watch=watch
    )
    exponents = {name: stream.result().exponent for name, stream in streams.items()}
    exponents["PT"] = exponents["FT"][: len(errors["PT"])]
    on_exponents = sum(stream.seconds for stream in streams.values())
    total = perf_counter() - started
    return DenseRecording(
        settings=settings,
        initial=initial,
        run=run,
        exponents=exponents,
        errors={
            name: torch.stack(found, 1) if found else torch.empty((2, 0), dtype=torch.float64)
            for name, found in errors.items()
        },
        weights=weights,
        seconds={"training": total - on_exponents, "exponents": on_exponents},
    )
