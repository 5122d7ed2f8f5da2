"""A tiny mirror of image files, made on the spot."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from causalprune_lib.nets import data as images
from causalprune_lib.nets import sources as hub

NAMES = [f"class {k}" for k in range(10)]


def encode(pixels: np.ndarray, form: str) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=form)
    return stream.getvalue()


def write_parquet(path: Path, pixels: np.ndarray, column: str, form: str = "PNG") -> None:
    """A parquet file as on the Hub: encoded images, labels, and the features in its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {column: {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
    cells = [{"bytes": encode(image, form), "path": None} for image in pixels]
    labels = np.arange(len(pixels)) % 10
    table = pa.table(
        {
            column: pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "label": pa.array(labels, pa.int64()),
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


@pytest.fixture
def pixels() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "train": generator.integers(0, 256, (60, 28, 28), dtype=np.uint8),
        "test": generator.integers(0, 256, (20, 28, 28), dtype=np.uint8),
    }


@pytest.fixture
def mirror(monkeypatch, tmp_path, pixels) -> Path:
    """A mirror with 60 + 20 grey images as MNIST, and an empty cache."""
    for part, values in pixels.items():
        write_parquet(
            tmp_path / "mirror/hub" / hub.HUB_SETS["mnist"].parquet(part), values, "image"
        )
    monkeypatch.setenv("CAUSALPRUNE_DATA", str(tmp_path / "mirror"))
    monkeypatch.setenv("CAUSALPRUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "mirror"


@pytest.fixture
def no_mirror(monkeypatch, mirror) -> Path:
    """The files are there, but no variable says so."""
    monkeypatch.delenv("CAUSALPRUNE_DATA")
    return mirror


@pytest.fixture
def write_images() -> Callable[..., None]:
    """`write_images(path, pixels, column, form)`, for further files."""
    return write_parquet


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """A list that grows by one with every image decoded."""
    calls, decode = [], images._decode_one
    monkeypatch.setattr(images, "_decode_one", lambda *a: calls.append(1) or decode(*a))
    return calls
