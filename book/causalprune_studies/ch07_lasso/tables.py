"""Tables of chapter 7: what an exact lasso would have pruned, beside what the paper reports."""

from __future__ import annotations

import math

import pandas as pd

from causalprune_lib.nets.models import build_model
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_studies.tables import published

EXAMPLES = {"fashion_mnist": 60_000, "cifar10": 50_000}
BATCH, EPOCHS = 512, 10  # of the paper's recording


def most_kept(sizes: list[int], samples: int) -> int:
    """The most weights that exact lassos keep in layers of these sizes: at most T in each."""
    return sum(min(size, samples) for size in sizes)


def published_amounts() -> pd.DataFrame:
    """What exact lassos prune at least of the paper's LeNet in one round, and what it reports."""
    pruned = published("causal_table2").set_index(["row", "column"]).value
    rows = []
    for dataset, examples in EXAMPLES.items():
        layout = ParameterLayout.of(build_model("lenet", dataset=dataset, seed=0))
        samples = EPOCHS * math.ceil(examples / BATCH) - 1
        spans = [layout.span(name) for name in layout.names]
        at_most = most_kept([span.stop - span.start for span in spans], samples)
        rows.append(
            {
                "LeNet on": dataset,
                "T": samples,
                "weights": layout.size,
                "an exact lasso keeps at most": at_most,
                "so it prunes at least (%)": 100 * (1 - at_most / layout.size),
                "published, after all rounds (%)": pruned[
                    f"lenet/{dataset}", "Causal Pruning: percent pruned"
                ],
            }
        )
    return pd.DataFrame(rows).set_index("LeNet on")
