"""`load_dataset`: every dataset of the book as tensors, with its source and its licence.

Four come with scikit-learn (digits, iris, breast_cancer, wine) and need nothing. The tables of the
LEGCNet paper (arXiv:2308.09955), the images of both papers and one text are read from the folder
`$CAUSALPRUNE_DATA` if it is set and holds them, else from the cache, else from the network.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from causalprune_lib._validation import check_choice, check_finite, check_fraction, check_int
from causalprune_lib.nets.sources import (
    LEGCNET_COMMIT,
    LEGCNET_REPOSITORY,
    TEXT_COMMIT,
    TEXT_REPOSITORY,
    CorruptDataError,
    EncodedSplit,
    cache_folder,
    check_space,
    fetch,
    locate,
    require,
    writing,
)

# ---- splits: Choosing rows by seed, exactly as many as asked, with every class in proportion.


def class_quotas(counts: np.ndarray, n: int) -> np.ndarray:
    """Split `n` over classes in proportion to `counts` (K,), exactly, by largest remainder.

    Each class gets the whole part of its share n * counts / sum(counts); the places left over go
    to the largest fractional parts, ties to the lower class. A class whose share rounds to nothing
    still gets one place, taken from the class that has most.

    Examples
    --------
    >>> class_quotas(np.array([50, 30, 20]), 7)
    array([4, 2, 1])
    >>> class_quotas(np.array([97, 2, 1]), 10)
    array([8, 1, 1])
    """
    share = n * counts.astype(np.int64)  # numerators over the total: no rounding error
    quotas, remainder = np.divmod(share, counts.sum())
    order = np.argsort(-remainder, kind="stable")
    quotas[order[: n - quotas.sum()]] += 1
    for k in np.flatnonzero((quotas == 0) & (counts > 0)):
        quotas[np.argmax(quotas)] -= 1
        quotas[k] = 1
    return quotas


def stratified_rows(labels: np.ndarray, n: int, *, seed: int, name: str = "n") -> np.ndarray:
    """Choose `n` of N rows at random with every class in proportion.

    Parameters
    ----------
    labels : array (N,)
        The class of each row.
    n : int
        How many rows; exactly this many are returned. At least one per class, at most N.
    seed : int
        The same seed gives the same rows.
    name : str
        How to call `n` in an error.

    Returns
    -------
    array (n,) of int64
        Row numbers in increasing order, so that the order of the data is kept.

    Examples
    --------
    >>> rows = stratified_rows(np.array([0, 0, 0, 0, 1, 1]), 3, seed=0)
    >>> len(rows), int((rows >= 4).sum())
    (3, 1)
    """
    classes, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    n = check_int(name, n)
    check_int("seed", seed, minimum=0)
    if n > len(labels):
        raise ValueError(f"{name} must be at most {len(labels)}, all there are; got {n}.")
    if n < len(classes):
        raise ValueError(f"{name} must be at least {len(classes)}, one per class; got {n}.")
    if n == len(labels):
        return np.arange(n)
    generator = np.random.default_rng(seed)
    chosen = [
        generator.permutation(np.flatnonzero(inverse == k))[:quota]
        for k, quota in enumerate(class_quotas(counts, n))
    ]
    return np.sort(np.concatenate(chosen))


def complement(rows: np.ndarray, n: int) -> np.ndarray:
    """The rows of 0..n-1 that are not in `rows`, in increasing order."""
    return np.setdiff1d(np.arange(n), rows, assume_unique=True)


# ---- scaling: From raw arrays to scaled tensors, with statistics of the training examples alone.


BLOCK = 2**20  # bytes of images handled at a time, so that they stay in the processor's cache


def scale(
    train: np.ndarray,
    test: np.ndarray,
    *,
    standard: bool,
    size: int | None = None,
    dtype: torch.dtype = torch.float32,
    title: str = "data",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make tensors of both parts; with `standard`, x <- (x - mean) / std.

    Parameters
    ----------
    train, test : array (N, C, H, W) or (N, D)
        Floats, or images as uint8, which are first brought from 0..255 to [0, 1].
    standard : bool
        Whether to shift and scale. Mean and deviation (population form, divisor N) are those of
        `train` alone: per channel of images, per feature of tables. A feature that is constant in
        `train` is shifted but not divided.
    size : int, optional
        Resize images to this height and width first, bilinear.
    dtype : torch.float32 or torch.float64
    title : str
        How to call the data in an error.

    Examples
    --------
    >>> train, test = np.array([[1.0], [3.0]]), np.array([[5.0]])
    >>> scale(train, test, standard=True)
    (tensor([[-1.],
            [ 1.]]), tensor([[3.]]))
    """
    if train.dtype == np.uint8 and size is None:
        mean, std = byte_statistics(train) if standard else (np.zeros(1), np.ones(1))
        return _from_bytes(train, mean, std, dtype), _from_bytes(test, mean, std, dtype)
    tensors = [_from_floats(x, size, dtype, title) for x in (train, test)]
    if standard:
        _standardise_(*tensors)
    return tensors[0], tensors[1]


