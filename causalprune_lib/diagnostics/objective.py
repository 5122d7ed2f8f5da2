"""The loss over all the data as a function of the weights that are left.

`Objective` is the function whose second derivatives `hessian.py` takes and whose values
`landscape.py` draws. It copies the weights of a network once and calls the network with copies
only, so parameters, gradients and modes stay as they are, whatever happens inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.prune import BasePruningMethod

from causalprune_lib._random import seeded
from causalprune_lib._validation import check_choice, check_finite, check_int, check_shape
from causalprune_lib.dynamics.sgd_map import Batch, as_batches
from causalprune_lib.nets.guards import device_and_dtype, in_mode
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.maskset import Masks

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Objective:
    """Mean loss of `model` over `batches`, as a function of its weights, in evaluation mode.

    Parameters
    ----------
    model : nn.Module
        Where the weights are read. It is used in evaluation mode, so batch normalisation takes its
        running statistics and dropout passes everything; afterwards each part has its own mode
        back. Forward hooks of the model run in every pass, as they would in any other.
    loss : callable
        loss(output, target) -> scalar tensor, the mean over the examples of a batch.
    batches : iterable of (x, y)
        The data, read once. Batches may differ in size: each counts by its number of examples.
    which : {"all", "prunable"}
        The weights that are variables: every parameter, or the `weight` of every linear and
        convolution layer. The others are constants.
    masks : Masks, optional
        Weights that are pruned. They keep their values and are constants. Weights that the model's
        own masks prune (`apply_masks`, `torch.nn.utils.prune`) and frozen parameters are constants
        in any case.
    dtype : torch.float32 or torch.float64, optional
        Type of the computation; by default that of the model.
    seed : int
        For a model, or a data loader, that draws random numbers.

    Attributes
    ----------
    size : int
        n, the number of variables: the coordinates of the sparse subspace.
    index : tensor (n,) of int64
        Where the variables stand in the flat vector of `layout`.
    kept : tensor (P,) of bool
        False where a weight is pruned.
    layout : ParameterLayout
        Names and places of the P weights chosen by `which`.
    n_examples : int
        N.

    Raises
    ------
    ValueError
        No batch, an empty batch, a weight that is not finite, a mask for a layer that is not there
        or of another shape, or a dtype other than the two.

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 1.0)
    >>> batches = [(torch.eye(2), torch.zeros(2, 1)), (torch.zeros(1, 2), torch.zeros(1, 1))]
    >>> objective = Objective(model, nn.functional.mse_loss, batches)
    >>> round(objective(objective.start), 4)  # two errors of 1 among three examples
    0.6667
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        batches: Iterable[Batch],
        *,
        which: str = "all",
        masks: Masks | None = None,
        dtype: torch.dtype | None = None,
        seed: int = 0,
    ):
        self.model, self.loss = model, loss
        self.seed = check_int("seed", seed, minimum=0)
        self.device, own = device_and_dtype(model)
        self.dtype = own if dtype is None else dtype
        if self.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64; got {self.dtype}.")
        self.layout = ParameterLayout.of(model, which=which)
        live = self.layout.parameters(model)
        known_as = {id(parameter): name for name, parameter in model.named_parameters()}
        self._names = {name: known_as[id(parameter)] for name, parameter in live.items()}
        chosen = set(self._names.values())
        self._fixed = {
            name: self._cast(tensor.detach().clone())
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
            if name not in chosen
        }
        with torch.no_grad(), torch.inference_mode(False):
            self.theta = self.layout.flatten(live).to(self.dtype)  # (P,) a copy
        check_finite("the weights of model", self.theta)
        free = {name: torch.full_like(p, p.requires_grad).bool() for name, p in live.items()}
        self.kept = kept_weights(model, self.layout, masks)  # (P,)
        self.index = (self.kept & self.layout.flatten(free)).nonzero()[:, 0]  # (n,)
        self.batches = self._read(batches)
        self.n_examples = sum(len(x) for x, _ in self.batches)

    @property
    def size(self) -> int:
        """n, the number of variables."""
        return len(self.index)

    @property
    def start(self) -> torch.Tensor:
        """The variables' values in the model (n,)."""
        return self.theta[self.index]

    def full(self, v: torch.Tensor, *, base: torch.Tensor | None = None) -> torch.Tensor:
        """All P weights, with `v` (n,) at the variables and `base` elsewhere (default: zeros)."""
        check_shape("v", v, (self.size,))
        v = v.to(self.theta)
        if self.size == self.layout.size:
            return v
        base = torch.zeros_like(self.theta) if base is None else base
        return base.index_copy(0, self.index, v)

    def named(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        """All P weights `theta` as tensors, under the model's own names."""
        return {self._names[name]: t for name, t in self.layout.unflatten(theta).items()}

    def output(self, values: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """What the network makes of `x` with the weights `values`. To be called `at_rest`."""
        return functional_call(self.model, {**self._fixed, **values}, (x,))

    def batch_loss(self, values: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """Loss of one batch with the weights `values`. To be called `at_rest`."""
        x, y = batch
        value = self.loss(self.output(values, x), y)
        if not isinstance(value, torch.Tensor) or value.dim() != 0:
            got = tuple(value.shape) if isinstance(value, torch.Tensor) else value
            raise ValueError(f"loss must return a tensor with one number; got {got}.")
        return value

    @torch.no_grad()
    def __call__(self, v: torch.Tensor) -> float:
        """Mean loss over all examples with the variables at `v` (n,); NaN where it overflows."""
        with self.at_rest():
            return self.mean_loss(self.full(v, base=self.theta))

    def mean_loss(self, theta: torch.Tensor) -> float:
        """Mean loss over all examples at the P weights `theta`. To be called `at_rest`."""
        values = self.named(theta)
        total = math.fsum(len(b[0]) * self.batch_loss(values, b).item() for b in self.batches)
        return total / self.n_examples

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Evaluation mode and a fixed seed in the block; afterwards all is as before.

        `torch.nn.utils.prune` leaves the product of mask and weight on the module in every pass:
        the tensor that was there before comes back too.
        """
        products = [
            (module, hook._tensor_name, getattr(module, hook._tensor_name))
            for module in self.model.modules()
            for hook in module._forward_pre_hooks.values()
            if isinstance(hook, BasePruningMethod)
        ]
        try:
            with (
                in_mode(self.model, training=False),
                seeded(self.seed, self.device),
                torch.autocast(self.device.type, enabled=False),
            ):
                yield
        finally:
            for module, name, product in products:
                setattr(module, name, product)

    def _cast(self, value: torch.Tensor) -> torch.Tensor:
        return value.to(self.dtype) if value.is_floating_point() else value

    def _read(self, batches: Iterable[Batch]) -> list[Batch]:
        with seeded(self.seed, self.device):  # a data loader draws from the global generator
            listed = as_batches(batches)
        for number, (x, y) in enumerate(listed):
            if len(x) == 0 or len(x) != len(y):
                raise ValueError(
                    "batches must hold pairs (x, y) of one length of at least 1; got lengths "
                    f"{len(x)} and {len(y)} in batch {number}."
                )
        return [tuple(self._cast(part.to(self.device)) for part in batch) for batch in listed]


def kept_weights(
    model: nn.Module, layout: ParameterLayout, masks: Masks | None = None
) -> torch.Tensor:
    """(P,) True where neither the model's own masks nor `masks` prune a weight of `layout`.

    Examples
    --------
    >>> model = nn.Linear(2, 1)
    >>> keep = Masks({"weight": torch.tensor([[True, False]])})
    >>> kept_weights(model, ParameterLayout.of(model, which="all"), keep)
    tensor([ True, False,  True])
    """
    own = dict(model.named_buffers())
    keep = {
        name: own.get(f"{name}_mask", torch.ones_like(parameter)) != 0
        for name, parameter in layout.parameters(model).items()
    }
    for name in masks or ():
        check_choice("layer of masks", name, keep)
        check_shape(f"masks[{name!r}]", masks[name], tuple(keep[name].shape))
        keep[name] = keep[name] & masks[name].to(keep[name].device)
    return layout.flatten(keep)
