"""Where the data files come from: a local mirror, the cache, then the network, in that order.

Each file fetched here has a published sha256, which is checked at every use. Nothing is kept under
its final name before its check has passed, so a broken download never poisons a later run.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from causalprune_lib._files import replacing
from causalprune_lib._validation import check_choice

# ---- sources: Where the data files come from: a local mirror, the cache, then the network, in th


MIRROR_VARIABLE = "CAUSALPRUNE_DATA"


CACHE_VARIABLE = "CAUSALPRUNE_CACHE"


LEGCNET_REPOSITORY = "RAJAN13-blip/chaotic-pruning"


LEGCNET_COMMIT = "25a1d8ed96c74a13165ce1b9e270fbdd3b541548"


TEXT_REPOSITORY = "karpathy/char-rnn"


TEXT_COMMIT = "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"


RAW_FILES = "https://raw.githubusercontent.com"


class DataUnavailableError(OSError):
    """A data file is in no mirror and no cache, and the network did not give it."""


class CorruptDataError(OSError):
    """A data file is there, but it is not the file it should be."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of known content: its place in a mirror, its place on GitHub, its sha256."""

    mirror: str
    repository: str
    commit: str
    path: str
    sha256: str

    @property
    def url(self) -> str:
        return f"{RAW_FILES}/{self.repository}/{self.commit}/{self.path}"


def _legcnet(mirror: str, folder: str, hashes: dict[str, str]) -> dict[str, RemoteFile]:
    """Files of one folder of the LEGCNet paper's repository, by their path there."""
    paths = {f"{folder}/{file}": (f"{mirror}/{file}", sha) for file, sha in hashes.items()}
    return {
        path: RemoteFile(in_mirror, LEGCNET_REPOSITORY, LEGCNET_COMMIT, path, sha)
        for path, (in_mirror, sha) in paths.items()
    }


