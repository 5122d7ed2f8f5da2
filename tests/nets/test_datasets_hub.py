"""Images from the Hugging Face Hub, with its own library reading local files in the Hub's place."""

from __future__ import annotations

import errno

import datasets as hugging_face
import pytest
import torch

from causalprune_lib.nets import sources as hub
from causalprune_lib.nets.data import load_dataset
from causalprune_lib.nets.sources import DataUnavailableError


@pytest.fixture
def hub_from_folder(monkeypatch, no_mirror):
    """Hugging Face's own builder, reading the files of the mirror as if they were the Hub's."""
    original = hugging_face.load_dataset_builder

    def build(repository: str, *, cache_dir: str):
        folder = no_mirror / "hub" / repository / hub.HUB_SETS[repository.split("/")[-1]].folder
        return original(str(folder), cache_dir=cache_dir)

    monkeypatch.setattr(hugging_face, "load_dataset_builder", build)


def test_the_hub_and_the_mirror_give_the_same_and_never_share_a_cache(
    hub_from_folder, monkeypatch, no_mirror, capsys
):
    from_hub = load_dataset("mnist", progress=False)
    assert capsys.readouterr().err == ""  # not a bar, not a word
    assert "read from huggingface.co/datasets/ylecun/mnist at " in from_hub.source
    monkeypatch.setenv("CAUSALPRUNE_DATA", str(no_mirror))
    from_mirror = load_dataset("mnist", progress=False)
    assert "local mirror" in from_mirror.source
    for part in ("x_train", "y_train", "x_test", "y_test"):
        assert torch.equal(getattr(from_hub, part), getattr(from_mirror, part))
    folders = {path.name.split("-")[2] for path in no_mirror.parent.glob("cache/images/*")}
    assert folders == {"hub", "mirror"}


def test_what_was_decoded_from_the_hub_needs_no_network_again(hub_from_folder, monkeypatch):
    first = load_dataset("mnist", subset=(20, 10), progress=False)
    monkeypatch.setattr(hugging_face, "load_dataset_builder", None)
    again = load_dataset("mnist", subset=(20, 10), progress=False)
    assert torch.equal(again.x_train, first.x_train)
    assert len(load_dataset("mnist", progress=False).x_train) == 60


def test_settings_of_the_library_are_left_as_they_were(hub_from_folder):
    counting = hugging_face.config.HF_UPDATE_DOWNLOAD_COUNTS
    load_dataset("mnist", progress=False)
    assert not hugging_face.utils.are_progress_bars_disabled()
    assert counting == hugging_face.config.HF_UPDATE_DOWNLOAD_COUNTS


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
