"""How much memory or disk there is, and a clear error where it is too little."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path


class Bytes(int):
    """A number of bytes that prints for people.

    >>> print(Bytes(1_691_562_000))
    1.69 GB
    """

    def __str__(self) -> str:
        for unit, scale in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
            if self >= scale:
                return f"{self / scale:.2f} {unit}"
        return f"{int(self)} bytes"


def available_memory() -> Bytes | None:
    """Bytes of memory that this machine could still give, or None where it does not say.

    MemAvailable on Linux, which counts the file cache as free; elsewhere free or installed memory.
    The limit of a container is not looked at.
    """
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return Bytes(int(line.split()[1]) * 1024)
    known = getattr(os, "sysconf_names", {})  # absent on Windows
    for name in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):
        if name in known and os.sysconf(name) > 0:
            return Bytes(os.sysconf(name) * os.sysconf("SC_PAGE_SIZE"))
    return None


def available_disk(path: Path) -> Bytes:
    """Bytes free on the disk where `path` lies or would lie."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return Bytes(shutil.disk_usage(place).free)


def check_fits(what: str, needed: int, path: Path | None, *, advice: str | None = None) -> None:
    """Raise if `needed` bytes do not fit on the disk of `path`, or in memory where it is None.

    `advice` ends the message of the OSError (errno ENOSPC) or MemoryError; by default it is what
    helps a recording.
    """
    free = available_memory() if path is None else available_disk(path)
    if free is None or needed <= free:
        return
    place, instead = "memory", "to disk"
    if path is not None:
        place, instead = f"the disk of {path}", "elsewhere"
    advice = advice or (
        f"Record fewer rows (every=), fewer weights (indices=) or {instead} (path=)."
    )
    message = f"{what} needs {Bytes(needed)}; {place} has {Bytes(free)} available. {advice}"
    raise MemoryError(message) if path is None else OSError(errno.ENOSPC, message)
