"""The phases of causal pruning on disk: a run that is killed goes on from the last finished one.

A folder holds `run.json`, what the run is, and one file for each finished phase: `pretrain.pt`,
`round-001.pt` and so on, `posttrain.pt`. A file appears whole or not at all, so it is there exactly
if its phase is finished. Nothing else has to survive: each phase starts from the files before it,
with new optimizers and a seed that depends on the run's seed and the phase alone (`phase_seed`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from causalprune_lib._files import DRAFTS, replacing
from causalprune_lib.dynamics.room import Bytes, available_disk

FORMAT = "causalprune causal pruning 1"
RUN = "run.json"
SLACK = 1 << 16  # bytes for names, headers and the history of a phase

Content = dict[str, Any]


def phase_seed(seed: int, phase: int) -> int:
    """The seed of phase 0, 1, ... of a run: a function of both, so no generator is carried over.

    Examples
    --------
    >>> phase_seed(0, 1) == phase_seed(0, 1), phase_seed(0, 1) == phase_seed(1, 0)
    (True, False)
    """
    return int(np.random.SeedSequence([seed, phase]).generate_state(1)[0])


def fingerprint(tensors: Mapping[str, torch.Tensor]) -> str:
    """A short digest of tensors: their names, shapes, types and every bit of their values.

    Examples
    --------
    >>> fingerprint({"a": torch.zeros(2)}) == fingerprint({"a": torch.zeros(2)})
    True
    >>> fingerprint({"a": torch.zeros(2)}) == fingerprint({"a": torch.ones(2)})
    False
    """
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)};".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def describe(
    options: Mapping[str, Any],
    model: nn.Module,
    data: Mapping[str, tuple[torch.Tensor, torch.Tensor] | None],
) -> dict[str, Any]:
    """All that decides the result of a run, as values for `Phases`.

    A function is known by its name, a network and data by a `fingerprint`.
    """
    run = {}
    for name, value in options.items():
        if callable(value):
            named = value if hasattr(value, "__qualname__") else type(value)
            value = f"{named.__module__}.{named.__qualname__}"
        run[name] = dict(value) if isinstance(value, Mapping) else value
    run["model"] = f"{type(model).__name__} {fingerprint(model.state_dict())}"
    for name, pair in data.items():
        run[name] = None
        if pair is not None:
            digest = fingerprint({"x": pair[0], "y": pair[1]})
            run[name] = f"{len(pair[0])} examples {digest}"
    return run


class Phases:
    """Runs the phases of one run, or takes their results from a folder.

    Parameters
    ----------
    path : path, optional
        The folder; it is made if need be. None: nothing is kept.
    run : mapping
        What the run is: its options and the fingerprints of its network and data, as JSON values.

    Raises
    ------
    FileExistsError
        The folder holds something else than a run.
    ValueError
        The folder holds another run; the error names what differs.
    """

    def __init__(self, path: str | os.PathLike | None, run: Mapping[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        if self.path is not None:
            # As a reader will find it: a tuple comes back as a list.
            self._open(json.loads(json.dumps({"format": FORMAT, **run}, default=repr)))

    def run(self, name: str, work: Callable[[], Content], *, bytes_needed: int) -> Content:
        """The result of phase `name`: from its file, or from `work()`, which is then kept.

        Parameters
        ----------
        name : str
            The file's name, without its ending.
        work : callable
            Returns a dictionary of tensors, numbers, strings, lists and dictionaries.
        bytes_needed : int
            About how large the file will be. Room for it is asked for before the work is done.

        Raises
        ------
        OSError
            The disk is full, or the file cannot be written. Earlier phases are safe.
        ValueError
            The file of the phase is damaged.
        """
        if self.path is None:
            return work()
        file = self.path / f"{name}.pt"
        if file.exists():
            return _read(file)
        free = available_disk(self.path)
        if free < bytes_needed + SLACK:
            raise OSError(
                errno.ENOSPC,
                f"phase {name!r} will need {Bytes(bytes_needed + SLACK)}; the disk of {self.path} "
                f"has {free} available. {self._safe()}",
            )
        content = work()
        try:
            with replacing(file) as draft, draft.open("wb") as stream:
                torch.save(content, stream)
        except (OSError, RuntimeError) as error:  # torch wraps what its zip writer meets
            number = error.errno if isinstance(error, OSError) else None
            raise OSError(
                number or errno.EIO,
                f"phase {name!r} could not be written to {file}: {error}. {self._safe()}",
            ) from error
        return content

    def _safe(self) -> str:
        done = sorted((f for f in self.path.glob("*.pt") if f.name[0] != "."), key=os.path.getmtime)
        kept = ", ".join(file.stem for file in done) or "none yet"
        return f"Finished phases ({kept}) are safe: make room and run it again to go on."

    def _open(self, run: Mapping[str, Any]) -> None:
        file = self.path / RUN
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"path must be a folder; {self.path} is a file.")
        if not file.exists():
            if self.path.exists() and any(not entry.match(DRAFTS) for entry in self.path.iterdir()):
                raise FileExistsError(
                    f"path must be new, empty or the folder of this run; {self.path} holds "
                    "something else."
                )
            with replacing(file) as draft:
                draft.write_text(json.dumps(run, indent=1))
            return
        try:
            found = json.loads(file.read_text())
        except ValueError as error:
            raise ValueError(f"path must be the folder of a run; {file} is damaged.") from error
        check_same(found, run, self.path)
        for draft in self.path.glob(DRAFTS):  # left by a process that was killed
            draft.unlink(missing_ok=True)


def check_same(found: Mapping[str, Any], run: Mapping[str, Any], path: Path) -> None:
    """Raise a ValueError that names each entry in which the run at `path` is another one."""
    keys = [*run, *(key for key in found if key not in run)]
    # As text, because a floor of 1 is one weight and a floor of 1.0 all of them.
    unlike = [key for key in keys if json.dumps(found.get(key)) != json.dumps(run.get(key))]
    if unlike:
        listed = "; ".join(f"{k}: {found.get(k)!r} there, {run.get(k)!r} here" for k in unlike)
        raise ValueError(
            f"path must be the folder of this run; {path} holds another one ({listed}). "
            "Choose another folder, or delete that one."
        )


def _read(file: Path) -> Content:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{file} is damaged ({error}). Delete it and the files of later phases; they will be "
            "done again."
        ) from error


def state_bytes(model: nn.Module) -> int:
    """Bytes of the tensors that a file of the model's state holds."""
    return sum(t.numel() * t.element_size() for t in model.state_dict().values())
