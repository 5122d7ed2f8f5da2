"""Decoded images: uint8 arrays kept in the cache, so that PNG and JPEG are unpacked only once."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from causalprune_lib.nets.catalogue import DatasetInfo
from causalprune_lib.nets.hub import EncodedSplit, locate
from causalprune_lib.nets.sources import (
    CorruptDataError,
    cache_folder,
    check_space,
    require,
    writing,
)

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