FILES: dict[str, RemoteFile] = {
    **_legcnet(
        "tabular",
        "data",
        {
            "binary_cancer.csv": "2d0f622039ef322e6faec6302cb7a2c565c5a7933a1702525b7abfd577b80a03",
            "Iris.csv": "600ac44f23c2e6e0ae37daac8ceb2baba4df963efa580eb31b3b576b28e34c55",
            "vowel.csv": "79e57ecf442e9b4d289e7b6635521ef61be3d719b5cec13fd566361f6fe1cbc6",
            "titanic_test.csv": "56023b9948236f3c7a1c9448fcf418b283e109ef177fa8c7e069158dd7dd52b2",
            "binary_banknote.csv": (
                "98c292f483dd009d804d0e16886ea287b201ddf98392547c26a1fe9e597a96d7"
            ),
            "titanic_train.csv": "7d118fef8b6ccf7f81111877bc388536f7b1e498a655e3d649d19aaa010e9f6f",
            "titanic_testy.csv": "a2a22b5d240612a4eb4b1508110522250f193677748c32454c0f6914f3cc280e",
        },
    ),
    **_legcnet(
        "legcnet/init",
        "init",
        {
            "bank_note.npy": "ec50e882c353409c472ab00712e6d45e4cadca38632a5238355e15d8aae189f4",
            "cancer2.npy": "3e0a2c7a1ccf7e5c259e244673ec5c267cb173d17dc8843e7c248dfbd2aabcf9",
            "iris.npy": "613a0238b2a851311dfe737b6d3b7332b9c584f13eb5270bbc57291253feccc1",
            "iris3f.npy": "54888a69c6857149165c4fb666fa1ac6abd5a2f1f71020e24543633c05142682",
            "titanic2.npy": "f9e892f9d7b6dcdf5da7f925be05a6902a86bb0e839626e06564f6e7f4f69cf0",
            "vowel.npy": "023959acfa6c4455b1201517f07def302161d085d6cea6dc3203b373f7c49818",
        },
    ),
    "tinyshakespeare.txt": RemoteFile(
        "text/tinyshakespeare.txt",
        TEXT_REPOSITORY,
        TEXT_COMMIT,
        "data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
}


def mirror_folder() -> Path | None:
    """The folder that `CAUSALPRUNE_DATA` names, or None where it is not set."""
    value = os.environ.get(MIRROR_VARIABLE)
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise NotADirectoryError(f"{MIRROR_VARIABLE} must name an existing folder; got {value!r}.")
    return folder


def cache_folder(cache_dir: str | os.PathLike | None = None) -> Path:
    """Where downloads and decoded images are kept.

    `cache_dir` if given, else `$CAUSALPRUNE_CACHE`, else the usual cache folder of the system.
    """
    chosen = cache_dir or os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return Path(require("pooch").os_cache("causalprune"))


def require(module: str) -> ModuleType:
    """Import an optional library, or say how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This dataset needs the package {module.partition('.')[0]!r}: "
            "pip install 'causalprune-lib[data]'"
        ) from error


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_hash(path: Path, expected: str, *, where: str) -> None:
    """Raise `CorruptDataError` unless `path` has the sha256 `expected`; `where` names the file."""
    got = sha256_of(path)
    if got != expected:
        raise CorruptDataError(
            f"{where} must have sha256 {expected}; got {got} ({path.stat().st_size:,} bytes). The "
            "file is corrupt or truncated: fetch it again."
        )


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Write a cache file whole or not at all; a full or read-only disk gives a clear error."""
    try:
        with replacing(path) as draft:
            yield draft
    except OSError as error:
        raise_if_cannot_write(error, path.parent)
        raise


def raise_if_cannot_write(error: OSError, folder: Path) -> None:
    """Raise the clear form of a full or read-only disk, where that is what `error` is."""
    advice = f"Set {CACHE_VARIABLE}, or pass cache_dir=, to name another folder."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        message = f"The disk of the cache {folder} is full; nothing half-written is kept."
        raise OSError(error.errno, f"{message} {advice}") from error
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        raise OSError(error.errno, f"The cache {folder} cannot be written. {advice}") from error


def check_space(folder: Path, n_bytes: int) -> None:
    """Raise before a long job if the disk of `folder` has less than `n_bytes` left."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise OSError(
            errno.ENOSPC,
            f"The cache {folder} needs {n_bytes / 1e6:,.0f} MB; its disk has {free / 1e6:,.0f} MB "
            f"left. Set {CACHE_VARIABLE}, or pass cache_dir=, to name another folder.",
        )


def unavailable(what: str, *, mirrored: str, cached: Path, url: str, why: object) -> Exception:
    """The error for a file that no place has: which file, from where, and what to set."""
    mirror = mirror_folder()
    state = "is not set" if mirror is None else f"= {mirror} does not hold it"
    return DataUnavailableError(
        f"{what} could not be found: {MIRROR_VARIABLE} {state}, the cache {cached} does not hold "
        f"it, and {url} could not be reached ({why}). Connect to the network once, or set "
        f"{MIRROR_VARIABLE} to a folder that holds {mirrored}."
    )


def fetch(
    key: str, *, cache_dir: str | os.PathLike | None = None, progress: bool = False
) -> tuple[Path, str]:
    """Find a file of `FILES`, checking its sha256.

    Returns
    -------
    path : Path
        A file with exactly the published content.
    origin : str
        "local mirror", "cache" or "network".

    Raises
    ------
    CorruptDataError
        If the mirror's file or the download has another sha256.
    DataUnavailableError
        If the file is in no mirror and no cache and cannot be downloaded.
    OSError
        If the cache's disk is full or cannot be written.
    """
    file = FILES[check_choice("key", key, FILES)]
    mirror = mirror_folder()
    if mirror is not None and (mirror / file.mirror).is_file():
        path = mirror / file.mirror
        check_hash(path, file.sha256, where=f"The mirror's file {path}")
        return path, "local mirror"
    cached = cache_folder(cache_dir) / "files" / f"{file.sha256[:12]}-{Path(file.path).name}"
    if cached.is_file() and sha256_of(cached) == file.sha256:
        return cached, "cache"
    download = require("pooch").HTTPDownloader(progressbar=progress)
    with writing(cached) as draft:
        try:
            download(file.url, str(draft), None)
        except OSError as error:  # what requests raises is an OSError too
            raise_if_cannot_write(error, cached.parent)
            raise unavailable(
                key, mirrored=file.mirror, cached=cached.parent, url=file.url, why=error
            ) from error
        check_hash(draft, file.sha256, where=f"The download of {file.url}")
    return cached, "network"


# ---- hub: Image files of the Hugging Face Hub, from a local mirror of its layout or from the Hub


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
