"""`load_dataset`: every dataset of the book as tensors, with its source and its licence.

Four datasets come with scikit-learn (digits, iris, breast_cancer, wine) and four with this library
(cancer, banknote, iris_csv, iris3f: tables of the LEGCNet paper, arXiv:2308.09955). The paper's
other tables and the images of both papers are read from the folder `$CAUSALPRUNE_DATA` if it is set
and holds them, else from the cache, else from the network.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np
import torch
from torch.nn import functional

from causalprune_lib._validation import check_choice, check_finite, check_fraction, check_int
from causalprune_lib.nets.images import ImageSplit
from causalprune_lib.nets.sources import LEGCNET_COMMIT, LEGCNET_REPOSITORY, find_table


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before loading it."""

    name: str
    shape: tuple[int, ...]  # of one example: (C, H, W) for images, (D,) for tables
    n_classes: int  # K
    class_names: tuple[str, ...]  # empty where they are read from the data (tiny_imagenet)
    n_train: int  # examples as published; a mirror may hold fewer
    n_test: int
    source: str  # where the data come from
    licence: str  # on what terms they may be used

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3


SKLEARN = ("digits", "iris", "breast_cancer", "wine")
LEGCNET = ("cancer", "titanic", "banknote", "vowel", "iris_csv", "iris3f")
_UCI = "CC BY 4.0, as listed by the UCI repository"
_PAPER = f"github.com/{LEGCNET_REPOSITORY} at {LEGCNET_COMMIT[:7]}"
_DIGITS = tuple("0123456789")
_IRIS = ("setosa", "versicolor", "virginica")
# fmt: off
_FASHION = ("T-shirt/top", "trouser", "pullover", "dress", "coat",
            "sandal", "shirt", "sneaker", "bag", "ankle boot")
_CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_VOWELS = ("ə", "a", "i", "u", "e", "o")  # by their class sizes in the literature; 1..6 in the file
_CATALOGUE = (
    # With scikit-learn, which has no split: ours is 20% for testing, stratified and fixed.
    DatasetInfo(
        "digits", (1, 8, 8), 10, _DIGITS, 1437, 360,
        "handwritten digits, test part of archive.ics.uci.edu/dataset/80, with scikit-learn", _UCI),
    DatasetInfo(
        "iris", (4,), 3, _IRIS, 120, 30,
        "Fisher's iris (1936), archive.ics.uci.edu/dataset/53 corrected, bundled with scikit-learn",
        _UCI),
    DatasetInfo(
        "breast_cancer", (30,), 2, ("malignant", "benign"), 455, 114,
        "breast cancer Wisconsin, archive.ics.uci.edu/dataset/17, bundled with scikit-learn", _UCI),
    DatasetInfo(
        "wine", (13,), 3, ("cultivar 0", "cultivar 1", "cultivar 2"), 142, 36,
        "wine, archive.ics.uci.edu/dataset/109, bundled with scikit-learn", _UCI),
    # The tables of the LEGCNet paper, as its authors' code has and splits them.
    DatasetInfo(
        "cancer", (9,), 2, ("benign", "malignant"), 546, 137,
        "Breast Cancer Wisconsin (Original), W. Wolberg (1990), archive.ics.uci.edu/dataset/15, "
        f"without its 16 incomplete rows, as binary_cancer.csv of {_PAPER}", _UCI),
    DatasetInfo(
        "titanic", (6,), 2, ("died", "survived"), 891, 418,
        f"titanic_*.csv of {_PAPER}: Kaggle's Titanic, origin of the test labels not stated",
        "none stated"),
    DatasetInfo(  # UCI does not say which of the two classes is the genuine note
        "banknote", (4,), 2, ("class 0", "class 1"), 1097, 275,
        "Banknote Authentication, V. Lohweg (2012), archive.ics.uci.edu/dataset/267, as "
        f"binary_banknote.csv of {_PAPER}", _UCI),
    DatasetInfo(
        "vowel", (3,), 6, _VOWELS, 741, 130,
        f"vowel.csv of {_PAPER}: formants of Telugu vowels (Pal and Dutta Majumder, 1977)",
        "none stated"),
    DatasetInfo(
        "iris_csv", (4,), 3, _IRIS, 120, 30,
        "Iris, R. A. Fisher (1936), archive.ics.uci.edu/dataset/53, in the layout of Kaggle's "
        f"copy, as Iris.csv of {_PAPER}", _UCI),
    DatasetInfo(
        "iris3f", (3,), 3, _IRIS, 120, 30,
        "Iris, R. A. Fisher (1936), archive.ics.uci.edu/dataset/53, sepal length, petal length and "
        f"petal width only, as Iris.csv of {_PAPER}", _UCI),
    # Images, from the Hugging Face Hub.
    DatasetInfo(
        "mnist", (1, 28, 28), 10, _DIGITS, 60_000, 10_000,
        "MNIST (LeCun, Cortes and Burges), huggingface.co/datasets/ylecun/mnist",
        "CC BY-SA 3.0, as listed by Keras; we found no statement by the authors themselves"),
    DatasetInfo(
        "fashion_mnist", (1, 28, 28), 10, _FASHION, 60_000, 10_000,
        "Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017), "
        "huggingface.co/datasets/zalando-datasets/fashion_mnist", "MIT, copyright Zalando SE"),
    DatasetInfo(
        "cifar10", (3, 32, 32), 10, _CIFAR, 50_000, 10_000,
        "CIFAR-10 (Krizhevsky, 2009), huggingface.co/datasets/uoft-cs/cifar10",
        "none stated (the Hub's card says unknown)"),
    DatasetInfo(
        "tiny_imagenet", (3, 64, 64), 200, (), 100_000, 10_000,
        "Tiny ImageNet (Stanford CS231n; test is its validation split), "
        "huggingface.co/datasets/zh-plus/tiny-imagenet",
        "ImageNet's terms of access: non-commercial research and education only"),
)
# fmt: on
_BY_NAME = {info.name: info for info in _CATALOGUE}
DATASETS: tuple[str, ...] = tuple(_BY_NAME)


