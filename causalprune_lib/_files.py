"""Writing files so that a reader never meets half of one, and no two write the same."""

from __future__ import annotations

import os
import platform
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

DRAFTS = ".*.part.*"  # glob pattern of the temporary files


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place only if the block ends well.

    The move is `os.replace`, atomic on one file system, after the data has reached the disk; until
    then the old file is untouched. The temporary path ends like `path`, because many writers choose
    a format, or add an ending, by the name they are given.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.part.", suffix="".join(path.suffixes)
    )
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        with draft.open("rb+") as stream:
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        draft.chmod(0o666 & ~umask)  # mkstemp makes private files; give the usual permissions
        os.replace(draft, path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()


class FileHeldError(RuntimeError):
    """Another process is writing the file; the message says which, where and since when."""


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold a file alone until the block ends; raise `FileHeldError` at once if another holds it.

    The system lets go when a process ends, even by `kill -9`. A note beside the file says who holds
    it; where a dead process left its note, a warning says that the file was taken over.
    """
    lock, note = (path.with_name(f".{path.name}.{what}") for what in ("lock", "holder"))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(lock).acquire(timeout=0)
    except Timeout:
        who = note.read_text(encoding="utf-8") if note.exists() else "another process"
        raise FileHeldError(f"{path} is held by {who}; wait for its end.") from None
    with held:
        if note.exists():
            who = note.read_text(encoding="utf-8") or "a process without a name"
            warnings.warn(f"{path} is taken over from {who}, which is dead.", stacklevel=6)
        try:
            since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
            note.write_text(f"process {os.getpid()} on {platform.node()} since {since}", "utf-8")
            yield
        finally:
            for left in (note, lock):
                with suppress(OSError):  # Windows removes the lock by itself
                    left.unlink()


def sweep_drafts(folder: Path) -> None:
    """Remove temporary files that a killed process left in `folder`, an hour ago or more."""
    for draft in folder.glob(DRAFTS):
        with suppress(OSError):  # another process may sweep at the same time
            if time.time() - draft.stat().st_mtime > 3600:
                draft.unlink()
