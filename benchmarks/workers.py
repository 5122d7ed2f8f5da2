"""What a second worker is worth: the cells of a study by one process, and by two.

The peer is the campaign itself with one worker. Run it on a machine that has nothing else to do:

    python benchmarks/workers.py [--pairs 3] [--cells 12] [--out book/_static/workers.csv]

Each pair runs the same cells with one worker and with two, which stand ready beforehand, one thread
in each. Efficiency is the time of one worker over twice the time of two. `load` is what the machine
was doing before, in processes: numbers at a load above a tenth say little.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from causalprune_lib.evidence.grid import run_grid
from causalprune_lib.evidence.provenance import code_provenance, machine_provenance
from causalprune_studies import studies_of
from causalprune_studies.workers import pool


def seconds_of(workers: int, cells: int) -> float:
    """How long `workers` take for so many cells."""
    spec = studies_of("what-a-network-can-lose", "quick")[0]
    options = {"out": None, "n_jobs": workers, "backend": None, "threads": 1, "progress": False}
    with pool("loky", jobs=workers):
        run_grid([spec], range(workers), **options)  # they start, and load their data
        began = time.perf_counter()
        run_grid([spec], range(cells), **options)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--cells", type=int, default=12)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    rows = []
    for pair in range(1, chosen.pairs + 1):
        alone = 0.0
        for workers in (1, 2):
            load, started = os.getloadavg()[0], datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
            seconds = seconds_of(workers, chosen.cells)
            alone = alone or seconds
            rows.append(
                {
                    "pair": pair,
                    "workers": workers,
                    "cells": chosen.cells,
                    "seconds": round(seconds, 2),
                    "efficiency": round(alone / (workers * seconds), 3),
                    "load": round(load, 2),
                    "started (UTC)": started,
                    "processor": machine_provenance()["cpu"],
                    "torch": machine_provenance()["torch"],
                    "commit": code_provenance()["commit"][:7],
                }
            )
            print(rows[-1], flush=True)
            if chosen.out:
                write(rows, chosen.out)


def write(rows: list[dict], out: Path) -> None:
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
