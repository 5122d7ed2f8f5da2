"""Finding tables: bundled, mirror, cache, network; and what happens when each is bad."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from causalprune_lib.nets import sources
from causalprune_lib.nets.sources import (
    FILES,
    CorruptDataError,
    DataUnavailableError,
    find_table,
    sha256_of,
)

CONTENT = b"a,b\n1,2\n3,4\n" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MIRROR = os.environ.get("CAUSALPRUNE_DATA", "")


class Server(ThreadingHTTPServer):
    """A web server on this machine that answers every address with `body`, and counts."""

    body: bytes = CONTENT
    announced: int | None = None
    status: int = 200
    hits: int = 0


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.hits += 1
        self.send_response(self.server.status)
        length = self.server.announced or len(self.server.body)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def world(monkeypatch, tmp_path):
    """One known file, no mirror, an empty cache, and a network that is not there."""
    monkeypatch.setattr(sources, "FILES", {"small.csv": SHA256})
    monkeypatch.setattr(sources, "LEGCNET_FILES", "http://127.0.0.1:9/")  # refuses connections
    monkeypatch.delenv("CAUSALPRUNE_DATA", raising=False)
    monkeypatch.setenv("CAUSALPRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def online(monkeypatch, server) -> Server:
    monkeypatch.setattr(sources, "LEGCNET_FILES", f"http://127.0.0.1:{server.server_port}/")
    return server


def kept(folder: Path) -> list[Path]:
    """Every file below `folder`, drafts included."""
    return [path for path in folder.rglob("*") if not path.is_dir()]


def make_mirror(monkeypatch, folder: Path, content: bytes) -> Path:
    path = folder / "mirror" / "tabular" / "small.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    monkeypatch.setenv("CAUSALPRUNE_DATA", str(folder / "mirror"))
    return path


@pytest.mark.parametrize("file", ["binary_cancer.csv", "binary_banknote.csv", "Iris.csv"])
def test_bundled_files_come_first_and_ask_nobody(monkeypatch, tmp_path, file):
    monkeypatch.setenv("CAUSALPRUNE_DATA", str(tmp_path / "nowhere"))
    path, origin = find_table(file)
    assert path == sources.BUNDLED / f"{file}.gz"
    assert "comes with this library" in origin


@pytest.mark.data
def test_every_file_to_download_is_in_the_mirror_as_published(monkeypatch):
    monkeypatch.setattr(sources, "FILES", FILES)
    monkeypatch.setenv("CAUSALPRUNE_DATA", MIRROR)
    for file, sha256 in FILES.items():
        path, origin = find_table(file)
        assert (origin, sha256_of(path)) == ("local mirror", sha256)


def test_then_the_mirror_is_read_where_it_lies(monkeypatch, tmp_path, online):
    path = make_mirror(monkeypatch, tmp_path, CONTENT)
    assert find_table("small.csv") == (path, "local mirror")
    assert online.hits == 0
    assert kept(tmp_path / "cache") == []


def test_then_the_network_once_and_the_cache_ever_after(tmp_path, online):
    path, origin = find_table("small.csv")
    assert origin == "network"
    assert path.read_bytes() == CONTENT
    assert find_table("small.csv") == (path, "cache")
    assert online.hits == 1
    assert kept(tmp_path / "cache") == [path]


def test_a_mirror_without_the_file_is_passed_over(monkeypatch, tmp_path, online):
    make_mirror(monkeypatch, tmp_path, CONTENT).unlink()
    assert find_table("small.csv")[1] == "network"


def test_an_argument_names_the_cache_before_the_variable(tmp_path, online):
    path, _ = find_table("small.csv", cache_dir=tmp_path / "mine")
    assert path.is_relative_to(tmp_path / "mine")


@pytest.mark.parametrize("bad", [CONTENT[:500], CONTENT[:-1] + b"x", b""])
def test_a_corrupt_mirror_file_is_named_with_both_hashes(monkeypatch, tmp_path, online, bad):
    path = make_mirror(monkeypatch, tmp_path, bad)
    with pytest.raises(CorruptDataError) as caught:
        find_table("small.csv")
    for fact in (str(path), SHA256, hashlib.sha256(bad).hexdigest(), f"{len(bad):,} bytes"):
        assert fact in str(caught.value)
    assert online.hits == 0  # the reader is told, not worked around


def test_a_corrupt_download_is_named_and_nothing_is_kept(tmp_path, online):
    online.body = CONTENT[:500]
    with pytest.raises(CorruptDataError) as caught:
        find_table("small.csv")
    for fact in (
        f"{sources.LEGCNET_FILES}small.csv",
        SHA256,
        hashlib.sha256(CONTENT[:500]).hexdigest(),
    ):
        assert fact in str(caught.value)
    assert kept(tmp_path / "cache") == []
    online.body = CONTENT
    assert find_table("small.csv")[0].read_bytes() == CONTENT  # a second try is clean


def test_a_download_that_breaks_off_keeps_nothing(tmp_path, online):
    online.body, online.announced = CONTENT[:500], len(CONTENT)
    with pytest.raises((CorruptDataError, DataUnavailableError), match=r"small\.csv"):
        find_table("small.csv")
    assert kept(tmp_path / "cache") == []


def test_a_damaged_cache_is_said_and_fetched_again(online):
    path, _ = find_table("small.csv")
    path.write_bytes(CONTENT[:10])
    with pytest.warns(UserWarning, match=f"The cached file {path} is damaged: it is fetched again"):
        assert find_table("small.csv") == (path, "network")
    assert path.read_bytes() == CONTENT


def test_the_library_that_downloads_is_quiet_and_its_settings_are_left_as_they_were(online, caplog):
    import pooch

    level = pooch.get_logger().level
    with caplog.at_level(logging.INFO):
        find_table("small.csv")
    assert caplog.records == []
    assert pooch.get_logger().level == level


def test_no_network_and_no_mirror_says_what_where_and_which_variable(tmp_path):
    with pytest.raises(DataUnavailableError) as caught:
        find_table("small.csv")
    facts = (
        "small.csv",
        "CAUSALPRUNE_DATA is not set",
        str(tmp_path / "cache"),
        f"{sources.LEGCNET_FILES}small.csv",
        "tabular/small.csv",
    )
    for fact in facts:
        assert fact in str(caught.value)
    assert kept(tmp_path / "cache") == []


def test_a_page_that_is_not_there_is_named(online):
    online.status = 404
    with pytest.raises(
        DataUnavailableError, match=f"{sources.LEGCNET_FILES}small.csv could not be reached .404"
    ):
        find_table("small.csv")


def full_disk(monkeypatch) -> None:
    """Make every draft a way to /dev/full, where Linux refuses each byte: a real full disk."""
    make = tempfile.NamedTemporaryFile

    def named(**options):
        made = make(**options)
        os.unlink(made.name)
        os.symlink("/dev/full", made.name)
        return made

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", named)


def test_a_full_disk_is_named_and_nothing_is_kept(monkeypatch, tmp_path, online):
    full_disk(monkeypatch)
    with pytest.raises(
        OSError, match=r"is full; nothing half-written.*CAUSALPRUNE_CACHE"
    ) as caught:
        find_table("small.csv")
    assert caught.value.errno == errno.ENOSPC
    assert str(tmp_path / "cache") in str(caught.value)
    assert kept(tmp_path / "cache") == []


def test_a_cache_that_cannot_be_written_is_named(monkeypatch, online):
    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "makedirs", refuse)
    with pytest.raises(OSError, match=r"cannot be written\. Set CAUSALPRUNE_CACHE") as caught:
        find_table("small.csv")
    assert caught.value.errno == errno.EACCES


def test_a_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ImportError, match=r"'datasets': pip install 'causalprune-lib\[data\]'"):
        sources.require("datasets")
