"""A book of two small notebooks and three prose pages, for testing the machinery in seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3 (ipykernel)
  language: python
  name: python3
causalprune:
  profiles:
    quick: {data: ten numbers, device: CPU, minutes: 1, memory: 1 GB}
    full: {data: more numbers, device: one GPU, minutes: 20, memory: 6 GB}
---

"""

PARAMETERS = """```{code-cell} ipython3
:tags: [parameters]

profile = "quick"
count = 3
```

"""

FIRST = (
    HEADER
    + """# The first chapter

Prose of the *first* chapter, which cites {cite:t}`knuth1984` and leads
to [the second](02-second.md).

:::{admonition} Goals
:class: goals
- Know what $x_t$ is.
:::

## Numbers

"""
    + PARAMETERS
    + """$$
x_{t+1} = r\\, x_t (1 - x_t), \\qquad
\\lambda = \\lim_{T \\to \\infty} \\frac1T \\sum_{t<T} \\log |r - 2 r x_t|
$$ (logistic)

Equation {eq}`logistic` in numbers.

:::{margin} A note
In the margin.
:::

```{code-cell} ipython3
import random

random.seed(count)
print("ran the first with", profile, [random.randint(0, 9) for _ in range(count)])
```

```{code-cell} ipython3
---
mystnb:
  figure:
    caption: A line that *rises*.
    name: fig-line
  image:
    alt: A line from the lower left to the upper right.
---
import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(5, 3))
ax.plot(range(count))
plt.show()
```

See {numref}`fig-line`.

:::{exercise}
:label: ex-one
How much is one and one?
:::

:::{solution} ex-one
:class: dropdown
Two.
:::

:::{admonition} Verdict: reproduced
:class: verdict
Effect 0.3, interval [0.2, 0.4].
:::

:::{admonition} Check yourself
:class: self-check
1. Is $a < b$?
:::

:::{admonition} What to remember
:class: remember
- One thing, said once.
:::
"""
)

SECOND = (
    HEADER
    + """# The second chapter

Prose of the second chapter.

## A table and a plot

"""
    + PARAMETERS
    + """```{code-cell} ipython3
import pandas as pd

pd.DataFrame({f"a long column number {i}": range(count) for i in range(8)})
```

```{code-cell} ipython3
:tags: [timing]

import time

print(time.perf_counter())
```

```{code-cell} ipython3
---
mystnb:
  image:
    alt: Three bars of one, two and three.
---
import plotly.graph_objects as go

go.Figure(go.Bar(y=[1, 2, 3]))
```
"""
)

INDEX = """# A tiny book

It has [one chapter](01-first.md) and another.

## Map

Some words about $\\theta$.
"""

REFERENCES = """# References

## All of them

```{bibliography}
```
"""

BIB = """@article{knuth1984, author = {Knuth, Donald E.}, title = {Literate Programming},
  journal = {The Computer Journal}, year = {1984}, volume = {27}, pages = {97--111}}
"""

TOC = """format: jb-book
root: index
chapters:
  - file: 01-first
  - file: 02-second
  - file: references
  - file: status
"""


def make_tiny_book(root: Path) -> Path:
    """Write the tiny book below `root`, with the real book's settings, look and extension."""
    book = root / "book"
    book.mkdir(parents=True)
    for name in ("_ext", "_static", "_vendor", "pipeline"):
        shutil.copytree(
            REPOSITORY / "book" / name, book / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(REPOSITORY / "_config.yml", root)
    shutil.copy(REPOSITORY / "book" / "status.md", book)
    pages = {"01-first.md": FIRST, "02-second.md": SECOND, "index.md": INDEX}
    pages |= {"references.md": REFERENCES, "references.bib": BIB}
    for name, text in pages.items():
        (book / name).write_text(text, encoding="utf-8")
    (root / "_toc.yml").write_text(TOC, encoding="utf-8")
    library = root / "causalprune_lib"
    library.mkdir()
    (library / "__init__.py").write_text("answer = 42\n", encoding="utf-8")
    return root
