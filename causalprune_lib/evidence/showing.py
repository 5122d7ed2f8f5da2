"""Showing the library's own code on a page, so that the book never holds a copy of it."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable


def source_of(thing: Callable | type) -> str:
    """The source of a function, method or class, moved to the left margin.

    Examples
    --------
    >>> print(source_of(source_of).splitlines()[0])
    def source_of(thing: Callable | type) -> str:
    """
    return textwrap.dedent(inspect.getsource(thing)).rstrip()


def show_source(thing: Callable | type):
    """The source of `thing` as highlighted code, for the last line of a notebook cell."""
    from IPython.display import Markdown

    return Markdown(f"```python\n{source_of(thing)}\n```")