def byte_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (C,) of uint8 images (N, C, H, W) on the scale [0, 1].

    Exact but for one last rounding: both follow from how often each of the 256 values occurs.
    """
    counts = np.zeros((images.shape[1], 256), dtype=np.int64)
    for block in _blocks(images):
        for channel, row in enumerate(counts):
            row += np.bincount(images[block, channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum(1)
    std = np.sqrt((counts * (values - mean[:, None]) ** 2).sum(1) / counts.sum(1))
    return mean, std


def _from_bytes(
    images: np.ndarray, mean: np.ndarray, std: np.ndarray, dtype: torch.dtype
) -> torch.Tensor:
    """(images / 255 - mean) / std in one pass, straight from the file where it is mapped."""
    out = torch.empty(images.shape, dtype=dtype)
    view = out.numpy()
    std = np.where(std == 0, 1.0, std)
    factor = (1 / (255 * std)).astype(view.dtype).reshape(-1, 1, 1)
    shift = (mean / std).astype(view.dtype).reshape(-1, 1, 1)
    for block in _blocks(images):
        np.multiply(images[block], factor, out=view[block])
        view[block] -= shift
    return out


def _blocks(images: np.ndarray) -> list[slice]:
    step = max(1, BLOCK // max(1, images[0].nbytes))
    return [slice(start, start + step) for start in range(0, len(images), step)]


def _from_floats(x: np.ndarray, size: int | None, dtype: torch.dtype, title: str) -> torch.Tensor:
    check_finite(title, x)
    out = torch.tensor(x).to(dtype)
    if x.dtype == np.uint8:
        out.div_(255)
    if size is None:
        return out
    shrinks = size < min(out.shape[-2:])
    return functional.interpolate(out, size=(size, size), mode="bilinear", antialias=shrinks)


def _standardise_(train: torch.Tensor, test: torch.Tensor) -> None:
    dims = tuple(d for d in range(train.ndim) if d != 1)
    n = train.numel() // train.shape[1]
    constant = train.amin(dims, keepdim=True) == train.amax(dims, keepdim=True)
    mean = train.mean(dims, keepdim=True, dtype=torch.float64).to(train.dtype)
    train.sub_(mean)
    length = torch.linalg.vector_norm(train, dim=dims, keepdim=True, dtype=torch.float64)
    std = torch.where(constant, 1.0, length / n**0.5).to(train.dtype)
    train.div_(std)
    test.sub_(mean).div_(std)


# ---- tabular: The tables of the LEGCNet paper, with the rows and the split of its released code.


if TYPE_CHECKING:
    import os

    import pandas as pd


ROW_SEED = 42  # the released code's np.random.seed(42), drawn here without touching global state


# The released code scales with these; "sample" runs across the features of one row.
RELEASED_SCALING = {
    "cancer": "sample",
    "titanic": "sample",
    "banknote": "sample",
    "vowel": "range",
    "iris_csv": "feature",
    "iris3f": "feature",
}


INITIAL_WEIGHTS = {
    "cancer": "cancer2",
    "titanic": "titanic2",
    "banknote": "bank_note",
    "vowel": "vowel",
    "iris_csv": "iris",
    "iris3f": "iris3f",
}


@dataclass(frozen=True, eq=False)
class Table:
    """Features and labels as read: float64 (N, D) and int64 (N,), in the released row order."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    origin: str


def load_table(
    name: str,
    *,
    released: bool = False,
    cache_dir: str | os.PathLike | None = None,
) -> Table:
    """Read one of the paper's tables, unscaled.

    Parameters
    ----------
    name : {"cancer", "titanic", "banknote", "vowel", "iris_csv", "iris3f"}
    released : bool
        Only titanic differs: its one missing test fare becomes the most frequent fare of the TEST
        rows as released, and that of the training rows by default.
    cache_dir : path, optional
        As for `load_dataset`.

    Returns
    -------
    Table
        Rows in the order of `numpy.random.seed(42); numpy.random.shuffle(rows)`, cut into a first
        part for training and the rest for testing. Titanic keeps Kaggle's split; only its
        training rows are shuffled.
    """
    check_choice("name", name, RELEASED_SCALING)
    if name == "titanic":
        return _titanic(released, cache_dir)
    file, header, features, n_train = {
        "cancer": ("binary_cancer.csv", None, slice(0, 9), 546),
        "banknote": ("binary_banknote.csv", None, slice(0, 4), 1097),
        "vowel": ("vowel.csv", 0, slice(0, 3), 741),
        "iris_csv": ("Iris.csv", 0, slice(1, 5), 120),
        "iris3f": ("Iris.csv", 0, [1, 3, 4], 120),  # column 0 is the row number
    }[name]
    frame, origin = _read(file, header, cache_dir)
    x = frame.iloc[:, features].to_numpy(np.float64)
    _, y = np.unique(frame.iloc[:, -1].to_numpy(), return_inverse=True)  # classes in sorted order
    check_finite(f"{file} of {name!r}", x)
    order = np.random.RandomState(ROW_SEED).permutation(len(x))
    x, y = x[order], y[order].astype(np.int64)
    return Table(x[:n_train], y[:n_train], x[n_train:], y[n_train:], origin)


