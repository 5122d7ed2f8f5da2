"""`load_dataset`: every dataset of the book as tensors, with its source and its licence.

Four come with scikit-learn (digits, iris, breast_cancer, wine) and need nothing. The tables of the
LEGCNet paper (arXiv:2308.09955), the images of both papers and one text are read from the folder
`$CAUSALPRUNE_DATA` if it is set and holds them, else from the cache, else from the network.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from causalprune_lib._validation import check_choice, check_fraction, check_int
from causalprune_lib.nets.catalogue import DATASETS, LEGCNET, DatasetInfo, dataset_info
from causalprune_lib.nets.readers import Part, read_raw
from causalprune_lib.nets.scaling import scale
from causalprune_lib.nets.sources import CorruptDataError, DataUnavailableError
from causalprune_lib.nets.splits import complement, stratified_rows
from causalprune_lib.nets.tabular import load_legcnet_init

__all__ = [
    "DATASETS",
    "CorruptDataError",
    "DataUnavailableError",
    "Dataset",
    "DatasetInfo",
    "dataset_info",
    "load_dataset",
    "load_legcnet_init",
]


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
