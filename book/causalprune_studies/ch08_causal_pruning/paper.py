"""Table 2 of the causal pruning paper at its own scale: every cell of a grid is one method.

A network takes hours here, so what several methods share is done once and kept: the training before
pruning, and the rounds of each ranking. See `phases_folder`.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from causalprune_lib._resume import Folder
from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.grid import Point, fields_of
from causalprune_lib.evidence.provenance import code_provenance, machine_provenance
from causalprune_lib.nets.data import Dataset
from causalprune_lib.nets.parameters import refresh
from causalprune_lib.nets.sources import cache_folder
from causalprune_lib.nets.training import Training, evaluate
from causalprune_lib.pruning.causal import CausalPruning, Recording
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model, masks_of
from causalprune_lib.pruning.scores import Scores, magnitude_scores, obd_scores
from causalprune_lib.pruning.select import masks_from_scores, random_masks_like
from causalprune_studies.ch08_causal_pruning.controls import repeated_amounts, shuffled_losses
from causalprune_studies.ch08_causal_pruning.study import (
    POST,
    RANDOM,
    RECORD,
    SHUFFLE,
    CausalRecipe,
    counted,
)

ITERATED = ("causal", "magnitude", "shuffled loss", "fisher")  # each in rounds of its own
AT_COUNTS = ("random", "magnitude")  # within each layer, at the counts of an iterated ranking
METHODS = (  # ranking and allocation
    ("dense", "none"),
    *((ranking, ranking) for ranking in ITERATED),
    *((ranking, allocation) for ranking in AT_COUNTS for allocation in ITERATED),
    ("fisher, one shot", "fisher, one shot"),
)


@dataclass(frozen=True)
class PaperTable2(CausalRecipe):
    """One method on one network, with the phases and the stopping rule of the paper.

    Adam trains for `epochs`; `n_iter` rounds of recorded SGD each prune `fraction` of what remains
    and rewind; Adam trains what is left until the training loss, a mean over each epoch, has not
    fallen by more than `tolerance` below its lowest for `patience` epochs in a row, for at most
    `post_epochs`.

    `ranking` and `allocation` are one of `METHODS`. With `amount` the last round prunes that much
    in all, in place of its fraction. With `l1_coeff` each causal round prunes what the released
    rule prunes at that alpha, and other rankings as much as the causal one. "fisher" is
    `obd_scores`: theta^2 sum_t (d theta_t)^2.

    Two things differ from the paper. Every layer keeps at least one weight, because a network with
    an empty layer computes nothing. And the share `validation` of the training images, stratified
    and always the same, is trained on by none, so that an epoch can be chosen without the test set.

    Metrics, on the test set: `accuracy` after the last epoch, `accuracy_validation_epoch` after the
    epoch of the highest accuracy on the validation images (the first of several; its number is
    `validation_epoch`), `accuracy_best_on_test`, the highest after any epoch, as the released code
    reports it; `accuracy_in_full`, the last network without bfloat16; `accuracy_cut`, right after
    the cut. Also `train_loss` of the last epoch, `post_epochs_run`, `stopped` (1 if the rule did
    it), `images` trained on, the seconds that the passes of each phase took, and for pruned
    networks those of `counted`.
    """

    post_epochs: int = 200
    post_batch_size: int = 512
    tolerance: float = 1e-4
    patience: int = 5
    precision: str = "bfloat16"
    validation: float = 0.1
    n_iter: int = 10
    fraction: float = 0.275
    amount: float | None = None
    l1_coeff: float | None = None
    ranking: str = "causal"
    allocation: str = "causal"

    def __post_init__(self) -> None:
        known = [" at ".join(method) for method in METHODS]
        check_choice("ranking at allocation", f"{self.ranking} at {self.allocation}", known)
        if self.amount is not None and self.l1_coeff is not None:
            raise ValueError("l1_coeff decides how much is pruned; got an amount too.")

    @property
    def training(self) -> Training:
        """The training before pruning."""
        return replace(super().training, precision=self.precision)

    @property
    def recording(self) -> Training:
        """The training that is recorded."""
        return replace(super().recording, precision=self.precision)

    @property
    def posttraining(self) -> Training:
        """The training after pruning."""
        return replace(super().posttraining, tolerance=self.tolerance, patience=self.patience)

    @property
    def most_epochs(self) -> int:
        """Epochs of all phases, if nothing is shared and the rule does not stop the last one."""
        rounds = {"none": 0, "fisher, one shot": 1, "shuffled loss": 2 * self.n_iter}
        recorded = rounds.get(self.allocation, self.n_iter) * self.prune_epochs
        return self.epochs + recorded + self.post_epochs

    def run(self, seed: int) -> Iterator[Point]:
        """Cut the network of `seed`, train on, judge."""
        yield Point(self.finished(seed)[1])

    def finished(self, seed: int) -> tuple[nn.Module, dict[str, float]]:
        """The network of `seed` after its last training, under its masks, and its metrics."""
        data, validation = self.split()
        network, seconds = self.started(data, seed=seed)
        path = phases_folder(self, seed)

        def posttrained() -> dict:
            masks, recorded = self.masks(network, data, path, seed=seed)
            pruned, metrics = self.judged(network, masks, data, validation, seed=seed)
            return {"state": stored(pruned), "metrics": metrics | {"seconds_recording": recorded}}

        name = f"{self.ranking} at {self.allocation}, {self.how}, {self.amount}"
        name = name.replace(" ", "-").replace(",", "")
        found = self.phases(seed).get(name, posttrained, n_bytes=_n_bytes(network))
        metrics = {"images": len(data.x_train), **found["metrics"]}
        pruned = restored(self.build(seed=seed), found["state"])
        return pruned, metrics | {"seconds_pretraining": seconds}

    def started(self, data: Dataset, *, seed: int) -> tuple[nn.Module, float]:
        """The network of `seed` after its first training, and the seconds that this took."""

        def pretrained() -> dict:
            fresh = self.build(seed=seed)
            history = self.train(fresh, data, seed=seed)
            return {"state": stored(fresh), "seconds": float(history.frame.seconds.sum())}

        network = self.build(seed=seed)
        found = self.phases(seed).get("pretrained", pretrained, n_bytes=_n_bytes(network))
        return restored(network, found["state"]), found["seconds"]

    def phases(self, seed: int) -> Folder:
        """What is kept of the network of `seed`."""
        return Folder(phases_folder(self, seed), lambda: shared_fields(self) | {"seed": seed})

    def split(self) -> tuple[Dataset, tuple[torch.Tensor, torch.Tensor]]:
        """The data without the validation images, and those."""
        data = self.load()
        x, y, *validation = data.split_validation(self.validation, seed=0)
        return replace(data, x_train=x, y_train=y), tuple(validation)

    @property
    def how(self) -> str:
        """What decides how much the rounds prune, as a word."""
        return f"{self.n_iter} x {self.l1_coeff or self.fraction:g}"

    def masks(
        self, network: nn.Module, data: Dataset, path: Path | None, *, seed: int
    ) -> tuple[Masks | None, float]:
        """What the method keeps of the trained `network`, and how many seconds it recorded for."""
        if self.ranking == "dense":
            return None, 0.0
        if self.ranking == "fisher, one shot":
            seen = self.record(network, data, order=seed + RECORD)
            scores = obd_scores(network, seen.scores["two_batch"].movement)
            amount = self.amount or repeated_amounts(self.fraction, self.n_iter)[-1]
            masks = masks_from_scores(scores, amount, floor=1)
            return masks, float(seen.history.frame.seconds.sum())
        rounds = self.rounds(network, data, self.allocation, path, seed=seed)
        masks, seconds = rounds.masks_, float(rounds.history_.seconds.sum())
        if self.amount is not None:
            before = [masks_of(network), *rounds.masks_by_round_][-2]
            masks = masks_from_scores(rounds.scores_, self.amount, floor=1, within=before)
        if self.ranking == self.allocation:
            return masks, seconds
        if self.ranking == "random":
            return random_masks_like(masks, seed=seed + RANDOM), seconds
        return masks_from_scores(magnitude_scores(network), scope="like", like=masks), seconds

    def rounds(
        self, network: nn.Module, data: Dataset, ranking: str, path: Path | None, *, seed: int
    ) -> CausalPruning:
        """The rounds of `ranking` on the trained `network`."""
        told = {"seed": seed, "path": path and path / f"{ranking}, {self.how}".replace(" ", "-")}
        causal = None
        if ranking == "shuffled loss" or (self.l1_coeff is not None and ranking != "causal"):
            causal = self.rounds(network, data, "causal", path, seed=seed)
        if self.l1_coeff is None:
            told["amount"] = repeated_amounts(self.fraction, self.n_iter)
        elif causal is None:
            told |= {"alpha": self.l1_coeff, "n_iter": self.n_iter}
        else:
            told["amount"] = [masks.n - masks.n_kept for masks in causal.masks_by_round_]

        def magnitude(twin: nn.Module, number: int, record: Callable[..., Recording]) -> Scores:
            record()  # each round trains as long
            return magnitude_scores(twin)

        def shuffled(twin: nn.Module, number: int, record: Callable[..., Recording]) -> Scores:
            order = seed + SHUFFLE + 100 * (number - 1)
            mixed = shuffled_losses(causal.losses_by_round_[number - 1], seed=order)
            return record(losses=mixed).scores["two_batch"].scores()

        def fisher(twin: nn.Module, number: int, record: Callable[..., Recording]) -> Scores:
            return obd_scores(twin, record().scores["two_batch"].movement)

        scores = {"causal": "released", "magnitude": magnitude}
        scores |= {"shuffled loss": shuffled, "fisher": fisher}
        return self.iterate(network, data, score=scores[ranking], **told)

    def judged(
        self,
        network: nn.Module,
        masks: Masks | None,
        data: Dataset,
        validation: tuple[torch.Tensor, torch.Tensor],
        *,
        seed: int,
    ) -> tuple[nn.Module, dict[str, float]]:
        """A copy of `network`, cut and trained on, and its metrics."""
        pruned = clone_model(network)
        if masks is not None:
            apply_masks(pruned, masks)

        def accuracy(precision: str = self.precision) -> float:
            return evaluate(pruned, data.x_test, data.y_test, precision=precision).accuracy

        cut, after = accuracy(), []
        history = self.posttraining.train(
            pruned,
            data.x_train,
            data.y_train,
            seed=seed + POST,
            validation=validation,
            on_epoch=lambda epoch: after.append(accuracy()),
        )
        chosen = int(history.frame.val_accuracy.to_numpy().argmax())
        metrics = {
            "accuracy": after[-1],
            "accuracy_validation_epoch": after[chosen],
            "accuracy_best_on_test": max(after),
            "accuracy_in_full": accuracy("full"),
            "accuracy_cut": cut,
            "train_loss": float(history.frame.train_loss.iloc[-1]),
            "validation_epoch": chosen + 1,
            "post_epochs_run": len(after),
            "stopped": float(history.stopped_early),
            "seconds_posttraining": float(history.frame.seconds.sum()),
        }
        kept = {} if masks is None else counted(masks)
        return pruned, metrics | {name: float(value) for name, value in kept.items()}


def stored(network: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of everything in `network`, on the CPU."""
    return {name: values.detach().cpu().clone() for name, values in network.state_dict().items()}


