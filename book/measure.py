"""Run the full studies of a chapter and keep their rows in book/causalprune_studies/rows/measured/.

    python book/measure.py what-a-network-can-lose --seeds 3

writes `what-a-network-can-lose.csv.gz` there. Every row says which commit, versions, device and
seed gave it, so commit your changes first: rows from changed code are marked as such and no verdict
accepts them. A run that was stopped goes on where it was. Full data come from $CAUSALPRUNE_DATA,
the cache or the network.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch

from causalprune_lib.evidence.grid import run_grid
from causalprune_studies import tables
from causalprune_studies.chapters import rows_of_studies, studies_of


def known_rows() -> str:
    """A line for each name of rows: its chapter, and its full specs."""
    lines = ["ROWS, the chapter that they belong to, and what is run:"]
    for rows, chapter in rows_of_studies().items():
        specs = dict.fromkeys(type(spec).__name__ for spec in studies_of(rows, "full"))
        lines.append(f"  {rows:36} {chapter.PAGE[:2]} {chapter.TITLE:25} {', '.join(specs)}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and run."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=known_rows() if {"-h", "--help"} & set(arguments) else None,  # imports all chapters
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", metavar="ROWS", choices=rows_of_studies(), help="--help lists them")
    parser.add_argument("--seeds", type=int, default=3, help="run seeds 0 to SEEDS - 1 (3)")
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time (1)")
    parser.add_argument(
        "--on", default="cuda" if torch.cuda.is_available() else "cpu", help="device (a GPU if any)"
    )
    chosen = parser.parse_args(arguments)
    out = tables.MEASURED / f"{chosen.rows}{tables.PACKED}"
    specs = studies_of(chosen.rows, "full", on=chosen.on)
    run_grid(specs, range(chosen.seeds), out=out, n_jobs=chosen.jobs)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
