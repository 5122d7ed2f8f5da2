"""Showing the library's own code on a page, so that the book never holds a copy of it."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class show_source:
    """The source of a function, method or class: the last line of a notebook cell shows it.

    Examples
    --------
    >>> print(show_source(show_source.__str__))
    def __str__(self) -> str:
        return textwrap.dedent(inspect.getsource(self.thing)).rstrip()
    """

    thing: Callable | type

    def __str__(self) -> str:
        return textwrap.dedent(inspect.getsource(self.thing)).rstrip()

    def _repr_markdown_(self) -> str:  # what Jupyter shows
        return f"```python\n{self}\n```"
