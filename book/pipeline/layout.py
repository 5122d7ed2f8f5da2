"""Where everything lies, how files are replaced whole, and the lock of one build at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROFILES = ("quick", "full", "paper")


class BuildError(Exception):
    """Something that stops the build and that the reader of the message can put right."""


@dataclass(frozen=True)
class Layout:
    """The paths of one book: `root` is the repository, `out` the folder of built things."""

    root: Path
    out: Path

    @classmethod
    def of(cls, root: str | os.PathLike, out: str | os.PathLike = "_build") -> Layout:
        """Check that `root` holds a book, and resolve `out` against it."""
        root = Path(root).resolve()
        for needed in ("book", "_config.yml", "_toc.yml"):
            if not (root / needed).exists():
                raise BuildError(f"--root must be a folder that holds {needed}; got {root}")
        return cls(root, (root / out).resolve())

    @property
    def book(self) -> Path:
        """The sources: text notebooks and prose pages."""
        return self.root / "book"

    @property
    def notebooks(self) -> Path:
        """The generated pairs, without outputs: what Colab opens."""
        return self.root / "notebooks"

    @property
    def html(self) -> Path:
        """The published site: a link to one of `sites`, replaced in one step."""
        return self.out / "html"

    @property
    def sites(self) -> Path:
        """The built sites, of which `html` shows one."""
        return self.out / "sites"

    @property
    def stage(self) -> Path:
        """Where the next site is being made; nobody reads it."""
        return self.out / "stage"

    @property
    def scratch(self) -> Path:
        """Empty folders in which notebooks run."""
        return self.out / "scratch"

    def executed(self, name: str, profile: str) -> Path:
        """The kept outputs of one notebook, with the record of their run."""
        return self.out / "exec" / profile / f"{name}.ipynb"

    def shown(self, path: Path) -> str:
        """`path` as a reader of the repository would name it."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


def write_whole(path: Path, text: str) -> bool:
    """Write `text` to `path` in one atomic step; return whether anything changed."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(draft, 0o666 & ~umask)
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        raise
    return True


@contextlib.contextmanager
def only_build(layout: Layout) -> Iterator[None]:
    """Hold the lock of `layout.out`; the system drops it when the process ends, however it ends."""
    layout.out.mkdir(parents=True, exist_ok=True)
    path = layout.out / ".lock"
    with path.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise BuildError(
                f"another build (process {stream.read().strip() or 'unknown'}) is working in "
                f"{layout.shown(layout.out)}; wait for it, or give this one another --out"
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        for litter in (layout.out / "exec").glob("*/.*.part"):
            litter.unlink()  # of a build that was killed
        for litter in (layout.scratch, layout.stage):
            shutil.rmtree(litter, ignore_errors=True)
        yield
