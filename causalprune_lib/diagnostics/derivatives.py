"""Derivatives of derivatives, with a named error where PyTorch has none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

NOT_TWICE = ("differentiate twice", "derivative for", "not implemented")


def refuse_differentiable_once(values: Iterable[torch.Tensor]) -> None:
    """Raise if a function marked `once_differentiable` stands behind `values`.

    PyTorch raises only where such a function leads to what is differentiated. It leads nowhere, so
    its part of the derivative would be left out without a word.
    """
    todo = [value.grad_fn for value in values if value.grad_fn is not None]
    seen = set(todo)
    while todo:
        node = todo.pop()
        if node.name().endswith("Error"):
            raise ValueError(
                "model and loss must be differentiable twice; got a function that is marked "
                "once_differentiable."
            )
        ahead = {following for following, _ in node.next_functions if following is not None}
        todo.extend(ahead - seen)
        seen |= ahead


def derivative(
    values: Sequence[torch.Tensor], at: Sequence[torch.Tensor], along: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """The derivative of sum_i <values_i, along_i> by each of `at`; zeros where there is none."""
    pairs = [(value, v) for value, v in zip(values, along, strict=True) if value.requires_grad]
    if not pairs:
        return tuple(torch.zeros_like(t) for t in at)
    values, along = zip(*pairs, strict=True)
    try:
        return torch.autograd.grad(values, at, along, retain_graph=True, materialize_grads=True)
    except RuntimeError as error:
        if any(phrase in str(error) for phrase in NOT_TWICE):
            raise ValueError(
                f"model and loss must be differentiable twice; PyTorch says: {error}"
            ) from error
        raise
