"""LEGCNet on images: the paper's MNIST network, from its settings to exponents and masks.

Its recording, 11,501 rows of 41,000 weights, is 1.9 GB in float32, and no window looks back further
than its own rows. So one window of rows is kept, 33 MB, and read as soon as it is full. Exponents
and masks are those of the whole recording.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from time import perf_counter

import torch

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.nets.data import Dataset, load_dataset
from causalprune_lib.pruning.legcnet import LEGCNetDecision, legcnet_decision
from causalprune_lib.pruning.windows import cut_windows, windowed_exponents
from causalprune_studies.paper_networks.deep import DeepNetworks, DeepRun, train_deep
from causalprune_studies.paper_networks.settings import MaskReading

SHUFFLE_SEED = 42  # the order of the images is always the same


@dataclass(frozen=True)
class ImageSettings:
    """How a network is trained on images, and how its masks are read."""

    dataset: str  # name for `load_dataset`
    sizes: tuple[int, ...]  # inputs, hidden neurons, outputs
    images: int  # taken, before the split
    top: int  # the value of the brightest pixel: images are not scaled
    batch_size: int
    epochs: int  # of the dense training, and of each retraining
    readings: dict[str, MaskReading] = field(hash=False)
    amounts: dict[str, int] = field(hash=False)  # how many weights the paper prunes, for rankings
    lr: float = 0.5
    benchmark: float = 0.92  # training accuracy at which a run counts as finished
    train_share: float = 0.7  # of the images


SHORT = "PT, short windows"

MNIST_SETTINGS = {
    "mnist": ImageSettings(
        "mnist",
        (784, 50, 30, 10),
        images=42_000,
        top=255,
        batch_size=128,
        epochs=50,
        readings={
            "FT": MaskReading(50, 200),
            "PT": MaskReading(5, 200),  # the windows of FT: too few for 14 lags
            SHORT: MaskReading(5, 50, max_lag=7),  # 7 is the most that 25 windows allow
        },
        amounts={"FT": 139, "PT": 133, SHORT: 133},
    ),
    "digits": ImageSettings(  # the same in small, for a quick look
        "digits",
        (64, 50, 30, 10),
        images=1797,
        top=16,
        batch_size=32,
        epochs=20,
        lr=4.0,
        readings={
            "FT": MaskReading(20, 30, max_lag=6),
            "PT": MaskReading(4, 30, max_lag=6),
            SHORT: MaskReading(4, 10, max_lag=5),
        },
        amounts={"FT": 17, "PT": 16, SHORT: 16},
    ),
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
    order = torch.randperm(total, generator=torch.Generator().manual_seed(SHUFFLE_SEED))
    order = order[: settings.images]
    x = torch.cat([data.x_train, data.x_test]).flatten(1)[order].mul_(settings.top).round_()
    y = torch.cat([data.y_train, data.y_test])[order]
    n = int(settings.train_share * len(y))
    parts = {"x_train": x[:n], "y_train": y[:n], "x_test": x[n:], "y_test": y[n:]}
    return replace(data, **parts, shape=tuple(x.shape[1:]))


def train_on_images(
    networks: DeepNetworks, settings: ImageSettings, data: Dataset, *, seed: int, **options: object
) -> DeepRun:
    """`train_deep` at the learning rate, batch size and number of epochs of `settings`.

    `data` is from `mnist_data`, `seed` that of the order of examples; options are `masks`,
    `benchmark` and `watch`.

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


@dataclass(frozen=True, eq=False)
class DenseRecording:
    """A dense training, read as it went."""

    settings: ImageSettings
    initial: DeepNetworks  # the network before training
    run: DeepRun
    exponents: dict[str, torch.Tensor]  # by reading: (W, P), as released: gated and rounded
    errors: dict[str, torch.Tensor]  # (2, W) at the windows' ends: on training and test examples
    weights: dict[str, torch.Tensor]  # (P,) when the recording ended
    seconds: dict[str, float]  # "training", with the judging at the windows' ends, and "exponents"

    def decide(
        self, reading: str, *, rule: str, exponents: torch.Tensor | None = None
    ) -> LEGCNetDecision:
        """Which weights are kept: one recording, two rules.

        "as_released" takes the error on the test examples, "corrected" that on the training
        examples. Both test the same exponents. Others (W, P) may take their place, for a placebo.
        """
        check_choice("reading", reading, self.settings.readings)
        error = self.errors[reading][int(rule == "as_released")]
        exponents = self.exponents[reading] if exponents is None else exponents
        max_lag = self.settings.readings[reading].max_lag
        return legcnet_decision(exponents, error, rule=rule, max_lag=max_lag)


def record_dense(settings: ImageSettings, data: Dataset, *, seed: int) -> DenseRecording:
    """Train the dense network of a seed; take exponents and errors window by window.

    Examples
    --------
    >>> settings = replace(mnist_settings("digits"), sizes=(64, 5, 5, 10))
    >>> recording = record_dense(settings, mnist_data(settings), seed=0)
    >>> recording.exponents["FT"].shape
    torch.Size([29, 395])
    """
    started, on_exponents = perf_counter(), 0.0
    initial = DeepNetworks.initial(settings.sizes, seed=seed, device=data.x_train.device)
    steps_per_epoch = -(-len(data.y_train) // settings.batch_size)
    last = {name: r.epochs * steps_per_epoch for name, r in settings.readings.items()}
    read = [name for name in last if name != "PT"]  # its windows are the first of FT
    recent: dict[str, list[torch.Tensor]] = {name: [] for name in read}  # rows (P,)
    exponents = {name: [torch.empty((0, initial.layout.size)).double()] for name in read}
    errors = {name: [torch.empty((2, 0)).double()] for name in read}
    weights: dict[str, torch.Tensor] = {}

    def watch(step: int, networks: DeepNetworks) -> None:
        nonlocal on_exponents
        row, due = networks.flat()[0], []
        weights.update({name: row for name, end in last.items() if step == end})
        for name in read:
            if step <= last[name]:
                recent[name].append(row)
            reading = settings.readings[name]
            if len(recent[name]) == reading.window:
                began = perf_counter()
                how = {"window": reading.window, "horizon": reading.horizon}
                found = windowed_exponents(torch.stack(recent[name]), **how)
                on_exponents += perf_counter() - began
                exponents[name].append(found.exponent)
                recent[name] = recent[name][found.windows.stride :]
                due.append(name)
        if due:
            sets = (data.x_train, data.y_train), (data.x_test, data.y_test)
            wrong = torch.stack([1 - networks.judge(*part)[0] for part in sets]).cpu()  # (2, 1)
            for name in due:
                errors[name].append(wrong)

    run = train_on_images(
        initial, settings, data, seed=seed, benchmark=settings.benchmark, watch=watch
    )
    all_exponents = {name: torch.cat(parts) for name, parts in exponents.items()}
    all_errors = {name: torch.cat(parts, 1) for name, parts in errors.items()}
    n = cut_windows(last["PT"] + 1, window=settings.readings["PT"].window).count
    all_exponents["PT"], all_errors["PT"] = all_exponents["FT"][:n], all_errors["FT"][:, :n]
    seconds = {"training": perf_counter() - started - on_exponents, "exponents": on_exponents}
    return DenseRecording(settings, initial, run, all_exponents, all_errors, weights, seconds)
