"""Point the book at a fork: the repository's address everywhere it stands, in one go.

The address is one setting, `repository.url` in `_config.yml`; Jupyter Book makes the launch buttons
from it. The notebooks repeat it in their install cell, because on Colab they stand alone, and pages
may link to it. `python book/retarget.py https://github.com/you/your-fork`, or `make retarget
REPO=...`, rewrites all of them. Each file is replaced whole or not at all, and the setting is
written last, so a run that was cut short is finished by running it again. Standard library only.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETTING = re.compile(
    r"^(repository:[ \t]*\n(?:(?:[ \t].*)?\n)*?[ \t]+url[ \t]*:[ \t]*)(\S+)", re.MULTILINE
)
ADDRESS = re.compile(
    r"https://github\.com/([A-Za-z0-9](?:-?[A-Za-z0-9]){0,38})/([A-Za-z0-9._-]{1,100})"
)
# The requirement in an install cell; inside .ipynb the closing quote stands behind a backslash.
INSTALL = re.compile(r"(causalprune-lib(?:\[[a-z,]+\])? @ git\+)([^\s\"'\\@#]+)")


def parse_address(text: str) -> str:
    """Return `text` as https://github.com/OWNER/REPOSITORY; anything else is a ValueError."""
    address = text.strip().removesuffix("/").removesuffix(".git")
    match = ADDRESS.fullmatch(address)
    if match is None or match[2] in {".", ".."}:
        raise ValueError(
            "REPO must be the address of a GitHub repository, https://github.com/OWNER/REPOSITORY "
            f"(Colab opens notebooks from there); got {text!r}."
        )
    return address


def current_address(root: Path = ROOT) -> str:
    """Return `repository.url` as `_config.yml` has it now."""
    path = root / "_config.yml"
    match = SETTING.search(path.read_text(encoding="utf-8"))
    if match is None:
        raise ValueError(f"{path} has no `repository:` section with a `url:`.")
    return match[2].strip("\"'")


def files_with_address(root: Path = ROOT) -> list[Path]:
    """Return the files that may carry the address, `_config.yml` last."""
    book = sorted(p for p in (root / "book").rglob("*.md") if "_vendor" not in p.parts)
    notebooks = sorted((root / "notebooks").glob("*.ipynb"))
    top = [p for name in ("README.md", "CITATION.cff") if (p := root / name).exists()]
    return [*book, *notebooks, *top, root / "_config.yml"]


def rewrite(text: str, old: str, new: str) -> str:
    """Return `text` with `old` replaced by `new`: the address, Colab's form of it, install cells.

    An address that only begins like `old` (`OLD-2`) is another repository and stays. Install cells
    are rewritten whatever address they carry.

    >>> rewrite("see https://github.com/a/b/issues", "https://github.com/a/b", "https://github.com/c/d")
    'see https://github.com/c/d/issues'
    """
    end = r"(?:\.git\b)?(?![\w-]|\.\w)"
    text = re.sub(re.escape(old) + end, lambda _: new, text)
    colab = "https://colab.research.google.com/github/"
    old_path, new_path = (a.removeprefix("https://github.com/") for a in (old, new))
    text = re.sub(re.escape(colab + old_path) + end, lambda _: colab + new_path, text)
    return INSTALL.sub(lambda m: m[1] + new, text)


def replace_file(path: Path, text: str) -> None:
    """Write `text` to `path` through a neighbour file, keeping the file's permissions."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(name, path.stat().st_mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def retarget(address: str, root: Path = ROOT) -> list[Path]:
    """Rewrite the repository's address to `address` under `root`; return the files that changed."""
    new, old, changed = parse_address(address), current_address(root), []
    for path in files_with_address(root):
        with path.open(encoding="utf-8", newline="") as source:
            before = source.read()
        after = rewrite(before, old, new)
        if path.name == "_config.yml":
            after = SETTING.sub(lambda m: m[1] + new, after, count=1)
        if after != before:
            replace_file(path, after)
            changed.append(path)
    return changed


def main(arguments: list[str]) -> int:
    """Run from the command line; return the exit code."""
    if len(arguments) != 1:
        print("usage: python book/retarget.py https://github.com/OWNER/REPOSITORY", file=sys.stderr)
        return 2
    try:
        changed = retarget(arguments[0])
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    for path in changed:
        print(f"rewrote {path.relative_to(ROOT)}")
    if not changed:
        print(f"Nothing to change: the book points at {current_address()}")
        return 0
    print(f"{len(changed)} files now point at {current_address()}")
    print("Commit them and push; the launch buttons follow with the next build.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