def restored(network: nn.Module, state: dict[str, torch.Tensor]) -> nn.Module:
    """`network` with everything in `state`, masks too."""
    masks = {k.removesuffix("_mask"): v.bool() for k, v in state.items() if k.endswith("_mask")}
    if masks:
        apply_masks(network, Masks(masks))
    network.load_state_dict(state)
    refresh(network)
    return network


def shared_fields(spec: PaperTable2) -> dict[str, object]:
    """The fields on which what is kept for several methods depends; the names of files say more."""
    own = ("ranking", "allocation", "amount", "l1_coeff", "fraction", "n_iter", "profile")
    shared = PaperTable2.__dataclass_fields__.keys() - own
    return {name: value for name, value in fields_of(spec).items() if name in shared}


def _n_bytes(network: nn.Module) -> int:
    """Of a network and its masks."""
    return 2 * sum(values.nbytes for values in network.state_dict().values())


def phases_folder(spec: PaperTable2, seed: int) -> Path | None:
    """Where the phases of one network are kept, in the cache; None where none may be.

    They may be reused where they are what would come out again: by the same commit with nothing
    changed, on a machine of the same kind with as many threads.
    """
    code, machine = code_provenance(), machine_provenance()
    if code["dirty"] != "False":
        return None
    told = [shared_fields(spec), seed, code, machine, torch.get_num_threads()]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder() / "phases" / f"{spec.dataset}-{spec.model}-{seed}-{digest}"


