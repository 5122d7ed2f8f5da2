"""What becomes of LEGCNet's claims about well-trained layers.

The criteria stand here, before the full rows; the page prints them. Seen before: networks of one
seed, in which layers 2 and 3 lay below 2 and hardly differed between masks, the initial network
lay within 2 and 6 more often than the trained ones, and no shuffled layer had traps.

Paper: arXiv:2308.09955, section 5.1, appendix A, table 4, figures 2, 4, 5 and 6.
"""

from __future__ import annotations

import pandas as pd

from causalprune_lib.evidence.statistics import t_interval
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch10_spectra.tables import INSIDE, chosen, wide
from causalprune_studies.judge import Claim, draw_verdicts, grade

PAPERS = ("dense", "LEGCNet-FT", "LEGCNet-PT")  # the networks that the paper calls well trained
MARGIN = 0.1  # of the layers


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each of `CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CLAIMS, require_full(rows))


def _range(sentence: str, rows: pd.DataFrame) -> Verdict:
    inside, shares = _inside(rows)
    papers = shares[list(PAPERS)].mean(axis=1)
    whole = float(inside[list(PAPERS)].groupby("seed").min().min(axis=1).mean())
    gap = papers - shares["initial"]
    mean, low, high = _interval(papers)
    return Verdict(
        sentence,
        grade(
            whole >= 0.9 and _interval(gap)[1] > 0,
            papers.mean() >= 0.5 and gap.mean() > 0,
        ),
        mean,
        (low, high),
        len(shares),
        f"the same networks before training: {shares['initial'].mean():.2f} of their layers lie "
        f"there. All layers of all three networks do in {whole:.0%} of the seeds",
        "of the layers",
    )


def _as_dense(sentence: str, rows: pd.DataFrame) -> Verdict:
    _, shares = _inside(rows)
    mean, low, high = _interval(shares[["LEGCNet-FT", "LEGCNet-PT"]].mean(axis=1) - shares["dense"])
    control = _interval(shares["initial"] - shares["dense"])
    passes = control[1] > -MARGIN
    return Verdict(
        sentence,
        grade(low > -MARGIN and not passes, low > -MARGIN),
        mean,
        (low, high),
        len(shares),
        f"the network before training, by the same measure {control[0]:+.2f} "
        f"({control[1]:+.2f} to {control[2]:+.2f}) against the dense one: it "
        f"{'passes' if passes else 'does not pass'}",
        "of the layers within 2 and 6, LEGCNet minus dense",
    )


def _better(sentence: str, rows: pd.DataFrame) -> Verdict:
    third = wide(chosen(rows, "pl_alpha")).xs("layer 3", level="layer")
    gaps = [third[a] - third[b] for a in PAPERS[1:] for b in ("random", "magnitude")]
    mean, low, high = _interval(sum(gaps) / len(gaps))
    seeds = (third["other"] - third["dense"]).abs().mean()
    return Verdict(
        sentence,
        grade(all(_interval(gap)[1] > 0 for gap in gaps), low > 0),
        mean,
        (low, high),
        len(third),
        f"two dense networks from different seeds: {seeds:.2f} apart in layer 3 on average",
        "in alpha of layer 3, LEGCNet minus controls",
    )


def _traps(sentence: str, rows: pd.DataFrame) -> Verdict:
    first, counted = (
        wide(chosen(rows, metric)).xs("layer 1", level="layer")
        for metric in ("trap_share", "num_traps")
    )
    papers = first[list(PAPERS)].mean(axis=1)
    mean, low, high = _interval(papers)
    return Verdict(
        sentence,
        grade(low > 0.5, _interval(papers - first["initial"])[1] > 0),
        mean,
        (low, high),
        len(first),
        f"the same layer before training: {first['initial'].mean():.3f}. WeightWatcher itself "
        f"counts {counted[list(PAPERS)].to_numpy().mean():.2f} traps in a layer. Its figure draws "
        "the orange line for every layer",
        "of the shuffled layers",
    )


def _inside(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Whether layers lie within 2 and 6, (seed, layer) by network, and the share by seed."""
    found = chosen(rows, "pl_alpha")
    inside = wide(found.assign(value=found.value.between(*INSIDE).astype(float)))
    return inside, inside.groupby("seed").mean()


def _interval(values: pd.Series) -> tuple[float, float, float]:
    """Mean over seeds, and its interval."""
    low, high = t_interval(values.to_numpy(dtype=float), 0.95)
    mean = float(values.mean())
    return mean, min(low, mean), max(high, mean)


CLAIMS = (
    Claim(
        "alpha within 2 and 6",
        "alpha lies between 2.0 and 6.0 on every layer, so the layers are well trained "
        "(section 5.1).",
        "reproduced if the dense network, LEGCNet-FT and LEGCNet-PT have all their layers within "
        "2 and 6 in at least nine seeds of ten, and the same networks before training have fewer "
        "layers there (interval of the difference above 0); partly if at least half of the layers "
        "of these networks lie there, and on average more than before training",
        _range,
    ),
    Claim(
        "as well trained as the dense network",
        "The pruned networks are as well trained as the dense one (section 5.1, figures 2 and 4).",
        "reproduced if LEGCNet-FT and LEGCNet-PT together have at most 10% fewer layers within 2 "
        "and 6 than the dense network (whole interval), and the network before training has more "
        "than that fewer; partly if the network before training passes too",
        _as_dense,
    ),
    Claim(
        "better trained than random and magnitude",
        "Random and magnitude pruning leave layers less well trained than LEGCNet does "
        "(appendix A and table 4, layer 3).",
        "reproduced if in layer 3, which the paper names, alpha is larger in LEGCNet-FT and in "
        "LEGCNet-PT than in the random and in the magnitude pruned network: all four intervals "
        "above 0; partly if only the interval of their mean is",
        _better,
    ),
    Claim(
        "correlation traps",
        "The randomised spectra show a correlation trap, an orange spike on the far right "
        "(section 5.1, figure 2).",
        "reproduced if in layer 1 of the dense network, LEGCNet-FT and LEGCNet-PT most shuffled "
        "layers have an eigenvalue beyond the 99% point of random matrices (whole interval above "
        "one half); partly if more of them have one than before training (interval of the "
        "difference above 0)",
        _traps,
    ),
)
