"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DRAFTS = ".*.part.*"  # glob pattern of the temporary files, for sweeping up after a killed process


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place only if the block ends well.

    The move is `os.replace`, atomic on one file system, after the data has reached the disk. If
    the block raises, or the process dies in it, the old file is untouched. The temporary path ends
    like `path`, because many writers choose a format, or add an ending, by the name they are given.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
    >>> with replacing(target) as draft:
    ...     _ = draft.write_text("whole")
    >>> target.read_text()
    'whole'
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
