"""Phases of a long run in a folder, so that a run that was killed goes on from the last one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import torch

from causalprune_lib._files import DRAFTS, replacing
from causalprune_lib._memory import check_fits


class Folder:
    """Finished phases of one run, in a folder; without a path, nothing is kept."""

    FORMAT, RUN, SLACK = "causalprune 3", "run.json", 1 << 16

    def __init__(
        self, path: str | os.PathLike | None, describe: Callable[[], Mapping[str, Any]]
    ) -> None:
        self.path = None if path is None else Path(path)
        if self.path is None:
            return
        run = json.loads(json.dumps({"format": self.FORMAT, **describe()}))  # as a reader finds it
        file = self.path / self.RUN
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
        # As text, because a floor of 1 is one weight and a floor of 1.0 all of them.
        unlike = [
            f"{key}: {found.get(key)!r} there, {run.get(key)!r} here"
            for key in {**run, **found}
            if json.dumps(found.get(key)) != json.dumps(run.get(key))
        ]
        if unlike:
            raise ValueError(
                f"path must be the folder of this run; {self.path} holds another one "
                f"({'; '.join(unlike)}). Choose another folder, or delete that one."
            )
        for draft in self.path.glob(DRAFTS):  # left by a process that was killed
            draft.unlink(missing_ok=True)

    def get(self, name: str, work: Callable[[], dict], *, n_bytes: int) -> dict[str, Any]:
        """The result of phase `name`: from its file, or from `work()`, which is then kept.

        Whether the disk has about `n_bytes` is asked before the work is done.
        """
        if self.path is None:
            return work()
        file = self.path / f"{name}.pt"
        if file.exists():
            try:
                return torch.load(file, map_location="cpu", weights_only=True)
            except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
                raise ValueError(
                    f"{file} is damaged ({error}). Delete it and the files of later phases; they "
                    "will be done again."
                ) from error
        check_fits(f"phase {name!r}", n_bytes + self.SLACK, self.path, advice=self._safe())
        found = work()
        try:
            with replacing(file) as draft, draft.open("wb") as stream:
                torch.save(found, stream)
        except (OSError, RuntimeError) as error:  # torch wraps what its zip writer meets
            number = error.errno if isinstance(error, OSError) else None
            raise OSError(
                number or errno.EIO,
                f"phase {name!r} could not be written to {file}: {error}. {self._safe()}",
            ) from error
        return found

    def _safe(self) -> str:
        done = sorted((f for f in self.path.glob("*.pt") if f.name[0] != "."), key=os.path.getmtime)
        kept = ", ".join(file.stem for file in done) or "none yet"
        return f"Finished phases ({kept}) are safe: make room and run it again to go on."


def fingerprint(tensors: Mapping[str, torch.Tensor]) -> str:
    """A short digest of tensors: their names, shapes, types and every bit of their values."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)};".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def plain(value: Any) -> Any:
    """An option as JSON can hold it; a function by its name."""
    if callable(value) and not isinstance(value, type) and not is_dataclass(value):
        named = value if hasattr(value, "__qualname__") else type(value)
        return f"{named.__module__}.{named.__qualname__}"
    if is_dataclass(value):
        return {name: plain(part) for name, part in vars(value).items()}
    return value
