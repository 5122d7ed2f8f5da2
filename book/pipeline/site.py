"""Build the site strictly, check it, and put it in place in one step.

`_build/html` is a link to a folder in `_build/sites`. A new site is made elsewhere, moved into
`sites` whole, and the link is replaced by one atomic rename: at every moment `_build/html` is one
whole site, the old or the new, whatever kills the build.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from .assemble import assemble
from .chapters import Chapter
from .checks import check_site
from .keys import digest_of_files
from .layout import BuildError, Layout

JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"
TOOLS = (
    "jupyter-book",
    "sphinx",
    "sphinx-book-theme",
    "pydata-sphinx-theme",
    "myst-nb",
    "myst-parser",
    "docutils",
    "sphinx-exercise",
    "sphinxcontrib-bibtex",
    "plotly",
)


def build_site(layout: Layout, chapters: list[Chapter], profile: str, *, force: bool) -> bool:
    """Bring `_build/html` up to date; return whether it had to be built."""
    shutil.rmtree(layout.stage, ignore_errors=True)
    source = layout.stage / "source"
    assemble(layout, chapters, profile, source)
    key = _key(source)
    if not force and published_key(layout) == key and (layout.html / "index.html").exists():
        shutil.rmtree(layout.stage)
        return False
    site = _sphinx(layout, source)
    findings = check_site(site)
    if findings:
        raise BuildError("the built pages have faults:\n" + "\n".join(f"  {f}" for f in findings))
    publish(layout, site, key)
    shutil.rmtree(layout.stage)
    return True


def published_key(layout: Layout) -> str | None:
    """The key of the site that `_build/html` shows, or None."""
    return Path(os.readlink(layout.html)).name.split(".")[0] if layout.html.is_symlink() else None


def publish(layout: Layout, site: Path, key: str) -> None:
    """Make `_build/html` show `site`; then drop the sites that nobody sees any more."""
    layout.sites.mkdir(exist_ok=True)
    home = layout.sites / f"{key}.{time.time_ns()}"
    os.rename(site, home)
    link = layout.out / ".html.new"
    link.unlink(missing_ok=True)
    link.symlink_to(home.relative_to(layout.out), target_is_directory=True)
    if layout.html.is_dir() and not layout.html.is_symlink():
        os.rename(layout.html, layout.sites / f"before.{time.time_ns()}")  # made by other means
    os.replace(link, layout.html)
    for old in layout.sites.iterdir():
        if old != home:
            shutil.rmtree(old)


def _key(source: Path) -> str:
    """The key of a site: everything Sphinx reads, and the tools that read it."""
    files = [path for path in source.rglob("*") if path.is_file()]
    here = Path(__file__).parent
    total = hashlib.sha256()
    total.update(digest_of_files(files, source).encode())
    total.update(digest_of_files(list(here.glob("*.py")), here).encode())
    total.update(repr([(tool, metadata.version(tool)) for tool in TOOLS]).encode())
    return total.hexdigest()[:16]


def _sphinx(layout: Layout, source: Path) -> Path:
    """Run Jupyter Book, with every warning an error; return the folder of the new pages."""
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", str(source)]
    command += ["--path-output", str(layout.stage), "-W", "-n", "--keep-going"]
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    answer = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        cwd=layout.stage,
        check=False,
    )
    log = answer.stdout.replace(f"{source}/", "book/")
    (layout.out / "sphinx.log").write_text(log, encoding="utf-8")
    site = layout.stage / "_build" / "html"
    if answer.returncode or not (site / "index.html").exists():
        lines = log.splitlines()
        told = [n for n in lines if "WARNING" in n or "ERROR" in n or "CRITICAL" in n]
        raise BuildError(
            "Sphinx did not accept the pages:\n"
            + "\n".join(f"  {line}" for line in (told or lines[-25:]))
            + f"\n  (all it said: {layout.shown(layout.out / 'sphinx.log')})"
        )
    return site