def _titanic(released: bool, cache_dir) -> Table:
    train, origin = _read("titanic_train.csv", 0, cache_dir)
    test, _ = _read("titanic_test.csv", 0, cache_dir)
    answers, _ = _read("titanic_testy.csv", 0, cache_dir)
    y_train = train["Survived"].to_numpy(np.int64)
    y_test = answers["Survived"].to_numpy(np.int64)
    x_train, x_test = _passengers(train), _passengers(test)
    # Two embarkation ports are missing in train and one fare in test.
    x_train = x_train.fillna(x_train.mode().iloc[0])
    x_test = x_test.fillna((x_test if released else x_train).mode().iloc[0])
    x_train, x_test = x_train.to_numpy(np.float64), x_test.to_numpy(np.float64)
    check_finite("titanic's training rows", x_train)
    check_finite("titanic's test rows", x_test)
    order = np.random.RandomState(ROW_SEED).permutation(len(x_train))
    return Table(x_train[order], y_train[order], x_test, y_test, origin)


def _passengers(frame: pd.DataFrame) -> pd.DataFrame:
    """The six features used: Pclass, Sex, SibSp, Parch, Fare, Embarked. Age is not among them."""
    return frame.assign(
        Sex=frame["Sex"].map({"female": 0, "male": 1}),
        Embarked=frame["Embarked"].map({"S": 0, "C": 1, "Q": 2}),
    )[["Pclass", "Sex", "SibSp", "Parch", "Fare", "Embarked"]].astype(float)


def _read(file: str, header: int | None, cache_dir) -> tuple[pd.DataFrame, str]:
    import pandas as pd

    path, origin = fetch(f"data/{file}", cache_dir=cache_dir)
    return pd.read_csv(path, header=header), origin


def scale_as_released(name: str, x: np.ndarray) -> np.ndarray:
    """Scale `x` (N, D) by its own statistics, as the released code does, train and test alike.

    cancer, titanic, banknote: each SAMPLE is standardised across its own features (the code fits
    the scaler on the transposed matrix), so features of different units are mixed. iris_csv and
    iris3f: each feature is standardised. vowel: each feature is brought to [0, 1].
    """
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    scaling = RELEASED_SCALING[check_choice("name", name, RELEASED_SCALING)]
    if scaling == "sample":
        return StandardScaler().fit_transform(x.T).T
    return (MinMaxScaler() if scaling == "range" else StandardScaler()).fit_transform(x)


def load_legcnet_init(
    name: str, *, trials: int = 5, cache_dir: str | os.PathLike | None = None
) -> list[list[np.ndarray]]:
    """The initial weights that the LEGCNet paper's authors published.

    Parameters
    ----------
    name : {"cancer", "titanic", "banknote", "vowel", "iris_csv", "iris3f"}
    trials : int
        The paper uses the first 5 (default); the files hold 10.
    cache_dir : path, optional
        As for `load_dataset`.

    Returns
    -------
    list of [W1, b1, W2, b2], float64, fresh copies
        W1 (H, D), b1 (H, 1), W2 (K, H), b2 (K, 1) for D features, H hidden neurons and K outputs
        (K = 1 for two classes).

    Raises
    ------
    CorruptDataError
        If the file has another sha256. The file is a pickle, which can run code when it is read,
        so the check comes first.
    """
    key = f"init/{INITIAL_WEIGHTS[check_choice('name', name, INITIAL_WEIGHTS)]}.npy"
    path, _ = fetch(key, cache_dir=cache_dir)
    stored = np.load(path, allow_pickle=True)
    trials = check_int("trials", trials)
    if trials > len(stored):
        raise ValueError(f"trials must be at most {len(stored)}; got {trials}.")
    return [[np.array(part, dtype=np.float64) for part in stored[i]] for i in range(trials)]


