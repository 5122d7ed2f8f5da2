"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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


def sweep_drafts(folder: Path) -> None:
    """Remove temporary files that a killed process left in `folder`, an hour ago or more."""
    for draft in folder.glob(DRAFTS):
        with suppress(OSError):  # another process may sweep at the same time
            if time.time() - draft.stat().st_mtime > 3600:
                draft.unlink()
