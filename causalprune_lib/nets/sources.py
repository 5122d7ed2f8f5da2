"""Where data come from: bundled files, a local mirror, the cache, then the network, in that order.

The tables of the LEGCNet paper (arXiv:2308.09955) are bundled, or have a published sha256 that is
checked at every use. Nothing is kept under its final name before it is whole.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from causalprune_lib._files import replacing

MIRROR_VARIABLE = "CAUSALPRUNE_DATA"
CACHE_VARIABLE = "CAUSALPRUNE_CACHE"
OTHER_CACHE = f"Set {CACHE_VARIABLE}, or pass cache_dir=, to name another folder."
BUNDLED = Path(__file__).parent / "bundled"  # its README says whose they are and on what terms
LEGCNET_REPOSITORY = "RAJAN13-blip/chaotic-pruning"
LEGCNET_COMMIT = "25a1d8ed96c74a13165ce1b9e270fbdd3b541548"
LEGCNET_FILES = f"https://raw.githubusercontent.com/{LEGCNET_REPOSITORY}/{LEGCNET_COMMIT}/data/"
FILES = {  # there, and in `tabular/` of a mirror
    "vowel.csv": "79e57ecf442e9b4d289e7b6635521ef61be3d719b5cec13fd566361f6fe1cbc6",
    "titanic_train.csv": "7d118fef8b6ccf7f81111877bc388536f7b1e498a655e3d649d19aaa010e9f6f",
    "titanic_test.csv": "56023b9948236f3c7a1c9448fcf418b283e109ef177fa8c7e069158dd7dd52b2",
    "titanic_testy.csv": "a2a22b5d240612a4eb4b1508110522250f193677748c32454c0f6914f3cc280e",
}


class DataUnavailableError(OSError):
    """A data file is in no mirror and no cache, and the network did not give it."""


class CorruptDataError(OSError):
    """A data file is there, but it is not the file it should be."""


def mirror_folder() -> Path | None:
    """The folder that `CAUSALPRUNE_DATA` names, or None where it is not set."""
    value = os.environ.get(MIRROR_VARIABLE)
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise NotADirectoryError(f"{MIRROR_VARIABLE} must name an existing folder; got {value!r}.")
    return folder


def mirrored(path: str) -> Path | None:
    """The mirror's copy of the file `path`, or None where there is no mirror or no copy."""
    folder = mirror_folder()
    found = None if folder is None else folder / path
    return found if found is not None and found.is_file() else None


def cache_folder(cache_dir: str | os.PathLike | None = None) -> Path:
    """`cache_dir` if given, else `$CAUSALPRUNE_CACHE`, else the system's usual cache folder."""
    chosen = cache_dir or os.environ.get(CACHE_VARIABLE)
    return Path(chosen or require("pooch").os_cache("causalprune")).expanduser()


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
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        message = f"The disk of the cache {folder} is full; nothing half-written is kept."
        raise OSError(error.errno, f"{message} {OTHER_CACHE}") from error
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        message = f"The cache {folder} cannot be written. {OTHER_CACHE}"
        raise OSError(error.errno or errno.EACCES, message) from error


def unavailable(what: str, files: str, *, cached: Path, url: str, why: object) -> Exception:
    """The error for data that no place has: which, from where, and what `files` a mirror needs."""
    mirror = mirror_folder()
    state = "is not set" if mirror is None else f"= {mirror} does not hold it"
    return DataUnavailableError(
        f"{what} could not be found: {MIRROR_VARIABLE} {state}, the cache {cached} does not hold "
        f"it, and {url} could not be reached ({why}). Connect to the network once, or set "
        f"{MIRROR_VARIABLE} to a folder that holds {files}."
    )


def find_table(file: str, *, cache_dir: str | os.PathLike | None = None) -> tuple[Path, str]:
    """A table of the LEGCNet paper's repository: its path, and where that is, in words."""
    if (bundled := BUNDLED / f"{file}.gz").is_file():
        return bundled, "copy that comes with this library"
    if (path := mirrored(f"tabular/{file}")) is not None:
        if (got := sha256_of(path)) != FILES[file]:
            raise CorruptDataError(
                f"The mirror's file {path} must have sha256 {FILES[file]}; got {got} "
                f"({path.stat().st_size:,} bytes). It is damaged: fetch it again."
            )
        return path, "local mirror"
    pooch, folder = require("pooch"), cache_folder(cache_dir) / "files"
    cached, url = folder / file, LEGCNET_FILES + file
    whole = cached.is_file() and sha256_of(cached) == FILES[file]
    if cached.is_file() and not whole:
        warnings.warn(f"The cached file {cached} is damaged: it is fetched again.", stacklevel=2)
    log, level = pooch.get_logger(), pooch.get_logger().level
    log.setLevel("WARNING")  # pages show no paths of the machine that built them
    try:
        pooch.create(path=folder, base_url=LEGCNET_FILES, registry=FILES).fetch(file)
    except OSError as error:  # what requests raises is an OSError too
        raise_if_cannot_write(error, folder)
        raise unavailable(file, f"tabular/{file}", cached=folder, url=url, why=error) from error
    except ValueError as error:  # pooch's word for another hash; it has deleted the download
        raise CorruptDataError(f"The download of {url} is damaged: {error}") from error
    finally:
        log.setLevel(level)
    return cached, "cache" if whole else "network"
