"""Run the full studies of a chapter and keep their rows in book/causalprune_studies/rows/measured/.

    python book/measure.py what-a-network-can-lose --seeds 3

Every row says which commit, versions, device and seed gave it, so commit your changes first: rows
from changed code are marked as such and no verdict accepts them. A run that was stopped goes on
where it was. Full data come from $CAUSALPRUNE_DATA, the cache or the network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from causalprune_lib.evidence.grid import run_grid
from causalprune_studies.chapters import rows_of_studies, studies_of

MEASURED = Path(__file__).parent / "causalprune_studies" / "rows" / "measured"


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("chapter", choices=rows_of_studies(), help="whose studies to run")
    parser.add_argument("--seeds", type=int, default=3, help="run seeds 0 to SEEDS - 1 (3)")
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time (1)")
    parser.add_argument(
        "--on", default="cuda" if torch.cuda.is_available() else "cpu", help="device (a GPU if any)"
    )
    chosen = parser.parse_args()
    out = MEASURED / f"{chosen.chapter}.csv"
    studies = studies_of(chosen.chapter, "full", on=chosen.on)
    run_grid(studies, range(chosen.seeds), out=out, n_jobs=chosen.jobs)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
