"""Images of the Hugging Face Hub, from a mirror of its layout or from the Hub itself.

They are stored as PNG or JPEG. `ImageSplit` unpacks them once and keeps uint8 arrays in the cache.
"""

from __future__ import annotations

import errno
import io
import json
import os
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from causalprune_lib._files import sweep_drafts
from causalprune_lib._memory import check_fits
from causalprune_lib.nets.sources import (
    OTHER_CACHE,
    CorruptDataError,
    cache_folder,
    mirrored,
    raise_if_cannot_write,
    require,
    sha256_of,
    unavailable,
    writing,
)

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class HubSet:
    """A dataset on the Hub: its repository, its folder of parquet files, its test split there."""

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


class ImageSplit:
    """One split, "train" or "test": `labels` (N,) and `class_names` at once, pixels when asked for.

    `split[rows]` are images (N, C, H, W) as uint8. `shape` (C, H, W), `n_classes` and the number of
    `published` examples are what there should be; a mirror may hold fewer examples.
    """

    def __init__(
        self,
        name: str,
        part: str,
        *,
        shape: tuple[int, ...],
        n_classes: int,
        published: int,
        cache_dir: str | os.PathLike | None = None,
        progress: bool = True,
    ):
        self.name, self.part, self.shape, self.published = name, part, shape, published
        self.hub_set, self.progress = HUB_SETS[name], progress
        self._cache = cache_folder(cache_dir)
        self._path = mirrored(f"hub/{self.hub_set.parquet(part)}")
        copy = "hub" if self._path is None else f"mirror-{sha256_of(self._path)[:16]}"
        self._folder = self._cache / "images" / f"{name}-{part}-{copy}"  # copies never mix
        facts = self._read_facts()
        self._is_cached = facts is not None
        if facts is None:
            self.labels, self.facts = self._check_table(n_classes)
        else:
            self.labels, self.facts = np.load(self._folder / "labels.npy"), facts
        self.class_names = tuple(self.facts["class_names"])

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """The images of all (`slice(None)`) or of some sorted row numbers.

        From the cache where it has them. Otherwise the split is decoded whole and kept, but for at
        most half of a mirror's file, which is decoded as asked: a mirror is at hand next time too.
        """
        if not self._is_cached:
            few = isinstance(rows, np.ndarray) and 2 * len(rows) <= len(self.labels)
            if few and self._path is not None:
                return self._decode(rows)
            self._fill_cache()
        return np.load(self._folder / "images.npy", mmap_mode="r")[rows]

    @property
    def remarks(self) -> str:
        """Where the images were read, and in what this copy differs from the published one."""
        place = self.facts["from"]
        if self._path is not None:
            sha256 = self._folder.name.rpartition("-")[2][:12]
            place = f"the local mirror ({self._path.name}, sha256 {sha256})"
        notes = [f"read from {place}"]
        if len(self.labels) != self.published:
            notes.append(f"a subset of {len(self.labels):,} of {self.published:,}")
        # Tiny ImageNet is published as JPEG; the others are published without loss.
        if self.name != "tiny_imagenet" and self.facts["format"] == "JPEG":
            notes.append("a JPEG copy, not the lossless original")
        return ", ".join(notes)

    def _read_facts(self) -> dict | None:
        """The note beside cached images, or None where the cache is missing or not whole."""
        try:
            facts = json.loads((self._folder / "facts.json").read_text(encoding="utf-8"))
            images = np.load(self._folder / "images.npy", mmap_mode="r")
            labels = np.load(self._folder / "labels.npy", mmap_mode="r")
            if images.shape == (facts["n"], *self.shape) and labels.shape == (facts["n"],):
                return facts
        except FileNotFoundError:  # the usual first time
            return None
        except (OSError, ValueError, EOFError, KeyError, TypeError):
            pass
        warnings.warn(f"The cache {self._folder} is damaged: it is made again.", stacklevel=2)
        return None

    def _fill_cache(self) -> None:
        """Decode the whole split and keep it; the note comes last and marks the cache as whole."""
        needed = len(self.labels) * (int(np.prod(self.shape)) + 8) + 100_000
        check_fits(f"The cache {self._folder}", needed, self._folder, advice=OTHER_CACHE)
        sweep_drafts(self._folder)
        for name, array in (("images.npy", self._decode()), ("labels.npy", self.labels)):
            with writing(self._folder / name) as draft, draft.open("wb") as stream:
                np.save(stream, array)
        with writing(self._folder / "facts.json") as draft:
            draft.write_text(json.dumps(self.facts), encoding="utf-8")
        self._is_cached = True

    def _check_table(self, n_classes: int) -> tuple[np.ndarray, dict]:
        """The labels as stored, and the note that will stand beside the cached images."""
        table, names, where = self._opened
        labels = table.column("label").to_numpy().astype(np.int64)
        if len(names) != n_classes or labels.min() < 0 or labels.max() >= n_classes:
            raise CorruptDataError(
                f"{where} must have labels 0..{n_classes - 1} and {n_classes} class names; got "
                f"labels {labels.min()}..{labels.max()} and {len(names)} names."
            )
        form = "JPEG" if self._encoded([0])[0].as_py()[:2] == b"\xff\xd8" else "lossless"
        return labels, {"class_names": names, "format": form, "n": len(labels), "from": where}

    def _encoded(self, rows=None) -> pa.Array:
        """The stored images, all or those of `rows`, as an Arrow array of bytes."""
        table = self._opened[0]
        cells = table.column("image" if "image" in table.column_names else "img")
        return (cells if rows is None else cells.take(rows)).combine_chunks().field("bytes")

    def _decode(self, rows: np.ndarray | None = None) -> np.ndarray:
        """The images, all or those of `rows`, as `pixels`, with a progress bar."""
        require("PIL")
        cells, where = self._encoded(rows), self._opened[2]
        images = np.empty((len(cells), *self.shape), dtype=np.uint8)
        title = f"{self.name}: decoding {self.part} images"
        bar = tqdm(cells, title, unit="image", disable=not self.progress)
        for k, cell in enumerate(bar):
            row = k if rows is None else rows[k]
            images[k] = _decode_one(cell.as_py(), self.shape, f"row {row} of {where}")
        return images

    @cached_property
    def _opened(self) -> tuple[pa.Table, tuple[str, ...], str]:
        """The table of images and labels, the names of the classes, and where it was read."""
        return self._open_hub() if self._path is None else self._open_mirror(self._path)

    def _open_mirror(self, path: Path) -> tuple[pa.Table, tuple[str, ...], str]:
        pa, pq = require("pyarrow"), require("pyarrow.parquet")
        repository = self.hub_set.repository
        try:
            table = pq.read_table(path)
            features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
            names = tuple(features["label"]["names"])
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            raise CorruptDataError(
                f"The mirror's file {path} must be a whole parquet file of {repository}; got one "
                f"that cannot be read ({error}), {path.stat().st_size:,} bytes, sha256 "
                f"{sha256_of(path)}. No hash is published for it: copy it again from "
                f"huggingface.co/datasets/{repository}."
            ) from error
        return table, names, f"the mirror's file {path}"

    def _open_hub(self) -> tuple[pa.Table, tuple[str, ...], str]:
        datasets = require("datasets")
        folder, repository = self._cache / "huggingface", self.hub_set.repository
        bars = not datasets.utils.are_progress_bars_disabled()
        counting = datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
        datasets.utils.disable_progress_bars()
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
        try:
            builder = datasets.load_dataset_builder(repository, cache_dir=str(folder))
            builder.download_and_prepare()
            splits = builder.as_dataset()
        # The Hub's client raises errors of several libraries; which ones changes with its version.
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None:
                if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise_if_cannot_write(cause, folder)
                cause = cause.__cause__ or cause.__context__
            train, test = self.hub_set.parquet("train"), self.hub_set.parquet("test")
            raise unavailable(
                self.name,
                f"hub/{train} and hub/{test}",
                cached=self._cache,
                url=f"https://huggingface.co/datasets/{repository}",
                why=f"{type(error).__name__}: {error}",
            ) from error
        finally:
            datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counting
            if bars:
                datasets.utils.enable_progress_bars()
        wanted = ("train",) if self.part == "train" else self.hub_set.test
        split = splits[next(candidate for candidate in wanted if candidate in splits)]
        where = f"huggingface.co/datasets/{repository} at {builder.hash or 'its newest'}"
        return split.with_format("arrow")[:], tuple(split.features["label"].names), where


def _decode_one(cell: bytes, shape: tuple[int, ...], where: str) -> np.ndarray:
    """The pixels (C, H, W) of one PNG or JPEG image; `where` names it in an error."""
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
