"""How much fits in memory or on a disk, and the errors where it does not."""

import errno

import pytest

from causalprune_lib import _memory
from causalprune_lib._memory import Bytes, available_disk, available_memory, check_fits


def test_there_is_some_memory_and_some_disk_even_where_the_folder_is_not_there_yet(tmp_path):
    assert available_memory() > 0
    assert available_disk(tmp_path / "not" / "yet") > 0
    assert isinstance(available_disk(tmp_path), Bytes)


def test_what_fits_passes_and_an_unknown_memory_is_not_checked(tmp_path, monkeypatch):
    check_fits("This", 1, None)
    check_fits("This", 1, tmp_path)
    monkeypatch.setattr(_memory, "available_memory", lambda: None)
    check_fits("This", 10**18, None)


def test_too_little_memory_names_what_is_needed_and_what_there_is(monkeypatch):
    monkeypatch.setattr(_memory, "available_memory", lambda: Bytes(1000))
    match = r"This needs 2\.00 kB; memory has 1\.00 kB available\. Record fewer .* disk \(path=\)"
    with pytest.raises(MemoryError, match=match):
        check_fits("This", 2000, None)


def test_a_full_disk_is_named_with_the_advice_that_was_given(tmp_path, monkeypatch):
    monkeypatch.setattr(_memory, "available_disk", lambda path: Bytes(1000))
    check_fits("This", 1000, tmp_path)
    with pytest.raises(OSError, match=f"disk of {tmp_path} has 1.00 kB available. Go.") as caught:
        check_fits("This", 1001, tmp_path, advice="Go.")
    assert caught.value.errno == errno.ENOSPC
