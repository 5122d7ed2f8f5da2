"""Looking at a network in mid-training without leaving a trace.

A loss that is to say what one step did must be taken on the same batch before and after it, with
the noise of training off, and must not change the training that it watches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def undisturbed(model: nn.Module, *, batch_statistics: bool = True) -> Iterator[nn.Module]:
    """Switch the noise of `model` off for a block, and leave no trace in it afterwards.

    Within the block every module is in evaluation mode, so dropout passes everything. No gradient
    is taken and autocast is off, so that two calls differ in nothing but the weights. Afterwards
    each module is back in its own mode, and running statistics and the states of torch's random
    generators are as they were, also when the block raises.

    Parameters
    ----------
    model : nn.Module
        The network to look at.
    batch_statistics : bool
        How batch normalisation works in the block. True: by the statistics of the batch, which is
        the function that a training step descends (a frozen layer, in evaluation mode, keeps its
        running statistics). False: by the running statistics, which is the network as it is used.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    >>> x = torch.randn(8, 2)
    >>> with undisturbed(model):
    ...     same = torch.equal(model(x), model(x))
    >>> same, model.training, model[1].num_batches_tracked.item()
    (True, True, 0)
    """
    modules = list(model.modules())
    modes = [module.training for module in modules]
    norms = [
        (module, module.running_mean, module.running_var)
        for module in modules
        if batch_statistics and isinstance(module, _BatchNorm) and module.training
    ]
    devices = {parameter.device for parameter in model.parameters()} - {torch.device("cpu")}
    kind = next(iter(devices)).type if devices else "cpu"
    forked = {"devices": sorted(d.index or 0 for d in devices)}
    if devices:
        forked["device_type"] = kind
    try:
        for module in modules:
            module.training = False
        for module, _, _ in norms:  # without running statistics a layer uses those of the batch
            module.running_mean = module.running_var = None
        with (
            torch.no_grad(),
            torch.random.fork_rng(**forked),
            torch.autocast(kind, enabled=False),
        ):
            yield model
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        for module, mean, variance in norms:
            module.running_mean, module.running_var = mean, variance
