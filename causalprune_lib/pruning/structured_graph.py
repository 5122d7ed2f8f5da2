"""Which parts of a network belong to one filter or neuron, and the network without some of them.

Taking a filter out of a convolution takes more than a row of its weight: its bias, its place in a
normalisation that follows, and the columns of every layer that reads it. Where two branches are
added, the filters of both stand or fall together. torch-pruning (Fang, Ma, Song, Mi and Wang,
"DepGraph: towards any structural pruning", CVPR 2023) finds what hangs together by tracing the
network; this file asks it, and keeps account of which numbers survive.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import prune

from causalprune_lib._validation import check_choice, check_shape
from causalprune_lib.nets.guards import in_mode, try_forward
from causalprune_lib.nets.parameters import PRUNABLE_MODULES, ParameterLayout
from causalprune_lib.pruning.masks import Masks, clone_model, remove_masks


@dataclass(frozen=True, eq=False)
class Member:
    """One layer's share in a group of filters: its row `rows[i]` belongs to filter `owners[i]`."""

    weight: str
    axis: int
    rows: torch.Tensor
    owners: torch.Tensor


@dataclass(frozen=True, eq=False)
class FilterGroup:
    """Filters (or neurons) 0..size-1 that can be taken out one by one.

    Attributes
    ----------
    name : str
        The weight of the first layer that produces them.
    size : int
        How many there are.
    members : tuple of Member
        The layers that produce them: one, or several where their outputs are added.
    """

    name: str
    size: int
    members: tuple[Member, ...]

    def sums(self, scores: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The sum of `scores` over the weights that produce each filter, (size,) of float64.

        A layer of one dimension is taken to hold one score per row already.
        """
        total = torch.zeros(self.size, dtype=torch.float64)
        for member in self.members:
            values = scores[member.weight].detach().to("cpu", torch.float64)
            if values.dim() > 1:
                values = values.movedim(member.axis, 0).flatten(1).sum(1)
            total.index_add_(0, member.owners, values[member.rows])
        return total


class Surgeon:
    """A copy of `model` that filters can be taken out of, once.

    Parameters
    ----------
    model : nn.Module
        Is not changed. Masks on it are made permanent in the copy.
    example : torch.Tensor, shape (B, ...)
        A batch that the model takes; what it does with it shows how its layers hang together.
    ignore : sequence of str
        Names of layers whose filters all stay, as in `model.named_modules()`.

    Raises
    ------
    ImportError
        torch-pruning is not installed.
    ValueError
        `example` does not fit, a name in `ignore` is unknown, two layers share a parameter, or no
        layer is left to take filters from.
    """

    def __init__(
        self, model: nn.Module, example: torch.Tensor, *, ignore: Sequence[str] = ()
    ) -> None:
        self._copy = clone_model(model)
        if prune.is_pruned(self._copy):
            remove_masks(self._copy)
        layers = dict(self._copy.named_modules())
        self._ignored = {layers[check_choice("layer in ignore", n, layers)] for n in ignore}
        named = list(self._copy.named_parameters(remove_duplicate=False))
        if len({id(parameter) for _, parameter in named}) < len(named):
            raise ValueError(
                "model must not share parameters between layers; filters cannot be cut."
            )
        self._example = example
        with in_mode(self._copy, training=False), torch.no_grad():
            self._outputs = try_forward(self._copy, example, "example")
        self._weights = {
            module: f"{name}.weight" if name else "weight"
            for name, module in layers.items()
            if isinstance(module, PRUNABLE_MODULES)
        }
        self._graph = self._trace()
        self._roots: dict[str, nn.Module] = {}
        self.groups = self._find_groups()

    def without(
        self, removed: Mapping[str, torch.Tensor]
    ) -> tuple[nn.Module, dict[str, torch.Tensor]]:
        """Take filters out of the copy.

        Parameters
        ----------
        removed : mapping of str to int tensor
            Numbers of filters by name of group.

        Returns
        -------
        nn.Module
            The smaller network.
        dict of str to bool tensor
            For each parameter, True where a number has survived.
        """
        copy = self._copy
        values = {
            name: value.detach().clone()
            for name, value in (*copy.named_parameters(), *copy.named_buffers())
            if value.dim() and value.is_floating_point()
        }
        needs_grad = {name: p.requires_grad for name, p in copy.named_parameters()}
        # Every number is replaced by its position, exact in float64; what the cut leaves in place
        # then says which numbers to put back.
        for tensor in _tensors(copy, values).values():
            place = torch.arange(tensor.numel(), dtype=torch.float64, device=tensor.device)
            tensor.data = place.reshape(tensor.shape)
        for name, numbers in removed.items():
            root = self._roots[name]
            cut = self._graph.get_pruner_of_module(root).prune_out_channels
            if len(numbers):
                self._graph.get_pruning_group(root, cut, numbers.tolist()).prune()
        survivors = {}
        for name, tensor in _tensors(copy, values).items():
            place = tensor.data.long()
            tensor.data = values[name].flatten()[place]
            if name in needs_grad:
                tensor.requires_grad_(needs_grad[name])
                kept = torch.zeros(values[name].numel(), dtype=torch.bool, device=place.device)
                kept[place.flatten()] = True
                survivors[name] = kept.reshape(values[name].shape)
        with in_mode(copy, training=False), torch.no_grad():
            outputs = try_forward(copy, self._example, "example")
        check_shape("the smaller network's output", outputs, tuple(self._outputs.shape))
        return copy, survivors

    def _trace(self):
        try:
            import torch_pruning
        except ImportError as error:
            raise ImportError(
                "taking filters out of a network needs torch-pruning: pip install torch-pruning."
            ) from error
        frozen = [p for p in self._copy.parameters() if not p.requires_grad]
        for parameter in frozen:  # the trace follows gradients
            parameter.requires_grad_(True)
        try:
            with (
                in_mode(self._copy, training=False),
                torch.enable_grad(),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                return torch_pruning.DependencyGraph().build_dependency(
                    self._copy, example_inputs=self._example, verbose=False
                )
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)

    def _find_groups(self) -> tuple[FilterGroup, ...]:
        order = list(ParameterLayout.of(self._copy).names)
        groups = []
        for found in self._graph.get_all_groups():
            produced = [
                item
                for item in found.items
                if item.dep.target.module in self._weights
                and self._graph.is_out_channel_pruning_fn(item.dep.handler)
            ]
            modules = {item.dep.target.module for item in produced}
            if modules & self._ignored or any(self._reaches_output(m) for m in modules):
                continue
            members = [
                Member(
                    self._weights[module := item.dep.target.module],
                    int(bool(getattr(module, "transposed", False))),
                    torch.tensor([int(i) for i in item.idxs]),
                    torch.tensor([int(i) for i in item.root_idxs]),
                )
                for item in produced
            ]
            members.sort(key=lambda member: order.index(member.weight))
            root = found[0].dep.target.module
            groups.append(FilterGroup(members[0].weight, len(found[0].idxs), tuple(members)))
            self._roots[members[0].weight] = root
        if not groups:
            raise ValueError(
                "model must have a layer whose filters can go: not the output's, not an ignored "
                f"one; got a {type(self._copy).__name__} with none."
            )
        return tuple(sorted(groups, key=lambda group: order.index(group.name)))

    def _reaches_output(self, module: nn.Module) -> bool:
        """Whether a filter of `module` shows in the output without a layer of weights between."""
        waiting, seen = list(self._graph.module2node[module].outputs), set()
        if not waiting:
            return True
        while waiting:
            node = waiting.pop()
            if id(node) in seen or node.module in self._weights:
                continue
            seen.add(id(node))
            if not node.outputs:
                return True
            waiting.extend(node.outputs)
        return False


def _tensors(model: nn.Module, names: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    present = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: present[name] for name in names}


def emptied(group: FilterGroup, masks: Masks) -> torch.Tensor:
    """Numbers of the filters of `group` of which `masks` keep no weight."""
    alive = group.sums({m.weight: masks[m.weight].double() for m in group.members})
    return (alive == 0).nonzero().squeeze(1)
