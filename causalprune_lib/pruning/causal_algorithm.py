"""Causal pruning, algorithm 1: pretrain; record, prune and rewind, N_iter times; train on.

Shah, Challa, Danda, Mathur and Saha, "A Granger-causal perspective on gradient descent with
application to pruning", arXiv:2412.03035, section 3. The defaults are the values of its released
scripts. What the released solver computes is a running sum per weight (`CausalScores`), so no
checkpoint is kept, and the L1 coefficient is one way among others to say how much is pruned.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping

import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from causalprune_lib._validation import check_choice, check_fraction, check_int, check_positive
from causalprune_lib.causality.booking import FORMS, LOSSES
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.nets.evaluation import Loss
from causalprune_lib.pruning.causal_phases import Phases, describe
from causalprune_lib.pruning.causal_recording import KINDS, steps_of_round
from causalprune_lib.pruning.causal_run import SCHEDULES, Rule, Run
from causalprune_lib.pruning.causal_training import RELEASED, Loop, Pair, TrainFn, merged, split
from causalprune_lib.pruning.masks import LayerCollapseWarning, clone_model, masks_of
from causalprune_lib.pruning.scores import Scores


class CausalPruning:
    """Algorithm 1 of the causal pruning paper, resumable.

    Parameters
    ----------
    alpha : float or dict of str to float, optional
        L1_coeff: a weight is kept if |sum_t w_t dL_t (d theta_t)^2| > alpha sum_t w_t. It has the
        unit of the sums, loss times squared weight.
    relative : bool
        `alpha` is a fraction of alpha_max, the value at which everything goes: of each layer's
        own with `scope="layer"`, of the whole network's with "global".
    amount : float, optional
        Prune the lowest scores up to this fraction of all weights, instead of `alpha`.
    schedule : {"geometric", "cubic"}
        How `amount` is reached over the rounds: `amount_schedule` or `cubic_schedule`.
    n_pre, n_iter, n_prune, n_post : int
        N_pre epochs of pretraining, N_iter rounds of N_prune recorded epochs, N_post epochs after.
    scope : {"layer", "global"}
        One ranking (or relative alpha) for each layer, or one for the whole network. An absolute
        alpha gives the same masks in both.
    floor : int or float
        The least number or fraction of weights that every layer keeps.
    kind : {"released", "movement", "correlation"}
        Scores by which `amount` ranks; see `CausalScores.scores`.
    loss : {"two_batch", "same_batch"}
        Which change of the loss is recorded; see `CausalScores`.
    form : {"vanilla", "momentum", "momentum_paper"}
        Features of a recording with momentum (`prune={"momentum": 0.9}`); see `CausalScores`.
    pre, prune, post : dict, optional
        `optimizer`, `lr`, `momentum`, `weight_decay` of the three kinds of training. Left out:
        Adam with 5e-4, SGD with 1e-3 and no momentum, Adam with 5e-4, as released.
    batch_size, criterion
        Of all training; `criterion(outputs, y)` is the loss function.
    patience : int, optional
        Stop training after pruning when the loss on a validation split has not fallen for so many
        epochs, and go back to the best one. The test set plays no part.
    validation_fraction : float
        Share of the training examples set aside for that.
    train_fn : callable, optional
        `train_fn(model, phase)`, a loop of your own for all phases; see `Phase`. `pre`, `prune`,
        `post`, `batch_size` and `patience` are then its own affair.
    n_steps : int, optional
        Steps that the optimizer makes in a round; needed where `train_fn` does not walk N_prune
        times through the data in batches of `batch_size`.
    seed : int
        Each phase derives its own from it.
    path : path, optional
        Folder for finished phases. A run that was killed goes on from there to the same masks,
        bit for bit on the same device. A round takes about 5 bytes per weight. Of a `train_fn` and
        a `criterion` only the names are compared with those of the run there.
    progress : bool
        Show bars.

    Attributes
    ----------
    masks_ : Masks
    scores_ : dict of str to tensor
        Of the last round; higher = kept. Weights pruned before it score lowest.
    alpha_max_ : dict of str to float
        Of the last round: the alpha at which a layer is empty.
    rounds_ : DataFrame
        One row per round: `round`, `amount`, `kept`, `recorded` and `dropped` steps.
    masks_by_round_ : list of Masks
        Nested.
    history_ : DataFrame
        One row per epoch of the library's own loop, with `phase` and `number`.
    rewind_state_ : dict of str to tensor
        The network after pretraining.
    model_ : nn.Module
        The network after the last phase, masked.

    Examples
    --------
    >>> x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    >>> data = (x, (x[:, 0] > 0).long())
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> short = {"n_pre": 1, "n_iter": 2, "n_prune": 2, "n_post": 1, "batch_size": 16}
    >>> pruning = CausalPruning(amount=0.75, **short, progress=False).fit(model, data)
    >>> pruning.rounds_["amount"].tolist()
    [0.5, 0.75]
    """

    def __init__(
        self,
        *,
        alpha: float | Mapping[str, float] | None = None,
        relative: bool = False,
        amount: float | None = None,
        schedule: str = "geometric",
        n_pre: int = 10,
        n_iter: int = 10,
        n_prune: int = 10,
        n_post: int = 200,
        scope: str = "layer",
        floor: float | int = 0,
        kind: str = "released",
        loss: str = "two_batch",
        form: str = "vanilla",
        pre: Mapping[str, object] | None = None,
        prune: Mapping[str, object] | None = None,
        post: Mapping[str, object] | None = None,
        batch_size: int = 512,
        criterion: Loss = cross_entropy,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        train_fn: TrainFn | None = None,
        n_steps: int | None = None,
        seed: int = 0,
        path: str | os.PathLike | None = None,
        progress: bool = True,
    ) -> None:
        if (alpha is None) == (amount is None):
            raise ValueError(
                f"Give alpha or amount, one of them; got alpha={alpha}, amount={amount}."
            )
        for name, value in alpha.items() if isinstance(alpha, Mapping) else [("", alpha)]:
            if value is not None:
                check_positive(f"alpha[{name!r}]" if name else "alpha", value)
        if amount is not None:
            amount = check_fraction("amount", amount, closed=False)
        self.alpha, self.relative, self.amount = alpha, relative, amount
        self.schedule = check_choice("schedule", schedule, SCHEDULES)
        self.n_pre = check_int("n_pre", n_pre, minimum=0)
        self.n_iter, self.n_prune = check_int("n_iter", n_iter), check_int("n_prune", n_prune)
        self.n_post = check_int("n_post", n_post, minimum=0)
        self.scope = check_choice("scope", scope, ["layer", "global"])
        self.floor, self.kind = floor, check_choice("kind", kind, KINDS)
        self.loss = check_choice("loss", loss, LOSSES)
        self.form = check_choice("form", form, FORMS)
        self.pre = merged("pre", RELEASED["pretrain"], pre)
        self.prune = merged("prune", RELEASED["record"], prune)
        self.post = merged("post", RELEASED["posttrain"], post)
        self.batch_size, self.criterion = check_int("batch_size", batch_size), criterion
        self.patience, self.validation_fraction = patience, validation_fraction
        self.train_fn, self.n_steps = train_fn, n_steps
        self.seed = check_int("seed", seed, minimum=0)
        self.path, self.progress = path, progress

    def fit(
        self,
        model: nn.Module,
        data: Dataset | Pair | None = None,
        *,
        validation: Pair | None = None,
    ) -> CausalPruning:
        """Run the algorithm on a copy of `model`, which is itself not changed.

        Parameters
        ----------
        model : nn.Module
            At its initial weights. Weights masked on it stay pruned.
        data : Dataset or (x, y)
            Training examples; of a Dataset, its training part. May be left out with a `train_fn`
            that has its own and `n_steps`.
        validation : (x, y), optional
            Examples for the validation loss, instead of a part of the training examples.

        Raises
        ------
        ValueError
            Before any training: options or data that do not fit, an amount that the floor forbids,
            a folder of another run (what differs is named). In a round: an alpha that leaves a
            layer empty.
        OSError
            The disk is full. Finished phases are safe.

        Warns
        -----
        LayerCollapseWarning
            An amount takes the last weight of a layer.
        """
        work = clone_model(model)
        pairs = split(data, validation, self.patience, self.validation_fraction, self.seed)
        run = self._run_of(work, *pairs)
        run.loop.check(work, run.data, run.validation)
        phases = Phases(self.path, self._described(run))
        run.go(phases, progress=self.progress)
        self.model_, self.rewind_state_ = work, run.start
        self.masks_by_round_, self.masks_ = run.masks, run.masks[-1]
        self.scores_: Scores = run.last["scores"]
        self.alpha_max_: dict[str, float] = run.last["alpha_max"]
        self.rounds_, self.history_ = pd.DataFrame(run.rows), pd.DataFrame(run.history)
        return self

    def _run_of(self, model: nn.Module, data: Pair | None, validation: Pair | None) -> Run:
        amounts = None
        if self.amount is not None:
            amounts = tuple(SCHEDULES[self.schedule](self.amount, self.n_iter))
        options = {"pretrain": self.pre, "record": self.prune, "posttrain": self.post}
        rule = Rule(self.alpha, self.relative, amounts, self.kind, self.scope, self.floor)
        if amounts is not None:  # says before any training what is wrong with them
            before = masks_of(model)
            level = {name: torch.zeros(mask.shape) for name, mask in before.items()}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LayerCollapseWarning)
                for amount in amounts:
                    rule.ranked(level, amount, before)
        known = ("batch_size", "train_fn", "n_steps", "loss", "form")
        given = {name: getattr(self, name) for name in known}
        n_steps = steps_of_round(data, epochs=self.n_prune, **given)
        settings = (self.batch_size, self.criterion, self.patience, self.train_fn, self.progress)
        correlation = self.kind == "correlation"
        epochs = (self.n_pre, self.n_iter, self.n_prune, self.n_post)
        return Run(
            model=model,
            loop=Loop(options, *settings),
            rule=rule,
            epochs=epochs,
            data=data,
            validation=validation,
            seed=self.seed,
            loss=self.loss,
            recording={"n_steps": n_steps, "form": self.form, "correlation": correlation},
        )

    def _described(self, run: Run) -> dict[str, object]:
        if self.path is None:
            return {}
        options = {name: value for name, value in vars(self).items() if name[-1] != "_"}
        for name in ("path", "progress"):  # do not decide the result
            del options[name]
        return describe(options, run.model, {"data": run.data, "validation": run.validation})
