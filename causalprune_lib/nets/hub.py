"""Image files of the Hugging Face Hub, from a local mirror of its layout or from the Hub itself.

Both ways give the same thing: for each split an Arrow table whose first column holds the encoded
images (PNG or JPEG) and whose second holds the labels. Nothing is decoded here.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from causalprune_lib.nets.sources import (
    CorruptDataError,
    cache_folder,
    mirror_folder,
    raise_if_cannot_write,
    require,
    sha256_of,
    unavailable,
)

if TYPE_CHECKING:
    import os

    import pyarrow as pa


@dataclass(frozen=True)
class HubSet:
    """A dataset on the Hub: its repository, its folder of parquet files, its splits there."""

    repository: str
    folder: str
    test: tuple[str, ...] = ("test",)

    def parquet(self, part: str) -> str:
        """The file of one split: the same path below `hub/` in a mirror as on the Hub."""
        split = "train" if part == "train" else self.test[0]
        return f"{self.repository}/{self.folder}/{split}-00000-of-00001.parquet"


HUB_SETS = {
    "mnist": HubSet("ylecun/mnist", "mnist"),
    "fashion_mnist": HubSet("zalando-datasets/fashion_mnist", "fashion_mnist"),
    "cifar10": HubSet("uoft-cs/cifar10", "plain_text"),
    # Its second split is `valid` in file names and on the Hub, `validation` read from a folder.
    "tiny_imagenet": HubSet("zh-plus/tiny-imagenet", "data", ("valid", "validation")),
}


@dataclass(frozen=True)
class EncodedSplit:
    """One split as stored: `table` has the columns image bytes and label."""

    table: pa.Table
    class_names: tuple[str, ...]
    where: str

    @property
    def labels(self):
        return self.table.column("label").to_numpy()

    def images(self, rows=None) -> pa.Array:
        """The encoded images, all or those of `rows`, as an Arrow array of bytes."""
        column = next(name for name in ("image", "img") if name in self.table.column_names)
        cells = self.table.column(column)
        return (cells if rows is None else cells.take(rows)).combine_chunks().field("bytes")


@dataclass(frozen=True)
class Origin:
    """Where a split is read from.

    `name` is for `.source` (None: take `where` of the opened split, which knows the Hub's
    revision); `key` is the folder of its decoded images in the cache; `open` reads it.
    """

    name: str | None
    key: str
    open: Callable[[], EncodedSplit]

    @property
    def at_hand(self) -> bool:
        """Whether it can be read again without a network."""
        return self.name is not None


def locate(name: str, part: str, *, cache_dir: str | os.PathLike | None = None) -> Origin:
    """Find one split ("train" or "test") in the mirror, else on the Hub; nothing is read yet.

    The mirror's key holds the sha256 of its file and the Hub's key is its own, so that decoded
    images of different copies never mix in the cache.
    """
    hub_set = HUB_SETS[name]
    mirror = mirror_folder()
    if mirror is not None:
        path = mirror / "hub" / hub_set.parquet(part)
        if path.is_file():
            sha256 = sha256_of(path)
            title = f"the local mirror ({path.name}, sha256 {sha256[:12]})"
            key = f"{name}-{part}-mirror-{sha256[:16]}"
            return Origin(title, key, lambda: _open_parquet(path, hub_set))
    key = f"{name}-{part}-hub"
    return Origin(None, key, lambda: _open_hub(name, part, hub_set, cache_dir))


def _open_parquet(path: Path, hub_set: HubSet) -> EncodedSplit:
    require("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
        names = tuple(features["label"]["names"])
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise CorruptDataError(
            f"The mirror's file {path} must be a whole parquet file of {hub_set.repository}; got "
            f"one that cannot be read ({error}), {path.stat().st_size:,} bytes, sha256 "
            f"{sha256_of(path)}. No hash is published for it: copy it again from "
            f"huggingface.co/datasets/{hub_set.repository}."
        ) from error
    return EncodedSplit(table, names, f"the mirror's file {path}")


def _open_hub(name: str, part: str, hub_set: HubSet, cache_dir) -> EncodedSplit:
    datasets = require("datasets")
    cache = cache_folder(cache_dir) / "huggingface"
    try:
        with _quiet(datasets):
            builder = datasets.load_dataset_builder(hub_set.repository, cache_dir=str(cache))
            builder.download_and_prepare()
            splits = builder.as_dataset()
    # The Hub's client raises errors of several libraries, and which ones changes with its version.
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
                raise_if_cannot_write(cause, cache)
            cause = cause.__cause__ or cause.__context__
        raise unavailable(
            name,
            mirrored=f"hub/{hub_set.parquet('train')} and hub/{hub_set.parquet('test')}",
            cached=cache.parent,
            url=f"https://huggingface.co/datasets/{hub_set.repository}",
            why=f"{type(error).__name__}: {error}",
        ) from error
    wanted = ("train",) if part == "train" else hub_set.test
    split = splits[next(candidate for candidate in wanted if candidate in splits)]
    where = f"huggingface.co/datasets/{hub_set.repository} at {builder.hash or 'its newest'}"
    return EncodedSplit(split.with_format("arrow")[:], tuple(split.features["label"].names), where)


@contextmanager
def _quiet(datasets: ModuleType) -> Iterator[None]:
    """No progress bars and no download count from `datasets`, for this block only."""
    bars = not datasets.utils.are_progress_bars_disabled()
    counting = datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
    datasets.utils.disable_progress_bars()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        yield
    finally:
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counting
        if bars:
            datasets.utils.enable_progress_bars()