def dataset_info(name: str) -> DatasetInfo:
    """What is known of a dataset, with no download and no file read.

    >>> info = dataset_info("cifar10")
    >>> info.shape, info.n_classes, info.licence
    ((3, 32, 32), 10, "none stated (the Hub's card says unknown)")
    """
    return _BY_NAME[check_choice("name", name, DATASETS)]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset in memory."""

    x_train: torch.Tensor = field(repr=False)  # images (N, C, H, W) or tables (N, D), as floats
    y_train: torch.Tensor = field(repr=False)  # (N,) of int64: classes 0..K-1
    x_test: torch.Tensor = field(repr=False)
    y_test: torch.Tensor = field(repr=False)
    class_names: tuple[str, ...] = field(repr=False)
    n_classes: int  # K
    shape: tuple[int, ...]  # of one example
    name: str
    source: str  # where exactly it was read from
    licence: str
    preprocessing: str  # what was done to x: "standard", "none" or "as_released"

    def split_validation(
        self, fraction: float = 0.1, *, seed: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Set part of the training examples aside: x_train, y_train, x_val, y_val.

        Stratified by class and drawn by `seed`. The scaling was fitted on all training examples,
        these included; the test set plays no part.
        """
        n_val = round(check_fraction("fraction", fraction, closed=False) * len(self.y_train))
        labels = self.y_train.cpu().numpy()
        rows = stratified_rows(labels, n_val, seed=seed, name="fraction * N")
        others = np.delete(np.arange(len(labels)), rows)
        val, rest = (torch.from_numpy(part).to(self.y_train.device) for part in (rows, others))
        return self.x_train[rest], self.y_train[rest], self.x_train[val], self.y_train[val]

    def to(self, device: torch.device | str) -> Dataset:
        """The same dataset with its tensors on `device`."""
        names = ("x_train", "y_train", "x_test", "y_test")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def summary(self) -> str:
        """One line for a reader: sizes, preprocessing, source, licence."""
        return (
            f"{self.name}: {len(self.y_train):,} training and {len(self.y_test):,} test examples, "
            f"{'x'.join(map(str, self.shape))}, {self.n_classes} classes, preprocessing "
            f"{self.preprocessing!r}. Source: {self.source}. Licence: {self.licence}."
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
    """Load a dataset by name, one of `DATASETS`.

    scikit-learn's datasets come without a split: a fixed stratified 20% is the test set. Those of
    LEGCNet keep the row order and the split of the paper's code.

    Parameters
    ----------
    subset : int or (int, int), optional
        How many training examples, or how many training and test examples, to keep: exactly that
        many, chosen at random by `seed` with every class in proportion, in the order of the data.
        None keeps all. A mirror may hold the rows in another order than the Hub.
    seed : int
        Seed of the subset. The split into train and test does not depend on it.
    preprocessing : {"standard", "none", "as_released"}
        "standard": zero mean and unit deviation, fitted on the training examples kept, per feature
        for tables and per channel for images. "none": images in [0, 1], tables as in their file.
        "as_released" (the LEGCNet paper's tables only): as the paper's code does, where the test
        set is scaled by its own statistics and cancer, titanic and banknote are scaled across the
        features of each sample.
    size : int, optional
        Images only: height and width to resize to, bilinear, before scaling.
    cache_dir : path, optional
        Where downloads and decoded images are kept; default `$CAUSALPRUNE_CACHE`, or the system's.
    progress, dtype : bool, torch.float32 or torch.float64
        Show a bar while images are decoded for the first time; type of x.

    Raises
    ------
    DataUnavailableError, CorruptDataError, OSError
        A file that cannot be had, is not what it should be, or a cache that cannot be written.

    Examples
    --------
    >>> data = load_dataset("digits", subset=(500, 100), seed=1)
    >>> tuple(data.x_train.shape), data.n_classes, len(data.y_test)
    ((500, 1, 8, 8), 10, 100)
    """
    info = dataset_info(name)
    options = ["standard", "none"] + ["as_released"] * (name in LEGCNET)
    check_choice(f"preprocessing of {name!r}", preprocessing, options)
    if size is not None and not info.is_image:
        raise ValueError(f"size must be None for {name!r}, which has no images; got {size!r}.")
    size = None if size is None else check_int("size", size)
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype must be torch.float32 or torch.float64; got {dtype!r}.")
    check_int("seed", seed, minimum=0)
    sizes = subset if isinstance(subset, Sequence) else (subset, None)
    if len(sizes) != 2:
        raise ValueError(f"subset must be n_train or (n_train, n_test); got {subset!r}.")
    for n in sizes:
        if n is not None:
            check_int("subset", n)
    if name in SKLEARN:
        parts, class_names, source = _read_sklearn(info)
    elif info.is_image:
        parts, class_names, source = _read_images(info, cache_dir, progress)
    else:
        released = preprocessing == "as_released"
        parts, class_names, source = _read_table(info, released, cache_dir)
    x, y = [], []
    for (features, labels), n, title in zip(parts, sizes, ("training", "test"), strict=True):
        rows = slice(None)
        if n is not None:
            what = f"subset, its number of {title} examples of {name!r},"
            rows = stratified_rows(labels, n, seed=seed, name=what)
        x.append(features[rows])
        y.append(torch.tensor(labels[rows]))
    options = {"size": size, "dtype": dtype, "title": f"The data of {name!r}"}
    x_train, x_test = scale(*x, standard=preprocessing == "standard", **options)
    return Dataset(
        x_train=x_train,
        y_train=y[0],
        x_test=x_test,
        y_test=y[1],
        class_names=class_names,
        n_classes=info.n_classes,
        shape=tuple(x_train.shape[1:]),
        name=name,
        source=source,
        licence=info.licence,
        preprocessing=preprocessing,
    )


def class_quotas(counts: np.ndarray, n: int) -> np.ndarray:
    """Split `n` over classes in proportion to `counts` (K,), exactly, by largest remainder.

    Ties go to the lower class. A class whose share rounds to nothing still gets one place, taken
    from the class that has most.
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
    """Choose `n` of N rows by `seed` with every class of `labels` (N,) in proportion, in order.

    `n` must be at least the number of classes and at most N; `name` is what errors call it.
    """
    classes, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    n = check_int(name, n)
    check_int("seed", seed, minimum=0)
    if n > len(labels):
        raise ValueError(f"{name} must be at most {len(labels)}, all there are; got {n}.")
    if n < len(classes):
        raise ValueError(f"{name} must be at least {len(classes)}, one per class; got {n}.")
    generator = np.random.default_rng(seed)
    chosen = [
        generator.permutation(np.flatnonzero(inverse == k))[:quota]
        for k, quota in enumerate(class_quotas(counts, n))
    ]
    return np.sort(np.concatenate(chosen))


# Features, as floats or as images of bytes, that a slice or row numbers choose from; labels (N,).
_Part = tuple[np.ndarray | ImageSplit, np.ndarray]
_Raw = tuple[tuple[_Part, _Part], tuple[str, ...], str]  # train and test, class names, source


def _read_sklearn(info: DatasetInfo) -> _Raw:
    """A dataset of scikit-learn, with a fixed stratified test set, rows in their order."""
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{info.name}")()
    x, y = bunch.data, bunch.target.astype(np.int64)
    if info.is_image:
        x = x.reshape(-1, *info.shape) / 16  # pixels count 0..16 black points of a 4x4 block
    test = stratified_rows(y, ceil(0.2 * len(y)), seed=0)
    train = np.delete(np.arange(len(y)), test)
    return ((x[train], y[train]), (x[test], y[test])), info.class_names, info.source


_COLUMNS = {  # file, line of the header, columns of the features; the class stands last
    "cancer": ("binary_cancer.csv", None, slice(0, 9)),
    "banknote": ("binary_banknote.csv", None, slice(0, 4)),
    "vowel": ("vowel.csv", 0, slice(0, 3)),
    "iris_csv": ("Iris.csv", 0, slice(1, 5)),  # column 0 is the row number
    "iris3f": ("Iris.csv", 0, [1, 3, 4]),
}


def _read_table(info: DatasetInfo, released: bool, cache_dir) -> _Raw:
    """A table of the LEGCNet paper, rows in the order and with the split of its code.

    The order is that of `numpy.random.seed(42); numpy.random.shuffle(rows)`; the first rows are for
    training. Titanic keeps Kaggle's split, and only its training rows are shuffled; its one missing
    test fare becomes the most frequent fare of the training rows or, as released, of the test rows.
    """
    import pandas as pd

    def read(file: str, header: int | None = 0) -> tuple[pd.DataFrame, str]:
        path, origin = find_table(file, cache_dir=cache_dir)
        return pd.read_csv(path, header=header), origin

    if info.name == "titanic":
        frame, origin = read("titanic_train.csv")
        test = read("titanic_test.csv")[0]
        x, x_test = _passengers(frame), _passengers(test)
        x = x.fillna(x.mode().iloc[0])  # two ports of embarkation are missing
        x_test = x_test.fillna((x_test if released else x).mode().iloc[0])
        x, x_test = x.to_numpy(np.float64), x_test.to_numpy(np.float64)
        y, y_test = frame["Survived"], read("titanic_testy.csv")[0]["Survived"]
        y, y_test = y.to_numpy(np.int64), y_test.to_numpy(np.int64)
    else:
        file, header, features = _COLUMNS[info.name]
        frame, origin = read(file, header)
        x = frame.iloc[:, features].to_numpy(np.float64)
        _, y = np.unique(frame.iloc[:, -1].to_numpy(), return_inverse=True)  # in sorted order
        y = y.astype(np.int64)
        x_test, y_test = x[:0], y[:0]
    check_finite(f"The table of {info.name!r}", np.concatenate([x, x_test]))
    order = np.random.RandomState(42).permutation(len(x))
    n = info.n_train
    x, x_test = x[order[:n]], np.concatenate([x[order[n:]], x_test])
    y, y_test = y[order[:n]], np.concatenate([y[order[n:]], y_test])
    if released:
        x, x_test = scale_as_released(info.name, x), scale_as_released(info.name, x_test)
    parts = (x, y), (x_test, y_test)
    return parts, info.class_names, f"{info.source}; read from the {origin}"


def _passengers(frame):
    """The six features of titanic that are used; age is not among them."""
    frame["Sex"] = frame["Sex"].map({"female": 0, "male": 1})
    frame["Embarked"] = frame["Embarked"].map({"S": 0, "C": 1, "Q": 2})
    return frame[["Pclass", "Sex", "SibSp", "Parch", "Fare", "Embarked"]].astype(float)


def scale_as_released(name: str, x: np.ndarray) -> np.ndarray:
    """Scale `x` (N, D) by its own statistics, as the released code does, train and test alike.

    cancer, titanic, banknote: each SAMPLE is standardised across its own features (the code fits
    the scaler on the transposed matrix), so features of different units are mixed. iris_csv and
    iris3f: each feature is standardised. vowel: each feature is brought to [0, 1].
    """
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    if name in ("cancer", "titanic", "banknote"):
        return StandardScaler().fit_transform(x.T).T
    return (MinMaxScaler() if name == "vowel" else StandardScaler()).fit_transform(x)


def _read_images(info: DatasetInfo, cache_dir, progress: bool) -> _Raw:
    """A dataset of the Hub, images as bytes."""
    shared = {"shape": info.shape, "n_classes": info.n_classes}
    shared |= {"cache_dir": cache_dir, "progress": progress}
    train = ImageSplit(info.name, "train", published=info.n_train, **shared)
    test = ImageSplit(info.name, "test", published=info.n_test, **shared)
    parts = (train, train.labels), (test, test.labels)
    source = f"{info.source}; training images: {train.remarks}; test images: {test.remarks}"
    return parts, info.class_names or train.class_names, source


def scale(
    train: np.ndarray,
    test: np.ndarray,
    *,
    standard: bool,
    size: int | None = None,
    dtype: torch.dtype = torch.float32,
    title: str = "data",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make tensors of both parts (N, C, H, W) or (N, D); with `standard`, x <- (x - mean) / std.

    Mean and deviation (divisor N) are those of `train` alone, per channel of images and per feature
    of tables; what is constant in `train` is shifted but not divided. Bytes are first brought to
    [0, 1], and images resized to `size`. `title` is what errors call the data.
    """
    if train.dtype == np.uint8 and size is None:
        mean, std = byte_statistics(train) if standard else (np.zeros(1), np.ones(1))
        return _from_bytes(train, mean, std, dtype), _from_bytes(test, mean, std, dtype)
    made = []
    for x in (train, test):
        check_finite(title, x)
        out = torch.tensor(x).to(dtype)
        if x.dtype == np.uint8:
            out.div_(255)
        if size is not None:
            options = {"mode": "bilinear", "antialias": size < min(out.shape[-2:])}
            out = functional.interpolate(out, size=(size, size), **options)
        made.append(out)
    if standard:
        x, dims = made[0], tuple(d for d in range(train.ndim) if d != 1)
        constant = x.amin(dims, keepdim=True) == x.amax(dims, keepdim=True)
        mean = x.mean(dims, keepdim=True, dtype=torch.float64).to(dtype)
        x.sub_(mean)
        length = torch.linalg.vector_norm(x, dim=dims, keepdim=True, dtype=torch.float64)
        std = torch.where(constant, 1.0, length / (x.numel() // x.shape[1]) ** 0.5).to(dtype)
        x.div_(std)
        made[1].sub_(mean).div_(std)
    return made[0], made[1]


BLOCK = 2**20  # bytes of images handled at a time, so that they stay in the processor's cache


def byte_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (C,) of uint8 images (N, C, H, W) on the scale [0, 1]; 1 if constant.

    Exact but for one last rounding: both follow from how often each of the 256 values occurs.
    """
    counts = np.zeros((images.shape[1], 256), dtype=np.int64)
    for block in _blocks(images):
        for channel, count in enumerate(counts):
            count += np.bincount(images[block, channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum(1)
    std = np.sqrt((counts * (values - mean[:, None]) ** 2).sum(1) / counts.sum(1))
    return mean, np.where(np.count_nonzero(counts, axis=1) == 1, 1.0, std)


def _from_bytes(
    images: np.ndarray, mean: np.ndarray, std: np.ndarray, dtype: torch.dtype
) -> torch.Tensor:
    """(images / 255 - mean) / std in one pass, straight from the file where it is mapped."""
    out = torch.empty(images.shape, dtype=dtype)
    view = out.numpy()
    slope = (1 / (255 * std)).astype(view.dtype).reshape(-1, 1, 1)
    shift = (mean / std).astype(view.dtype).reshape(-1, 1, 1)
    for block in _blocks(images):
        np.multiply(images[block], slope, out=view[block])
        view[block] -= shift
    return out


def _blocks(images: np.ndarray) -> list[slice]:
    """Slices of whole images, of about `BLOCK` bytes each."""
    step = max(1, BLOCK // max(1, images[0].nbytes))
    return [slice(start, start + step) for start in range(0, len(images), step)]
