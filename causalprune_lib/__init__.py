"""Prune neural networks by the chaos and the causality of their training, with the controls.

Data walks in one direction: a network is trained (`nets`), its trajectory is recorded and read for
chaos (`dynamics`) and for causes (`causality`), the reading becomes a mask (`pruning`), the sparse
network is judged (`diagnostics`), and the judgement becomes a row in a table (`evidence`).

The public names stand in `__init__.pyi`. Each is imported from its file when it is first used, so
that `import causalprune_lib` costs next to nothing.
"""

import difflib

import lazy_loader

from causalprune_lib._moved import MOVED, moved

__version__ = "0.1.0"

_ROOMS = ("nets", "dynamics", "causality", "pruning", "diagnostics", "evidence")
_lazily, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """Import a public name or a room when it is first used."""
    if name in __all__:
        return _lazily(name)
    if name in _ROOMS:
        return __import__(f"{__name__}.{name}", fromlist=[""])
    if name in MOVED:
        return moved(name)
    near = difflib.get_close_matches(name, [*__all__, *_ROOMS], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{hint}")
