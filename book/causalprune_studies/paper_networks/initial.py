"""The initial weights that the authors of LEGCNet (arXiv:2308.09955) published.

They are the objects of `init/*.npy` in the paper's repository, written out as a table of numbers
(`legcnet_initial_weights.csv.gz` among the library's bundled files; its README says from where).
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict

import numpy as np

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.nets.data import LEGCNET
from causalprune_lib.nets.sources import BUNDLED

PUBLISHED_TRIALS = 10


def load_legcnet_init(name: str, *, trials: int = 5) -> list[list[np.ndarray]]:
    """The published initial weights of one of the paper's tables.

    Parameters
    ----------
    name : {"cancer", "titanic", "banknote", "vowel", "iris_csv", "iris3f"}
    trials : int
        The paper uses the first 5 (default); 10 are published.

    Returns
    -------
    list of [W1, b1, W2, b2], float64
        W1 (H, D), b1 (H, 1), W2 (K, H), b2 (K, 1) for D features, H hidden neurons and K outputs
        (K = 1 for two classes).

    Examples
    --------
    >>> [part.shape for part in load_legcnet_init("iris_csv")[0]]
    [(6, 4), (6, 1), (3, 6), (3, 1)]
    """
    check_choice("name", name, LEGCNET)
    if check_int("trials", trials) > PUBLISHED_TRIALS:
        raise ValueError(f"trials must be at most {PUBLISHED_TRIALS}; got {trials}.")
    found = defaultdict(list)  # the rows of each part of each trial, in order
    with gzip.open(BUNDLED / "legcnet_initial_weights.csv.gz", "rt", encoding="ascii") as stream:
        for cell in csv.DictReader(stream):
            if cell["table"] == name and int(cell["trial"]) <= trials:
                part = found[int(cell["trial"]), cell["part"]]
                if cell["column"] == "0":
                    part.append([])
                part[-1].append(float(cell["value"]))
    return [
        [np.array(found[trial, part]) for part in ("W1", "b1", "W2", "b2")]
        for trial in range(1, trials + 1)
    ]
