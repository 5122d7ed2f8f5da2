"""One reader per family of datasets; each gives labels at once and features for chosen rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np

from causalprune_lib.nets.catalogue import BUNDLED, LEGCNET, DatasetInfo
from causalprune_lib.nets.images import ImageSplit
from causalprune_lib.nets.sources import CorruptDataError, fetch
from causalprune_lib.nets.splits import complement, stratified_rows
from causalprune_lib.nets.tabular import load_table, scale_as_released

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
