"""`replacing`: a reader meets the old file or the new one, never anything between."""

import os
import stat

import numpy as np
import pandas as pd
import pytest

from causalprune_lib._files import DRAFTS, replacing, sweep_drafts


def test_old_file_stands_until_the_block_has_ended(tmp_path):
    target = tmp_path / "note.txt"
    target.write_text("old")
    with replacing(target) as draft:
        draft.write_text("new")
        assert target.read_text() == "old"
        assert draft.parent == target.parent  # one file system, so that the move is atomic
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize("error", [ValueError("broken"), OSError(28, "No space left on device")])
def test_error_keeps_the_old_file_and_leaves_no_draft(tmp_path, error):
    target = tmp_path / "note.txt"
    target.write_text("old")

    def write_half():
        with replacing(target) as draft:
            draft.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_keyboard_interrupt_leaves_no_draft(tmp_path):
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "note.txt"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported_and_the_old_file_kept(tmp_path, monkeypatch):
    target = tmp_path / "note.txt"
    target.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), replacing(target) as draft:
        draft.write_text("new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_missing_folders_are_made(tmp_path):
    with replacing(tmp_path / "a" / "b" / "note.txt") as draft:
        draft.write_text("whole")
    assert (tmp_path / "a" / "b" / "note.txt").read_text() == "whole"


def test_permissions_are_those_of_an_ordinary_new_file(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.write_text("")
    with replacing(tmp_path / "replaced") as draft:
        draft.write_text("")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {stat.S_IMODE(ordinary.stat().st_mode)}


def test_writers_that_choose_by_the_ending_write_to_the_draft(tmp_path):
    array = np.arange(3)
    with replacing(tmp_path / "weights.npy") as draft:
        np.save(draft, array)  # adds ".npy" to any other ending
    with replacing(tmp_path / "rows.csv.gz") as draft:
        pd.DataFrame({"a": array}).to_csv(draft, index=False)  # compresses by the ending
    np.testing.assert_array_equal(np.load(tmp_path / "weights.npy"), array)
    assert (tmp_path / "rows.csv.gz").read_bytes()[:2] == b"\x1f\x8b"  # gzip's first bytes
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["note.txt", "plain", "rows.csv.gz"])
def test_drafts_can_be_found_by_their_pattern(tmp_path, name):
    (tmp_path / name).write_text("old")
    with replacing(tmp_path / name) as draft:
        assert list(tmp_path.glob(DRAFTS)) == [draft]


def test_two_writers_at_once_use_two_drafts(tmp_path):
    target = tmp_path / "note.txt"
    with replacing(target) as first, replacing(target) as second:
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"  # the outer block ends last


def test_old_drafts_are_swept_and_young_ones_and_other_files_left(tmp_path):
    drafts = []
    for name in ("old.npy", "young.npy"):
        with replacing(tmp_path / name) as draft:
            drafts.append(draft)
        draft.touch()  # as if the process had died in the block
    os.utime(drafts[0], (0, 0))
    os.utime(tmp_path / "old.npy", (0, 0))
    sweep_drafts(tmp_path)
    assert set(tmp_path.iterdir()) == {tmp_path / "old.npy", tmp_path / "young.npy", drafts[1]}
