"""Structured pruning: whole filters and neurons, taken out so that the network is smaller.

An unstructured mask leaves a network as large and as slow as it was. If the coefficients of the
causal model are tied, gamma_i = gamma_j for all weights of one filter (section 5 of the causal
pruning paper, "weight-sharing"), a filter has one feature, the sum of the squared movements of its
weights,

    dL_t = sum_g gamma_g sum_{k in g} (d theta_kt)^2,

and the released rule reads: keep filter g if |sum_{k in g} sum_t w_t dL_t (d theta_kt)^2| is above
alpha sum_t w_t. So the sums of `CausalScores` are added up over the filter before their sign is
dropped. A filter that goes is removed with everything that belongs to it; see `structured_graph`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import prune

from causalprune_lib._validation import check_choice, check_shape
from causalprune_lib.nets.parameters import PRUNABLE_MODULES, ParameterLayout
from causalprune_lib.nets.training import in_mode, try_forward
from causalprune_lib.pruning.causal import record_scores
from causalprune_lib.pruning.masks import Masks, clone_model, remove_masks
from causalprune_lib.pruning.select import masks_from_scores

# ---- structured_graph: Which parts of a network belong to one filter or neuron, and the network


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


# ---- structured: Structured pruning: whole filters and neurons, taken out so that the network is


SUMS = {"released": "sums", "movement": "movement"}


def causal_structured(
    model: nn.Module,
    amount: float | int | None = None,
    *,
    example: torch.Tensor,
    data: object | None = None,
    importance_scores: Mapping[str, torch.Tensor] | None = None,
    alpha: float | None = None,
    kind: str = "released",
    scope: str = "layer",
    like: Masks | None = None,
    floor: float | int = 0,
    ignore: Sequence[str] = (),
    **options: object,
) -> nn.Module:
    """A smaller network: `model` without the filters and neurons of lowest score.

    `model` is not changed, and the weights of the smaller network are its own, as they are: after
    pretraining they are the ones that algorithm 1 rewinds to. Call it again on the result for
    another round.

    Parameters
    ----------
    model : nn.Module
        Any network that torch-pruning can trace.
    amount : float or int, optional
        Fraction or number of filters to remove, of each layer or (`scope="global"`) of all. Left
        out with `scope="like"` and with `alpha`.
    example : tensor (B, ...)
        A batch that shows how data walk through the network.
    data : Dataset or (x, y)
        A copy of the model is trained on it and recorded; see `record_scores`. Not needed with
        `importance_scores`.
    importance_scores : dict of str to tensor, optional
        Scores of single weights, higher = kept, added up over each filter: magnitude or random
        ones for a control.
    alpha : float, optional
        The L1 coefficient of the tied rule, instead of an amount.
    kind : {"released", "movement"}
        Rank by the released rule's sums, or by movement alone.
    scope, like, floor, ignore
        As in `filter_masks`.
    **options
        Those of `record_scores`: `epochs`, `batch_size`, `loss`, `seed`, `lr` and so on.

    Returns
    -------
    nn.Module
        A new network.

    Raises
    ------
    ImportError
        torch-pruning is not installed.
    ValueError
        A layer would lose its last filter, and `floor` is 0.

    Examples
    --------
    >>> from causalprune_lib.nets.models import build_model
    >>> from causalprune_lib.pruning.scores import magnitude_scores
    >>> model = build_model("mlp", shape=(4,), n_classes=3, hidden=[8])
    >>> small = causal_structured(
    ...     model, 0.5, example=torch.zeros(1, 4), importance_scores=magnitude_scores(model)
    ... )
    >>> small.fc1, small.fc2.in_features
    (Linear(in_features=4, out_features=4, bias=True), 4)
    """
    check_choice("kind", kind, SUMS)
    chosen = {"example": example, "scope": scope, "like": like, "floor": floor, "ignore": ignore}
    if importance_scores is not None:
        if options or alpha is not None or data is not None:
            given = [*options, *["alpha"] * (alpha is not None), *["data"] * (data is not None)]
            raise TypeError(f"With importance_scores nothing is recorded; got {given}.")
        masks = filter_masks(model, importance_scores, amount, **chosen)
        return remove_filters(model, masks, example=example)
    if data is None:
        raise ValueError("data must be given, or importance_scores; got neither.")
    if alpha is not None and kind != "released":
        raise ValueError(f"alpha needs kind='released'; got kind={kind!r}.")
    recorded = record_scores(model, data, **options)
    threshold = None if alpha is None else alpha * recorded.total_step
    sums = getattr(recorded, SUMS[kind])
    masks = filter_masks(model, sums, amount, signed=True, threshold=threshold, **chosen)
    return remove_filters(model, masks, example=example)


def filter_masks(
    model: nn.Module,
    scores: Mapping[str, torch.Tensor],
    amount: float | int | None = None,
    *,
    example: torch.Tensor,
    scope: str = "layer",
    like: Masks | None = None,
    floor: float | int = 0,
    ignore: Sequence[str] = (),
    signed: bool = False,
    threshold: float | None = None,
) -> Masks:
    """Which numbers of a network go if the filters of lowest score go.

    Parameters
    ----------
    model, example
        As in `causal_structured`.
    scores : mapping of str to tensor
        For each prunable weight a tensor of its shape, or (R,), one score per filter.
    amount : float or int, optional
        Fraction or number of filters.
    scope : {"layer", "global", "like"}
        One ranking per layer, one over all layers, or as many filters per layer as `like` keeps.
        Layers whose outputs are added count as one.
    floor : int or float
        The least number or fraction of filters that every layer keeps.
    ignore : sequence of str
        Layers that keep all their filters. The layer that gives the output always does.
    signed : bool
        Rank by the absolute value of a filter's sum, for the sums of `CausalScores`.
    threshold : float, optional
        Keep the filters above it, instead of an amount.

    Returns
    -------
    Masks
        Of every parameter: a filter's weights and bias, its place in a normalisation, and the
        columns of the layers that read it. So masking these is the same as removing the filters,
        and `n_kept` is the number of parameters of the smaller network.

    Notes
    -----
    A layer norm or group norm mixes filters: there the smaller network differs from the masked one.
    """
    surgeon = Surgeon(model, example, ignore=ignore)
    _check_scores(model, scores, surgeon.groups)
    ranked = {group.name: group.sums(scores) for group in surgeon.groups}
    if signed:
        ranked = {name: value.abs() for name, value in ranked.items()}
    keep = _choose(ranked, amount, scope, _per_filter(like, surgeon.groups), floor, threshold)
    for name in keep.empty_layers():
        raise ValueError(
            f"a filter must be left in layer {name!r}; none of its {len(keep[name])} is (highest "
            f"score {float(ranked[name].max()):.4g}). floor=1 keeps the best one."
        )
    removed = {name: (~kept).nonzero().squeeze(1) for name, kept in keep.items()}
    return Masks(surgeon.without(removed)[1])


def remove_filters(model: nn.Module, masks: Masks, *, example: torch.Tensor) -> nn.Module:
    """A copy of `model` without the filters that `masks` (of `filter_masks`) prune.

    Its output is that of `model` under those masks, in evaluation mode, up to rounding.

    Raises
    ------
    ValueError
        If `masks` prune anything but whole filters with all that belongs to them.
    """
    surgeon = Surgeon(model, example)
    layout = ParameterLayout.of(model)
    for name in layout.names:
        check_choice("layer", name, list(masks))
    removed = {group.name: emptied(group, masks) for group in surgeon.groups}
    for group in surgeon.groups:
        if len(removed[group.name]) == group.size:
            raise ValueError(f"masks must leave a filter in layer {group.name!r}; got none.")
    small, survivors = surgeon.without(removed)
    for name, kept in masks.items():
        check_choice("layer of masks", name, survivors)
        if not torch.equal(kept.to(survivors[name].device), survivors[name]):
            raise ValueError(
                "masks must prune whole filters with their biases and the columns that read them, "
                f"as those of filter_masks do; in {name!r} they keep {int(kept.sum())} numbers "
                f"where {int(survivors[name].sum())} would be left."
            )
    return small


def _choose(
    ranked: dict[str, torch.Tensor],
    amount: float | int | None,
    scope: str,
    like: Masks | None,
    floor: float | int,
    threshold: float | None,
) -> Masks:
    if threshold is None:
        return masks_from_scores(ranked, amount, scope=scope, like=like, floor=floor)
    if amount is not None or like is not None:
        raise ValueError("alpha decides how much is pruned: amount and like must be None.")
    if threshold <= 0:
        raise ValueError(f"alpha must be > 0; got {threshold!r} after scaling.")
    best = masks_from_scores(ranked, 1.0, scope="layer", floor=floor)
    return Masks({name: best[name] | (value > threshold) for name, value in ranked.items()})


def _per_filter(like: Masks | None, groups: tuple[FilterGroup, ...]) -> Masks | None:
    """`like`, over weights, as masks over filters."""
    if like is None:
        return None
    keep = {}
    for group in groups:
        for member in group.members:
            check_choice("layer", member.weight, list(like))
        keep[group.name] = torch.ones(group.size, dtype=torch.bool)
        keep[group.name][emptied(group, like)] = False
    return Masks(keep)


def _check_scores(
    model: nn.Module, scores: Mapping[str, torch.Tensor], groups: tuple[FilterGroup, ...]
) -> None:
    shapes = {name: value.shape for name, value in ParameterLayout.of(model).tensors(model).items()}
    for member in (member for group in groups for member in group.members):
        if member.weight not in scores:
            raise ValueError(f"scores must hold every layer; {member.weight!r} is missing.")
        shape = tuple(shapes[member.weight])
        values = scores[member.weight]
        check_shape(
            f"scores[{member.weight!r}]",
            values,
            shape if values.dim() > 1 else (shape[member.axis],),
        )
