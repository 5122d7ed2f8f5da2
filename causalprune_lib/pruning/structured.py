"""Structured pruning: whole filters and neurons, taken out so that the network is smaller.

If all weights of one filter g share one coefficient of the causal model ("weight-sharing", section
5 of the causal pruning paper, arXiv:2412.03035), dL_t = sum_g gamma_g sum_{k in g} (d theta_kt)^2,
and the released rule reads: keep g if |sum_{k in g} sum_t w_t dL_t (d theta_kt)^2| is above
alpha sum_t w_t. So the sums of `CausalScores` are added up over the filter before their sign is
dropped. A filter that goes is removed with everything that belongs to it, which torch-pruning finds
(Fang et al., "DepGraph: Towards any structural pruning", CVPR 2023).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from causalprune_lib._validation import check_choice, check_positive, check_shape
from causalprune_lib.nets.data import Dataset
from causalprune_lib.nets.parameters import PRUNABLE_MODULES, ParameterLayout
from causalprune_lib.nets.training import Pair, Training, in_mode, try_forward
from causalprune_lib.pruning.causal import RECORD, record_scores
from causalprune_lib.pruning.masks import Masks, unmasked_copy
from causalprune_lib.pruning.select import masks_from_scores


def causal_structured(
    model: nn.Module,
    amount: float | int | None = None,
    *,
    example: torch.Tensor,
    data: Dataset | Pair | None = None,
    importance_scores: Mapping[str, torch.Tensor] | None = None,
    alpha: float | None = None,
    scope: str = "layer",
    like: Masks | None = None,
    floor: float | int = 0,
    ignore: Sequence[str] = (),
    training: Training = RECORD,
    change: str = "two_batch",
    seed: int = 0,
) -> nn.Module:
    """A smaller network: `model` without the filters and neurons of lowest score.

    `model` is not changed, and the weights of the smaller network are its own, as they are: after
    pretraining they are the ones that algorithm 1 rewinds to. For another round, call it again.

    Parameters
    ----------
    model : nn.Module
        Any network that torch-pruning can trace.
    amount : float or int, optional
        Fraction or number of filters to remove, of each layer or (`scope="global"`) of all. Left
        out with `scope="like"` and with `alpha`. The last filter of a layer cannot go.
    example : tensor (B, ...)
        A batch that shows how data walk through the network.
    scope : {"layer", "global", "like"}
        One ranking per layer, one over all layers, or as many filters per layer as the masks `like`
        keep. Layers whose outputs are added count as one. The default differs from that for single
        weights: sums over filters of different sizes do not compare.
    floor : int or float
        The least number or fraction of filters that every layer keeps.
    ignore : sequence of str
        Layers that keep all their filters. The layer that gives the output always does.
    importance_scores : dict of str to tensor, optional
        Scores of single weights, higher = kept, added up over each filter: magnitude, movement or
        random ones for a control. Nothing is recorded then.
    data, alpha, training, change, seed
        As in `causal_unstructured`; the rule with `alpha` is the tied one.

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
    options = {"example": example, "scope": scope, "like": like, "floor": floor, "ignore": ignore}
    scores = importance_scores
    if scores is None:
        if data is None:
            raise ValueError("data must be given, or importance_scores; got neither.")
        if alpha is not None:
            check_positive("alpha", alpha)
        if alpha is not None and amount is not None:
            raise ValueError(f"alpha decides how much is pruned; got amount={amount} too.")
        recorded = record_scores(model, data, training, change=change, seed=seed)
        threshold = None if alpha is None else alpha * recorded.total_step
        scores, options = recorded.sums, options | {"signed": True, "threshold": threshold}
    elif alpha is not None or data is not None:
        given = "alpha" if data is None else "data"
        raise TypeError(f"With importance_scores nothing is recorded; got {given}.")
    return remove_filters(model, filter_masks(model, scores, amount, **options), example=example)


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
    """Which numbers of a network go if the filters of lowest score go; see `causal_structured`.

    `scores` hold for each prunable weight a tensor of its shape, or (R,), one score per filter. A
    filter is ranked by its sum, if `signed` (for the sums of `CausalScores`) by its absolute value.
    Instead of an amount, a `threshold` keeps the filters above it.

    The masks are of every parameter: a filter's weights and bias, its place in a normalisation, and
    the columns of the layers that read it. So `n_kept` is the number of parameters of the smaller
    network, which computes the same, but for layer and group norms.
    """
    pruner = FilterPruner(model, example, ignore=ignore)
    layout = ParameterLayout.of(model)
    shapes = dict(zip(layout.names, layout.shapes, strict=True))
    for member in (member for group in pruner.groups for member in group.members):
        name, shape = member.weight, tuple(shapes[member.weight])
        if name not in scores:
            raise ValueError(f"scores must hold every layer; {name!r} is missing.")
        needed = shape if scores[name].dim() > 1 else (shape[member.axis],)
        check_shape(f"scores[{name!r}]", scores[name], needed)
    ranked = {group.name: group.sums(scores) for group in pruner.groups}
    if signed:
        ranked = {name: value.abs() for name, value in ranked.items()}
    if threshold is None:
        counts = None if like is None else Masks({g.name: g.kept(like) for g in pruner.groups})
        keep = masks_from_scores(ranked, amount, scope=scope, like=counts, floor=floor)
    elif amount is not None or like is not None:
        raise ValueError("alpha decides how much is pruned: amount and like must be None.")
    elif threshold <= 0:
        raise ValueError(f"alpha must be > 0; got {threshold!r} after scaling.")
    else:
        best = masks_from_scores(ranked, 1.0, scope="layer", floor=floor)
        keep = Masks({name: best[name] | (value > threshold) for name, value in ranked.items()})
    for name in keep.empty_layers():
        raise ValueError(
            f"a filter must be left in layer {name!r}; none of its {len(keep[name])} is (highest "
            f"score {float(ranked[name].max()):.4g}). floor=1 keeps the best one."
        )
    return Masks(pruner.prune(keep)[1])


