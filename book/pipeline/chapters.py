"""What stands in `book/*.md`.

A page whose header names a kernel (`kernelspec`) or `jupytext` is a text notebook; every other page
is prose. A notebook's header also says what each profile needs, under the key `causalprune`:

    causalprune:
      profiles:
        quick: {data: scikit-learn's digits, device: CPU, minutes: 1, memory: 1 GB}
        full: {data: Fashion-MNIST, device: one GPU, minutes: 20, memory: 6 GB}

Where `paper` is not there the page needs what it needs in `full`.
"""

from __future__ import annotations

import ast
import difflib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import jupytext
import yaml
from nbformat import NotebookNode

from .layout import PROFILES, BuildError, Layout

NEEDS = ("data", "device", "minutes", "memory")


@dataclass(frozen=True)
class Chapter:
    """One page of the book; `cells` is empty for prose."""

    name: str
    source: Path
    header: dict = field(repr=False)

    @property
    def is_notebook(self) -> bool:
        """Whether the page has code to run."""
        return "kernelspec" in self.header or "jupytext" in self.header

    @cached_property
    def notebook(self) -> NotebookNode:
        """The text notebook as a notebook, without outputs; not to be changed in place."""
        return jupytext.read(self.source, fmt="md:myst")

    @cached_property
    def code_cells(self) -> list[NotebookNode]:
        """The code cells, in order."""
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names assigned in the cell tagged `parameters`."""
        tagged = [c for c in self.code_cells if "parameters" in tags_of(c)]
        if len(tagged) != 1:
            raise BuildError(
                f"{self.source.name} must have one code cell tagged 'parameters'; got {len(tagged)}"
            )
        names = []
        for statement in ast.parse(tagged[0].source).body:
            targets = []
            if isinstance(statement, ast.Assign):
                targets = statement.targets
            elif isinstance(statement, ast.AnnAssign):
                targets = [statement.target]
            names += [t.id for t in targets if isinstance(t, ast.Name)]
        return tuple(names)

    def check_parameters(self, given: dict) -> None:
        """Raise if a name in `given` is not one of the notebook's parameters."""
        for name in given:
            if name in self.parameters:
                continue
            near = difflib.get_close_matches(name, self.parameters, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise BuildError(
                f"unknown parameter {name!r} for {self.source.name}; its cell tagged 'parameters' "
                f"sets {', '.join(map(repr, self.parameters)) or 'nothing'}.{hint}"
            )

    @cached_property
    def needs(self) -> dict[str, dict[str, str]]:
        """What each profile needs: profile -> data, device, minutes, memory, as declared."""
        declared = dict((self.header.get("causalprune") or {}).get("profiles") or {})
        declared.setdefault("paper", declared.get("full"))
        for profile in PROFILES:
            missing = [key for key in NEEDS if key not in (declared.get(profile) or {})]
            if missing:
                raise BuildError(
                    f"the header of {self.source.name} must say causalprune: profiles: {profile}: "
                    f"{{data, device, minutes, memory}}; missing: {', '.join(missing)}"
                )
        return {p: {key: str(declared[p][key]) for key in NEEDS} for p in PROFILES}


def tags_of(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", []))


def read_chapters(layout: Layout) -> list[Chapter]:
    """All pages of `book/`, in the order of their names."""
    return [
        Chapter(path.stem, path, _header(path, layout)) for path in sorted(layout.book.glob("*.md"))
    ]


def choose(chapters: list[Chapter], wanted: list[str]) -> list[Chapter]:
    """The notebooks named in `wanted`, by whole name or by a beginning that fits only one."""
    names = [c.name for c in chapters]
    chosen = set()
    for want in wanted:
        want = Path(want).name.removesuffix(".md").removesuffix(".ipynb")
        fits = [want] if want in names else [n for n in names if n.startswith(want)]
        if len(fits) != 1:
            near = difflib.get_close_matches(want, names, n=1, cutoff=0.3)
            hint = f" Did you mean {near[0]!r}?" if near and not fits else ""
            raise BuildError(
                f"--only must name one notebook; {want!r} fits {len(fits)} of {', '.join(names)}."
                + hint
            )
        chosen.add(fits[0])
    return [c for c in chapters if c.name in chosen]


def _header(path: Path, layout: Layout) -> dict:
    """The YAML header of a page, or an empty one."""
    text = path.read_text(encoding="utf-8")
    if not text.startswith("---\n") or "\n---" not in text[3:]:
        return {}
    try:
        header = yaml.safe_load(text[4 : text.index("\n---", 3)])
    except yaml.YAMLError as error:
        raise BuildError(f"the header of {layout.shown(path)} is not YAML: {error}") from error
    return header if isinstance(header, dict) else {}