# ---- catalogue: The catalogue of datasets: what each is, whose it is and on what terms, without


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before loading it.

    Attributes
    ----------
    name : str
        The name for `load_dataset`.
    shape : tuple of int
        Shape of one example: (C, H, W) for images, (D,) for tables, () for text.
    n_classes : int
        K.
    class_names : tuple of str
        One name per class. Empty where they are read from the data (tiny_imagenet).
    source, licence : str
        Where the data come from, and on what terms they may be used.
    kind : {"image", "table", "text"}
        What an example is.
    n_train, n_test : int
        Examples as published. A mirror may hold fewer: a loaded `Dataset` has its own numbers.
    """

    name: str
    shape: tuple[int, ...]
    n_classes: int
    class_names: tuple[str, ...]
    source: str
    licence: str
    kind: str
    n_train: int
    n_test: int


_UCI = "CC BY 4.0, as listed by the UCI repository"


_PAPER = f"github.com/{LEGCNET_REPOSITORY} at {LEGCNET_COMMIT[:7]}"


_DIGIT_NAMES = tuple("0123456789")


_IRIS_NAMES = ("setosa", "versicolor", "virginica")


# Every character of the text, in code order.
_CHARACTERS = tuple("\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


# fmt: off
_FASHION_NAMES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)


_CIFAR_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)


_CATALOGUE = (
    # Bundled with scikit-learn: always there. The split is ours (20% test, stratified, fixed).
    DatasetInfo(
        "digits",
        (1, 8, 8),
        10,
        _DIGIT_NAMES,
        "handwritten digits, test part of archive.ics.uci.edu/dataset/80, with scikit-learn",
        _UCI,
        "image",
        1437,
        360,
    ),
    DatasetInfo(
        "iris",
        (4,),
        3,
        _IRIS_NAMES,
        "Fisher's iris (1936), archive.ics.uci.edu/dataset/53 corrected, bundled with scikit-learn",
        _UCI,
        "table",
        120,
        30,
    ),
    DatasetInfo(
        "breast_cancer",
        (30,),
        2,
        ("malignant", "benign"),
        "breast cancer Wisconsin, archive.ics.uci.edu/dataset/17, bundled with scikit-learn",
        _UCI,
        "table",
        455,
        114,
    ),
    DatasetInfo(
        "wine",
        (13,),
        3,
        ("cultivar 0", "cultivar 1", "cultivar 2"),
        "wine, archive.ics.uci.edu/dataset/109, bundled with scikit-learn",
        _UCI,
        "table",
        142,
        36,
    ),
    # The tables of the LEGCNet paper (arXiv:2308.09955), from its authors' repository.
    DatasetInfo(
        "cancer",
        (9,),
        2,
        ("benign", "malignant"),
        f"binary_cancer.csv of {_PAPER}: Breast Cancer Wisconsin (Original), UCI dataset 15, "
        "without its 16 incomplete rows",
        f"the file: none stated; the original: {_UCI}",
        "table",
        546,
        137,
    ),
    DatasetInfo(
        "titanic",
        (6,),
        2,
        ("died", "survived"),
        f"titanic_*.csv of {_PAPER}: Kaggle's Titanic, origin of the test labels not stated",
        "none stated",
        "table",
        891,
        418,
    ),
    DatasetInfo(
        "banknote",
        (4,),
        2,
        ("class 0", "class 1"),  # UCI does not say which of the two is the genuine note
        f"binary_banknote.csv of {_PAPER}: Banknote Authentication, UCI dataset 267",
        f"the file: none stated; the original: {_UCI}",
        "table",
        1097,
        275,
    ),
    DatasetInfo(
        "vowel",
        (3,),
        6,
        # The file has numbers 1..6; the names follow from the class sizes 72, 89, 172, 151, 207
        # and 180 that the literature gives for these vowels.
        ("ə", "a", "i", "u", "e", "o"),
        f"vowel.csv of {_PAPER}: formants of Telugu vowels (Pal and Dutta Majumder, 1977)",
        "none stated",
        "table",
        741,
        130,
    ),
    DatasetInfo(
        "iris_csv",
        (4,),
        3,
        _IRIS_NAMES,
        f"Iris.csv of {_PAPER}: UCI dataset 53 in the layout of Kaggle's copy",
        f"the file: none stated; the original: {_UCI}",
        "table",
        120,
        30,
    ),
    DatasetInfo(
        "iris3f",
        (3,),
        3,
        _IRIS_NAMES,
        f"Iris.csv of {_PAPER}, sepal length, petal length and petal width only",
        f"the file: none stated; the original: {_UCI}",
        "table",
        120,
        30,
    ),
    # Images, from the Hugging Face Hub.
    DatasetInfo(
        "mnist",
        (1, 28, 28),
        10,
        _DIGIT_NAMES,
        "MNIST (LeCun, Cortes and Burges), huggingface.co/datasets/ylecun/mnist",
        "CC BY-SA 3.0, as listed by Keras; we found no statement by the authors themselves",
        "image",
        60_000,
        10_000,
    ),
    DatasetInfo(
        "fashion_mnist",
        (1, 28, 28),
        10,
        _FASHION_NAMES,
        "Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017), "
        "huggingface.co/datasets/zalando-datasets/fashion_mnist",
        "MIT, copyright Zalando SE",
        "image",
        60_000,
        10_000,
    ),
    DatasetInfo(
        "cifar10",
        (3, 32, 32),
        10,
        _CIFAR_NAMES,
        "CIFAR-10 (Krizhevsky, 2009), huggingface.co/datasets/uoft-cs/cifar10",
        "none stated (the Hub's card says unknown)",
        "image",
        50_000,
        10_000,
    ),
    DatasetInfo(
        "tiny_imagenet",
        (3, 64, 64),
        200,
        (),
        "Tiny ImageNet (Stanford CS231n; test is its validation split), "
        "huggingface.co/datasets/zh-plus/tiny-imagenet",
        "ImageNet's terms of access: non-commercial research and education only",
        "image",
        100_000,
        10_000,
    ),
    DatasetInfo(
        "tinyshakespeare",
        (),
        65,
        _CHARACTERS,
        f"tiny Shakespeare, github.com/{TEXT_REPOSITORY} at {TEXT_COMMIT[:7]}",
        "Shakespeare's text is in the public domain; none stated for this selection",
        "text",
        1_003_853,
        111_539,
    ),
)


_BY_NAME = {info.name: info for info in _CATALOGUE}


DATASETS: tuple[str, ...] = tuple(_BY_NAME)


BUNDLED = ("digits", "iris", "breast_cancer", "wine")


LEGCNET = ("cancer", "titanic", "banknote", "vowel", "iris_csv", "iris3f")


def dataset_info(name: str) -> DatasetInfo:
    """What is known of a dataset, with no download and no file read.

    Examples
    --------
    >>> info = dataset_info("cifar10")
    >>> info.shape, info.n_classes, info.licence
    ((3, 32, 32), 10, "none stated (the Hub's card says unknown)")
    """
    return _BY_NAME[check_choice("name", name, DATASETS)]


# ---- images: Decoded images: uint8 arrays kept in the cache, so that PNG and JPEG are unpacked o


BATCH = 512  # images decoded between two writes


class ImageSplit:
    """One split of an image dataset: labels at once, pixels when asked for.

    Parameters
    ----------
    info : DatasetInfo
        The dataset.
    part : {"train", "test"}
        Which split.
    cache_dir, progress
        As for `load_dataset`.

    Attributes
    ----------
    labels : array (N,) of int64
    class_names : tuple of str
    """

    def __init__(
        self,
        info: DatasetInfo,
        part: str,
        *,
        cache_dir: str | os.PathLike | None = None,
        progress: bool = True,
    ):
        self.info, self.part, self.progress = info, part, progress
        self._origin = locate(info.name, part, cache_dir=cache_dir)
        self._folder = cache_folder(cache_dir) / "images" / self._origin.key
        self._encoded: EncodedSplit | None = None
        self._facts = self._read_facts()
        if self._facts is None:
            encoded = self._open()
            self.labels = _check_labels(encoded, info.n_classes)
            self.class_names = encoded.class_names
        else:
            self.labels = np.load(self._folder / "labels.npy")
            self.class_names = tuple(self._facts["class_names"])

    def pixels(self, rows: np.ndarray | None = None) -> np.ndarray:
        """The images (N, C, H, W), or those of the sorted row numbers `rows`, as uint8 in 0..255.

        From the cache where it has them. Otherwise the split is decoded whole and kept, but for at
        most half of a mirror's file, which is decoded as asked: a mirror is at hand next time too.
        """
        few = rows is not None and 2 * len(rows) <= len(self.labels) and self._origin.at_hand
        if self._facts is None and few:
            return np.concatenate(list(self._decode(self._open(), rows)))
        if self._facts is None:
            self._fill_cache()
        stored = np.load(self._folder / "images.npy", mmap_mode="r")
        return stored if rows is None else stored[rows]

    @property
    def remarks(self) -> str:
        """Where the images were read, and in what this copy differs from the published one."""
        place = self._open().where if self._facts is None else self._facts["from"]
        notes = [f"read from {self._origin.name or place}"]
        published = self.info.n_train if self.part == "train" else self.info.n_test
        if len(self.labels) != published:
            notes.append(f"a subset of {len(self.labels):,} of {published:,}")
        # Tiny ImageNet is published as JPEG; the others are published without loss.
        if self.info.name != "tiny_imagenet" and self._format() == "JPEG":
            notes.append("a JPEG copy, not the lossless original")
        return ", ".join(notes)

    def _format(self) -> str:
        if self._facts is not None:
            return self._facts["format"]
        return "JPEG" if self._open().images([0])[0].as_py()[:2] == b"\xff\xd8" else "lossless"

    def _open(self) -> EncodedSplit:
        if self._encoded is None:
            self._encoded = self._origin.open()
        return self._encoded

    def _decode(self, encoded: EncodedSplit, rows: np.ndarray | None) -> Iterator[np.ndarray]:
        """Batches of decoded images (B, C, H, W), with a progress bar."""
        require("PIL")
        cells = encoded.images(rows)
        title = f"{self.info.name}: decoding {self.part} images"
        with tqdm(total=len(cells), desc=title, unit="image", disable=not self.progress) as bar:
            for start in range(0, len(cells), BATCH):
                batch = cells[start : start + BATCH].to_pylist()
                names = range(start, start + len(batch)) if rows is None else rows[start:]
                yield np.stack(
                    [
                        _decode_one(cell, self.info.shape, f"row {row} of {encoded.where}")
                        for cell, row in zip(batch, names, strict=False)
                    ]
                )
                bar.update(len(batch))

    def _fill_cache(self) -> None:
        encoded = self._open()
        shape = (len(self.labels), *self.info.shape)
        _sweep(self._folder)
        check_space(self._folder, int(np.prod(shape)) + self.labels.nbytes + 100_000)
        with writing(self._folder / "images.npy") as draft, draft.open("wb") as stream:
            _write_header(stream, shape)
            for batch in self._decode(encoded, None):
                stream.write(batch.tobytes())
        with writing(self._folder / "labels.npy") as draft, draft.open("wb") as stream:
            np.save(stream, self.labels)
        facts = {
            "class_names": self.class_names,
            "format": self._format(),
            "n": len(self.labels),
            "from": encoded.where,
        }
        with writing(self._folder / "facts.json") as draft:  # last: it marks the cache as whole
            draft.write_text(json.dumps(facts), encoding="utf-8")
        self._facts = facts

    def _read_facts(self) -> dict | None:
        """The note beside cached images, or None where the cache is missing or not whole."""
        try:
            facts = json.loads((self._folder / "facts.json").read_text(encoding="utf-8"))
            images = np.load(self._folder / "images.npy", mmap_mode="r")
            labels = np.load(self._folder / "labels.npy", mmap_mode="r")
            expected = (facts["n"], *self.info.shape)
        except (OSError, ValueError, EOFError, KeyError, TypeError):
            return None
        return facts if images.shape == expected and labels.shape == expected[:1] else None


def _sweep(folder: Path) -> None:
    """Remove drafts that a killed process left an hour ago or more."""
    for draft in folder.glob(".*.part"):
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime > 3600:
                draft.unlink()


def _write_header(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    """Start a .npy file of uint8; the pixels follow in order.

    Plain writes, not a memory map: on a full disk a write fails with an error that can be caught,
    and a write into a map kills the process.
    """
    description = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, description)


def _decode_one(cell: bytes, shape: tuple[int, ...], where: str) -> np.ndarray:
    from PIL import Image

    channels, height, width = shape
    try:
        with Image.open(io.BytesIO(cell)) as image:
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except (OSError, SyntaxError, TypeError) as error:  # what Pillow raises on broken files
        raise CorruptDataError(f"{where} must be an image; got {error}.") from error
    if pixels.shape[:2] != (height, width):
        raise CorruptDataError(
            f"{where} must be an image of {height}x{width} pixels; got "
            f"{pixels.shape[0]}x{pixels.shape[1]}."
        )
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def _check_labels(encoded: EncodedSplit, n_classes: int) -> np.ndarray:
    labels = encoded.labels.astype(np.int64)
    if len(encoded.class_names) != n_classes or labels.min() < 0 or labels.max() >= n_classes:
        raise CorruptDataError(
            f"{encoded.where} must have labels 0..{n_classes - 1} and {n_classes} class names; got "
            f"labels {labels.min()}..{labels.max()} and {len(encoded.class_names)} names."
        )
    return labels


# ---- readers: One reader per family of datasets; each gives labels at once and features for chos


TEST_FRACTION = 0.2  # of the bundled datasets, which come without a split


TEST_SEED = 0  # fixed: their test rows never change


TEXT_TRAIN_FRACTION = 0.9


@dataclass(frozen=True, eq=False)
class Part:
    """The training or the test half of a dataset.

    `labels` is (N,) int64. `read(rows)` gives the features of those rows, of all where `rows` is
    None: uint8 images in 0..255, character numbers in int64, or floats.
    """

    labels: np.ndarray
    read: Callable[[np.ndarray | None], np.ndarray]


@dataclass(frozen=True, eq=False)
class RawDataset:
    """Both parts, the class names, and where exactly they were read from."""

    train: Part
    test: Part
    class_names: tuple[str, ...]
    source: str


def read_raw(
    info: DatasetInfo,
    *,
    released: bool = False,
    cache_dir: str | os.PathLike | None = None,
    progress: bool = True,
) -> RawDataset:
    """Open a dataset. `released` asks for the LEGCNet paper's own scaling of its tables."""
    if info.name in BUNDLED:
        return _bundled(info)
    if info.name in LEGCNET:
        return _legcnet(info, released, cache_dir)
    if info.kind == "text":
        return _text(info, cache_dir, progress)
    return _images(info, cache_dir, progress)


