"""A tiny mirror of image files, made on the spot, and Hugging Face's library reading it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from causalprune_lib.nets import images

NAMES = [f"class {k}" for k in range(10)]


def encode(pixels: np.ndarray, form: str = "PNG") -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=form)
    return stream.getvalue()


@pytest.fixture
def write_images() -> Callable[..., None]:
    """`write_images(path, pixels, column, form)`: a parquet file as on the Hub.

    Encoded images, labels, and the features in its metadata.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write(path: Path, pixels: np.ndarray, column: str, form: str = "PNG") -> None:
        features = {column: {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
        cells = [{"bytes": encode(image, form), "path": None} for image in pixels]
        stored = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        labels = pa.array(np.arange(len(pixels)) % 10, pa.int64())
        table = pa.table({column: pa.array(cells, stored), "label": labels})
        described = {"huggingface": json.dumps({"info": {"features": features}})}
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.replace_schema_metadata(described), path)

    return write


@pytest.fixture
def pixels() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "train": generator.integers(0, 256, (60, 28, 28), dtype=np.uint8),
        "test": generator.integers(0, 256, (20, 28, 28), dtype=np.uint8),
    }


@pytest.fixture
def mirror(monkeypatch, tmp_path, pixels, write_images) -> Path:
    """A mirror with 60 + 20 grey images as MNIST, and an empty cache."""
    for part, values in pixels.items():
        file = images.HUB_SETS["mnist"].parquet(part)
        write_images(tmp_path / "mirror/hub" / file, values, "image")
    monkeypatch.setenv("CAUSALPRUNE_DATA", str(tmp_path / "mirror"))
    monkeypatch.setenv("CAUSALPRUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "mirror"


@pytest.fixture
def no_mirror(monkeypatch, mirror) -> Path:
    """The files are there, but no variable says so."""
    monkeypatch.delenv("CAUSALPRUNE_DATA")
    return mirror


@pytest.fixture
def hub_from_folder(monkeypatch, no_mirror) -> None:
    """Hugging Face's own builder, reading the files of the mirror as if they were the Hub's."""
    import datasets

    original = datasets.load_dataset_builder

    def build(repository: str, *, cache_dir: str):
        hub_set = images.HUB_SETS[repository.split("/")[-1]]
        return original(str(no_mirror / "hub" / repository / hub_set.folder), cache_dir=cache_dir)

    monkeypatch.setattr(datasets, "load_dataset_builder", build)


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """A list that grows by one with every image decoded."""
    calls, decode = [], images._decode_one
    monkeypatch.setattr(images, "_decode_one", lambda *a: calls.append(1) or decode(*a))
    return calls