def remove_filters(model: nn.Module, masks: Masks, *, example: torch.Tensor) -> nn.Module:
    """A copy of `model` without the filters that `masks` (of `filter_masks`) prune.

    Its output is that of `model` under those masks, in evaluation mode, up to rounding. Masks that
    prune anything but whole filters with all that belongs to them are a ValueError.
    """
    pruner = FilterPruner(model, example)
    for name in ParameterLayout.of(model).names:
        check_choice("layer", name, list(masks))
    keep = {group.name: group.kept(masks) for group in pruner.groups}
    for name, kept in keep.items():
        if not bool(kept.any()):
            raise ValueError(f"masks must leave a filter in layer {name!r}; got none.")
    small, survivors = pruner.prune(keep)
    for name, kept in masks.items():
        check_choice("layer of masks", name, survivors)
        if not torch.equal(kept.to(survivors[name].device), survivors[name]):
            raise ValueError(
                "masks must prune whole filters with their biases and the columns that read them, "
                f"as those of filter_masks do; in {name!r} they keep {int(kept.sum())} numbers "
                f"where {int(survivors[name].sum())} would be left."
            )
    return small


@dataclass(frozen=True, eq=False)
class Member:
    """A layer's share in a group: what lies at `positions[i]` belongs to filter `filters[i]`."""

    weight: str  # its name
    axis: int  # of the weight, along which the filters lie
    positions: torch.Tensor  # (n,)
    filters: torch.Tensor  # (n,)