def _bundled(info: DatasetInfo) -> RawDataset:
    """A dataset of scikit-learn, with a fixed stratified test set, rows in their order."""
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{info.name}")()
    x, y = bunch.data, bunch.target.astype(np.int64)
    if info.name == "digits":
        x = x.reshape(-1, *info.shape) / 16  # pixels count 0..16 black points of a 4x4 block
    test = stratified_rows(y, ceil(TEST_FRACTION * len(y)), seed=TEST_SEED)
    train = complement(test, len(y))
    return RawDataset(
        _array_part(x[train], y[train]),
        _array_part(x[test], y[test]),
        info.class_names,
        info.source,
    )


def _legcnet(info: DatasetInfo, released: bool, cache_dir) -> RawDataset:
    table = load_table(info.name, released=released, cache_dir=cache_dir)
    x_train, x_test = table.x_train, table.x_test
    if released:
        x_train, x_test = (scale_as_released(info.name, x) for x in (x_train, x_test))
    return RawDataset(
        _array_part(x_train, table.y_train),
        _array_part(x_test, table.y_test),
        info.class_names,
        f"{info.source}; read from the {table.origin}",
    )


def _images(info: DatasetInfo, cache_dir, progress: bool) -> RawDataset:
    train, test = (
        ImageSplit(info, part, cache_dir=cache_dir, progress=progress) for part in ("train", "test")
    )
    return RawDataset(
        Part(train.labels, train.pixels),
        Part(test.labels, test.pixels),
        info.class_names or train.class_names,
        f"{info.source}; training images: {train.remarks}; test images: {test.remarks}",
    )