QUICK = {
    "dataset": "digits",
    "image_size": 20,
    "subset": (640, 360),
    "batch_size": 64,
    "epochs": 2,
    "prune_epochs": 1,
    "n_iter": 3,
    "post_epochs": 3,
    "post_batch_size": 64,
    "precision": "full",
}
FULL = {"dataset": "cifar10", "subset": (10_000, 10_000), "post_epochs": 40, "profile": "full"}


def methods_of(methods: Sequence[tuple[str, str]], **options: object) -> tuple[PaperTable2, ...]:
    """A spec for each ranking and allocation."""
    return tuple(PaperTable2(ranking=r, allocation=a, **options) for r, a in methods)


MAIN = (  # in the order in which they are wanted
    ("dense", "none"),
    ("causal", "causal"),
    ("random", "causal"),
    ("magnitude", "magnitude"),
    ("magnitude", "causal"),
    ("shuffled loss", "shuffled loss"),
    ("fisher, one shot", "fisher, one shot"),
)
_PRINTED = (("causal", "causal"), ("random", "causal"))  # at the amounts and L1_coeff of the paper
_LATER = (("fisher", "fisher"), ("random", "magnitude"))


def row_of_table2(
    dataset: str, fraction: float, amount: float, l1_coeff: float = 1e-14, **options: object
) -> tuple[PaperTable2, ...]:
    """A row of table 2: at the amount of its magnitude baseline, at its causal amount, at alpha."""
    same = {"dataset": dataset, "profile": "paper", **options}
    return (
        *methods_of(MAIN, **same, fraction=fraction),
        *methods_of(_PRINTED, **same, fraction=fraction, amount=amount),
        *methods_of(_PRINTED, **same, l1_coeff=l1_coeff),
        *methods_of(_LATER, **same, fraction=fraction),
    )


# A mirror may hold fewer images than Tiny ImageNet has: `images` says how many there were.
TABLE2_STUDIES: dict[str, tuple[PaperTable2, ...]] = {
    "quick": methods_of(MAIN, **QUICK),
    "full": (
        *methods_of(MAIN, **FULL),
        PaperTable2(**FULL, ranking="dense", allocation="none", precision="full"),
    ),
    "paper": (
        *row_of_table2("cifar10", 0.275, 0.963),
        *row_of_table2("fashion_mnist", 0.1, 0.6872),
        *methods_of(
            MAIN[1:], dataset="fashion_mnist", fraction=0.2589, amount=0.95, profile="paper"
        ),
        *row_of_table2("tiny_imagenet", 0.275, 0.9608),
    ),
}