@dataclass(frozen=True, eq=False)
class FilterGroup:
    """Filters (or neurons) 0..size-1 that can be taken out one by one."""

    name: str  # the weight of the first member
    root: nn.Module  # the layer that torch-pruning begins at
    size: int
    members: tuple[Member, ...]  # the layers that produce them; several where outputs are added

    def sums(self, scores: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Float64 sums (size,) of `scores` over the weights (or: the one score) of each filter."""
        total = torch.zeros(self.size, dtype=torch.float64)
        for member in self.members:
            values = scores[member.weight].detach().to("cpu", torch.float64)
            if values.dim() > 1:
                values = values.movedim(member.axis, 0).flatten(1).sum(1)
            total.index_add_(0, member.filters, values[member.positions])
        return total

    def kept(self, masks: Masks) -> torch.Tensor:
        """True (size,) for the filters of which `masks` keep some weight."""
        for member in self.members:
            check_choice("layer", member.weight, list(masks))
        return self.sums(masks) > 0


class FilterPruner:
    """A copy of a model, its masks made permanent, that filters can be taken out of, once."""

    def __init__(
        self, model: nn.Module, example: torch.Tensor, *, ignore: Sequence[str] = ()
    ) -> None:
        self._copy, self._example = unmasked_copy(model), example
        layers = dict(self._copy.named_modules())
        self._ignored = {layers[check_choice("layer in ignore", n, layers)] for n in ignore}
        named = list(self._copy.named_parameters(remove_duplicate=False))
        if len({id(parameter) for _, parameter in named}) < len(named):
            raise ValueError("model must not share parameters between layers: none can be cut.")
        self._shape = tuple(self._output().shape)
        self._weights = {
            module: f"{name}.weight" if name else "weight"
            for name, module in layers.items()
            if isinstance(module, PRUNABLE_MODULES)
        }
        self._graph = self._trace()
        self.groups = self._find_groups()

    def prune(self, keep: Mapping[str, torch.Tensor]) -> tuple[nn.Module, dict[str, torch.Tensor]]:
        """The copy with the filters to `keep`, (size,) of bool by group; and what survived.

        The latter is True, in each parameter, where a number is in the smaller network.
        """
        needs_grad = {name: p.requires_grad for name, p in self._copy.named_parameters()}
        values = {name: value.detach().clone() for name, value in self._tensors().items()}
        # Every number is replaced by its position, exact in float64; what the cut leaves in place
        # then says which numbers to put back.
        for tensor in self._tensors().values():
            place = torch.arange(tensor.numel(), dtype=torch.float64, device=tensor.device)
            tensor.data = place.reshape(tensor.shape)
        for group in self.groups:
            cut = self._graph.get_pruner_of_module(group.root).prune_out_channels
            removed = (~keep[group.name]).nonzero().flatten().tolist()
            if removed:
                self._graph.get_pruning_group(group.root, cut, removed).prune()
        survivors = {}
        for name, tensor in self._tensors().items():
            place = tensor.data.long()
            tensor.data = values[name].flatten()[place]
            if name in needs_grad:
                tensor.requires_grad_(needs_grad[name])
                survived = torch.zeros(values[name].numel(), dtype=torch.bool, device=place.device)
                survived[place.flatten()] = True
                survivors[name] = survived.reshape(values[name].shape)
        check_shape("the smaller network's output", self._output(), self._shape)
        return self._copy, survivors

    def _output(self) -> torch.Tensor:
        """What the copy makes of the example, in evaluation mode."""
        with in_mode(self._copy, training=False), torch.no_grad():
            return try_forward(self._copy, self._example, "example")

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Parameters and buffers of the copy that hold numbers of filters."""
        named = dict(self._copy.named_parameters()) | dict(self._copy.named_buffers())
        return {name: t for name, t in named.items() if t.dim() and t.is_floating_point()}

    def _trace(self):
        """The dependency graph of torch-pruning, which follows gradients: none may be frozen."""
        try:
            import torch_pruning
        except ImportError as error:
            raise ImportError(
                "taking filters out of a network needs torch-pruning: pip install torch-pruning."
            ) from error
        frozen = [p for p in self._copy.parameters() if not p.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(True)
        try:
            with (
                in_mode(self._copy, training=False),
                torch.enable_grad(),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                options = {"example_inputs": self._example, "verbose": False}
                return torch_pruning.DependencyGraph().build_dependency(self._copy, **options)
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)

    def _find_groups(self) -> tuple[FilterGroup, ...]:
        """The groups whose filters may go, in the order of their first layer in the network."""
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
            root, size = found[0].dep.target.module, len(found[0].idxs)
            groups.append(FilterGroup(members[0].weight, root, size, tuple(members)))
        if not groups:
            raise ValueError(
                "model must have a layer whose filters can go: not the output's, not an ignored "
                f"one; got a {type(self._copy).__name__} with none."
            )
        return tuple(sorted(groups, key=lambda group: order.index(group.name)))

    def _reaches_output(self, module: nn.Module) -> bool:
        """Whether a filter of `module` shows in the output without a layer of weights between."""
        waiting, seen = [self._graph.module2node[module]], set()
        while waiting:
            node = waiting.pop()
            if not node.outputs:
                return True
            ahead = {id(n): n for n in node.outputs if n.module not in self._weights}
            waiting += [n for key, n in ahead.items() if key not in seen]
            seen |= ahead.keys()
        return False