def _text(info: DatasetInfo, cache_dir, progress: bool) -> RawDataset:
    """One text, cut once: x is the character at each place and y the one after it."""
    path, origin = fetch(f"{info.name}.txt", cache_dir=cache_dir, progress=progress)
    text = path.read_bytes().decode("ascii")
    number = {character: k for k, character in enumerate(info.class_names)}
    unknown = sorted(set(text) - set(number))
    if unknown:
        raise CorruptDataError(f"{path} must hold only known characters; got {unknown}.")
    table = np.zeros(128, dtype=np.int64)
    table[[ord(character) for character in number]] = list(number.values())
    ids = table[np.frombuffer(text.encode("ascii"), dtype=np.uint8)]
    cut = int(TEXT_TRAIN_FRACTION * len(ids))
    train, test = ids[:cut], ids[cut:]
    return RawDataset(
        _array_part(train[:-1].copy(), train[1:]),  # copies: x and y never share memory
        _array_part(test[:-1].copy(), test[1:]),
        info.class_names,
        f"{info.source}; read from the {origin}",
    )


def _array_part(x: np.ndarray, y: np.ndarray) -> Part:
    return Part(y, lambda rows: x if rows is None else x[rows])


# ---- datasets: `load_dataset`: every dataset of the book as tensors, with its source and its lic


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset in memory.

    Attributes
    ----------
    x_train, x_test : Tensor (N, ...)
        Images (N, C, H, W) and tables (N, D) as floats; text (N,) as int64 character numbers.
    y_train, y_test : Tensor (N,) of int64
        Class numbers 0..K-1; for text, the number of the next character.
    class_names : tuple of str
    n_classes : int
        K.
    shape : tuple of int
        Shape of one example.
    name, source, licence : str
        What it is, where exactly it was read from, and on what terms it may be used.
    preprocessing : {"standard", "none", "as_released"}
        What was done to x.
    """

    x_train: torch.Tensor = field(repr=False)
    y_train: torch.Tensor = field(repr=False)
    x_test: torch.Tensor = field(repr=False)
    y_test: torch.Tensor = field(repr=False)
    class_names: tuple[str, ...] = field(repr=False)
    n_classes: int
    shape: tuple[int, ...]
    name: str
    source: str
    licence: str
    preprocessing: str

    def split_validation(
        self, fraction: float = 0.1, *, seed: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Set part of the training examples aside: x_train, y_train, x_val, y_val.

        Stratified by class and drawn by `seed`, except for text, whose last part is taken. The
        scaling was fitted on all training examples, these included; the test set plays no part.
        """
        fraction = check_fraction("fraction", fraction, closed=False)
        n = len(self.y_train)
        n_val = round(fraction * n)
        if dataset_info(self.name).kind == "text":
            check_int("fraction * N", n_val)
            rows = np.arange(n - n_val, n)
        else:
            rows = stratified_rows(
                self.y_train.cpu().numpy(), n_val, seed=seed, name="fraction * N"
            )
        device = self.y_train.device
        val = torch.from_numpy(rows).to(device)
        rest = torch.from_numpy(complement(rows, n)).to(device)
        return self.x_train[rest], self.y_train[rest], self.x_train[val], self.y_train[val]

    def to(self, device: torch.device | str) -> Dataset:
        """The same dataset with its tensors on `device`."""
        names = ("x_train", "y_train", "x_test", "y_test")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def summary(self) -> str:
        """One line for a reader: sizes, preprocessing, source, licence."""
        shape = "x".join(map(str, self.shape)) or "single characters"
        return (
            f"{self.name}: {len(self.y_train):,} training and {len(self.y_test):,} test examples, "
            f"{shape}, {self.n_classes} classes, preprocessing {self.preprocessing!r}. "
            f"Source: {self.source}. Licence: {self.licence}."
        )


