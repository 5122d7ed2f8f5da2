"""Image files and caches that are damaged, half-written, out of reach, or on a full disk."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import datasets as hugging_face
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import causalprune_lib._files as files_module
from causalprune_lib import _memory
from causalprune_lib.nets import images
from causalprune_lib.nets.data import load_dataset
from causalprune_lib.nets.images import HUB_SETS
from causalprune_lib.nets.sources import CorruptDataError, DataUnavailableError, sha256_of

N_TRAIN = 60


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.0])
def test_a_truncated_parquet_file_is_named(mirror, keep):
    path = mirror / "hub" / HUB_SETS["mnist"].parquet("train")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(CorruptDataError) as caught:
        load_dataset("mnist", progress=False)
    for fact in (str(path), "whole parquet file of ylecun/mnist", sha256_of(path)):
        assert fact in str(caught.value)
    path.write_bytes(whole)
    assert len(load_dataset("mnist", progress=False).x_train) == N_TRAIN


def png(height: int, width: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((height, width), dtype=np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def rewrite(mirror: Path, change) -> Path:
    """Change the training table of the mirror."""
    path = mirror / "hub" / HUB_SETS["mnist"].parquet("train")
    pq.write_table(change(pq.read_table(path)), path)
    return path


def replace_cell(table: pa.Table, row: int, cell: bytes) -> pa.Table:
    cells = table.column("image").to_pylist()
    cells[row]["bytes"] = cell
    return table.set_column(0, "image", pa.array(cells, table.schema.field("image").type))


def test_a_damaged_image_is_named_with_its_row(mirror):
    picture = png(28, 28)
    path = rewrite(mirror, lambda table: replace_cell(table, 41, picture[:40]))
    with pytest.raises(CorruptDataError, match=f"row 41 of the mirror's file {path} must be an im"):
        load_dataset("mnist", progress=False)
    assert not list(mirror.parent.glob("cache/images/**/*.npy"))
    assert not list(mirror.parent.glob("cache/images/**/.*"))


def test_an_image_of_another_size_is_named_with_its_row(mirror):
    picture = png(28, 30)
    rewrite(mirror, lambda table: replace_cell(table, 7, picture))
    with pytest.raises(CorruptDataError, match=r"row 7 .* of 28x28 pixels; got 28x30"):
        load_dataset("mnist", subset=(60, 10), progress=False)


def test_labels_out_of_range_are_named(mirror):
    rewrite(mirror, lambda t: t.set_column(1, "label", pa.array([10] * N_TRAIN, pa.int64())))
    with pytest.raises(CorruptDataError, match=r"must have labels 0\.\.9 .*; got labels 10\.\.10"):
        load_dataset("mnist", progress=False)


def test_a_decoding_that_is_killed_leaves_no_half_cache(mirror, monkeypatch):
    decode, seen = images._decode_one, []

    def stop_half_way(*arguments):
        seen.append(1)
        if len(seen) == 30:
            raise KeyboardInterrupt
        return decode(*arguments)

    monkeypatch.setattr(images, "_decode_one", stop_half_way)
    with pytest.raises(KeyboardInterrupt):
        load_dataset("mnist", progress=False)
    left = [path for path in mirror.parent.glob("cache/**/*") if path.is_file()]
    assert left == []
    monkeypatch.setattr(images, "_decode_one", decode)
    assert len(load_dataset("mnist", progress=False).x_train) == N_TRAIN


@pytest.mark.parametrize("keep", [0.0, 0.5])
@pytest.mark.parametrize("file", ["images.npy", "labels.npy", "facts.json"])
def test_a_damaged_cache_is_made_again(mirror, pixels, file, keep):
    load_dataset("mnist", progress=False)
    (path,) = mirror.parent.glob(f"cache/images/mnist-train-*/{file}")
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.warns(UserWarning, match=r"The cache .*mnist-train.* is damaged: it is made again"):
        data = load_dataset("mnist", preprocessing="none", progress=False)
    assert np.allclose(data.x_train[:, 0].numpy(), pixels["train"] / 255, atol=1e-6)


def test_a_full_disk_is_named_and_nothing_is_kept(mirror, monkeypatch):
    def mkstemp(*, dir, prefix, suffix):  # every draft leads to /dev/full: a real full disk
        name = Path(dir, f"{prefix}draft{suffix}")
        name.symlink_to("/dev/full")
        return files_module.os.open(name, files_module.os.O_WRONLY), str(name)

    monkeypatch.setattr(files_module.tempfile, "mkstemp", mkstemp)
    with pytest.raises(OSError, match="is full; nothing half-written") as caught:
        load_dataset("mnist", progress=False)
    assert caught.value.errno == errno.ENOSPC
    assert [path for path in mirror.parent.glob("cache/**/*") if not path.is_dir()] == []


def test_too_little_space_is_seen_before_the_first_image(mirror, monkeypatch, decoded):
    monkeypatch.setattr(_memory, "available_disk", lambda folder: _memory.Bytes(1000))
    with pytest.raises(OSError, match=r"The cache .* has 1\.00 kB available\. Set CAUSALPRUNE_CAC"):
        load_dataset("mnist", progress=False)
    assert decoded == []


def test_drafts_of_a_killed_process_are_swept(mirror):
    load_dataset("mnist", progress=False)
    (folder,) = mirror.parent.glob("cache/images/mnist-train-*")
    with files_module.replacing(folder / "images.npy") as draft:
        name = draft
        draft.touch()
    name.touch()  # as if the process had died in the block, long ago
    os.utime(name, (0, 0))
    (folder / "facts.json").unlink()
    load_dataset("mnist", progress=False)
    assert sorted(path.name for path in folder.iterdir()) == [
        "facts.json",
        "images.npy",
        "labels.npy",
    ]


def test_no_network_and_no_mirror_says_what_where_and_which_variable(monkeypatch, no_mirror):
    def unreachable(repository, **options):
        raise ConnectionError(f"Couldn't reach '{repository}' on the Hub")

    monkeypatch.setattr(hugging_face, "load_dataset_builder", unreachable)
    with pytest.raises(DataUnavailableError) as caught:
        load_dataset("tiny_imagenet")
    for fact in (
        "tiny_imagenet",
        "CAUSALPRUNE_DATA is not set",
        "https://huggingface.co/datasets/zh-plus/tiny-imagenet",
        "hub/zh-plus/tiny-imagenet/data/valid-00000-of-00001.parquet",
        "Couldn't reach",
    ):
        assert fact in str(caught.value)


def test_a_full_disk_during_the_download_is_named(monkeypatch, no_mirror):
    def full(repository, **options):
        raise RuntimeError("An error occurred") from OSError(errno.ENOSPC, "No space left")

    monkeypatch.setattr(hugging_face, "load_dataset_builder", full)
    with pytest.raises(OSError, match="is full; nothing half-written") as caught:
        load_dataset("mnist")
    assert caught.value.errno == errno.ENOSPC
