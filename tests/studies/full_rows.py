"""Rows made up as a full run would have written them, for the tests of verdicts."""

import numpy as np
import pandas as pd

PROVENANCE = {
    "commit": "abc",
    "dirty": "False",
    "causalprune_lib": "0",
    "torch": "2",
    "numpy": "2",
    "python": "3",
    "device": "cpu",
    "cpu": "x",
    "seconds": 1.0,
    "started": "now",
    "profile": "full",
}


def frame(rows):
    """Rows with provenance, and a jitter of a millionth so that intervals are not points."""
    jitter = np.random.default_rng(0).uniform(1, 1 + 1e-6, len(rows))
    made = pd.DataFrame([row | PROVENANCE for row in rows])
    return made.assign(value=made.value * jitter)