def load_dataset(
    name: str,
    *,
    subset: int | tuple[int, int] | None = None,
    seed: int = 0,
    preprocessing: str = "standard",
    size: int | None = None,
    cache_dir: str | os.PathLike | None = None,
    progress: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    """Load a dataset of `DATASETS` by name.

    Parameters
    ----------
    name : str
        One of `DATASETS`.
    subset : int or (int, int), optional
        How many training examples, or how many training and test examples, to keep: exactly that
        many, chosen at random by `seed` with every class in proportion, in the order of the data.
        For text: the first characters of each part. None keeps all. A mirror may hold the rows in
        another order than the Hub, so the same seed may choose other images there.
    seed : int
        Seed of the subset. The split into train and test does not depend on it.
    preprocessing : {"standard", "none", "as_released"}
        "standard": zero mean and unit deviation, fitted on the training examples kept, per feature
        for tables and per channel for images. "none": images in [0, 1], tables as in their file.
        "as_released" (the LEGCNet paper's tables only): as the paper's code does, where the test
        set is scaled by its own statistics and three tables are scaled across the features of each
        sample; see `nets.tabular.scale_as_released`. Text is never scaled.
    size : int, optional
        Images only: height and width to resize to, bilinear, before scaling.
    cache_dir : path, optional
        Where downloads and decoded images are kept; default `$CAUSALPRUNE_CACHE`, else the
        system's cache folder.
    progress : bool
        Show a bar while images are downloaded or decoded for the first time.
    dtype : torch.float32 or torch.float64
        Type of images and tables.

    Returns
    -------
    Dataset

    Notes
    -----
    digits, iris, breast_cancer and wine come without a split: a fixed stratified 20% is the test
    set. The LEGCNet tables keep the split of the paper's code. tinyshakespeare is one text of
    1,115,394 characters; its first 90% train, its last 10% test, and y is x shifted by one. Make
    windows of T characters with `data.x_train.unfold(0, T, T)`, and of y alike.

    Raises
    ------
    ValueError
        An unknown name or option, a subset that is too large or has fewer examples than classes,
        NaN in the data.
    DataUnavailableError, CorruptDataError, OSError
        A file that cannot be had, is not what it should be, or a cache that cannot be written.

    Examples
    --------
    >>> data = load_dataset("digits", subset=(500, 100), seed=1)
    >>> tuple(data.x_train.shape), data.n_classes, len(data.y_test)
    ((500, 1, 8, 8), 10, 100)
    >>> tuple(load_dataset("digits", size=28).x_test.shape)
    (360, 1, 28, 28)
    """
    info = dataset_info(name)
    options = ["standard", "none"] + ["as_released"] * (name in LEGCNET)
    check_choice(f"preprocessing of {name!r}", preprocessing, options)
    if size is not None and info.kind != "image":
        raise ValueError(f"size must be None for {name!r}, which has no images; got {size!r}.")
    size = None if size is None else check_int("size", size)
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype must be torch.float32 or torch.float64; got {dtype!r}.")
    check_int("seed", seed, minimum=0)
    sizes = _parse_subset(subset)
    raw = read_raw(
        info, released=preprocessing == "as_released", cache_dir=cache_dir, progress=progress
    )
    train, test = (
        _take(info, part, n, seed=seed, title=title)
        for part, n, title in zip((raw.train, raw.test), sizes, ("training", "test"), strict=True)
    )
    if info.kind == "text":
        preprocessing = "none"
        x_train, x_test = torch.from_numpy(train[0]), torch.from_numpy(test[0])
    else:
        x_train, x_test = scale(
            train[0],
            test[0],
            standard=preprocessing == "standard",
            size=size,
            dtype=dtype,
            title=f"The data of {name!r}",
        )
    return Dataset(
        x_train=x_train,
        y_train=torch.from_numpy(train[1]),
        x_test=x_test,
        y_test=torch.from_numpy(test[1]),
        class_names=raw.class_names,
        n_classes=info.n_classes,
        shape=tuple(x_train.shape[1:]),
        name=name,
        source=raw.source,
        licence=info.licence,
        preprocessing=preprocessing,
    )


def _parse_subset(subset: object) -> tuple[int | None, int | None]:
    """The numbers of training and test examples to keep; None keeps all."""
    if subset is None:
        return None, None
    if isinstance(subset, Sequence) and not isinstance(subset, str):
        if len(subset) != 2:
            raise ValueError(f"subset must be n_train or (n_train, n_test); got {subset!r}.")
        return check_int("subset[0]", subset[0]), check_int("subset[1]", subset[1])
    return check_int("subset", subset), None


def _take(
    info: DatasetInfo, part: Part, n: int | None, *, seed: int, title: str
) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels of `n` rows of one part, of all where `n` is None; labels are copied."""
    rows = None
    name = f"subset, its number of {title} examples of {info.name!r},"
    if n is not None and info.kind != "text":
        rows = stratified_rows(part.labels, n, seed=seed, name=name)
    elif n is not None:
        if n > len(part.labels):
            raise ValueError(f"{name} must be at most {len(part.labels)}, all there are; got {n}.")
        rows = np.arange(n)
    labels = part.labels if rows is None else part.labels[rows]
    return part.read(rows), np.array(labels, dtype=np.int64)
