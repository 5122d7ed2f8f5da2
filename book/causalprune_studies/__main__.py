"""The book's experiments: run the studies, and list what every claim came to."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from causalprune_lib._files import FileHeldError
from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.grid import run_grid
from causalprune_studies import campaign, workers
from causalprune_studies.chapters import profiles_of, rows_of_studies, studies_of
from causalprune_studies.overview import verdicts_as_json, verdicts_as_text

PROGRAM = "python -m causalprune_studies"
RUN = f"""Run studies and keep their rows.

    {PROGRAM} run what-a-network-can-lose --seeds 3

writes what-a-network-can-lose.csv.gz into the folder rows/measured of this package; rows of the
profile quick go to {campaign.QUICK_ROWS} of the folder that you are in. Every row says
which commit, versions, device and seed gave it, so commit your changes first: rows from changed
code are marked as such and no verdict accepts them. A run that was stopped goes on where it was.
Full data come from $CAUSALPRUNE_DATA, the cache or the network."""
EXPECTED = (
    OSError,  # of the folder or the file: a full disk, no permission, a file where a folder must be
    FileHeldError,
    workers.MissingPackageError,
    workers.NoFreeCardError,
    workers.SchedulerUnreachableError,
    workers.UnfitWorkersError,
    workers.WorkerDiedError,
)


def seeds_of(text: str) -> tuple[int, ...]:
    """Seeds as a command says them: a number of seeds, or a list of them.

    >>> seeds_of("3"), seeds_of("3,7"), seeds_of("7,")
    ((0, 1, 2), (3, 7), (7,))
    """
    try:
        seeds = tuple(int(part) for part in text.split(",") if part.strip())
        seeds = seeds if "," in text else tuple(range(seeds[0]))
    except (ValueError, IndexError):
        seeds = ()
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be a number, 5, or different seeds, 3,7; got {text!r}.")
    return seeds


def check_card(on: str, scheduler: str | None) -> None:
    """Refuse a GPU that is not there before cells fail on it; the workers of a cluster have theirs.

    >>> check_card("cpu", None)
    """
    if on == "cuda" and scheduler is None and not torch.cuda.is_available():
        raise ValueError("on must be 'cpu' where PyTorch sees no GPU; got 'cuda'.")


def known_rows() -> str:
    """A line for each name of rows: its chapter, its profiles and its full specs."""
    lines = ["NAMES, the chapters that they belong to, and what is run:"]
    for rows, chapter in rows_of_studies().items():
        full = "full" if "full" in profiles_of(rows) else profiles_of(rows)[0]
        specs = dict.fromkeys(type(spec).__name__ for spec in studies_of(rows, full))
        lines.append(f"  {rows:36} {chapter.PAGE[:2]} {chapter.TITLE:25} {', '.join(specs)}")
    return "\n".join(lines)


def parser_of(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The command line; only a call for help imports all chapters to list their studies."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="run studies, resume them, list them, or say what they would take",
        description=RUN,
        epilog=known_rows() if {"-h", "--help"} & set(arguments) else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = run.add_argument
    add(
        "names",
        metavar="NAME",
        nargs="*",
        help="files of rows, listed below, or the end of one's name, or all",
    )
    add("--profile", default="full", help="quick, full (the default) or paper")
    add("--seeds", default="3", help="how many, from seed 0 (3), or which: 3,7")
    add("--list", action="store_true", help="list all studies and what is measured of them")
    add("--json", action="store_true", help="with --list: what the committed rows hold, as JSON")
    add(
        "--dry-run", action="store_true", help="say what is to do, how long it takes, what it needs"
    )
    add("--retry-errors", action="store_true", help="run again the cells that ended in an error")
    add("--out", type=Path, metavar="FOLDER", help="where the files go instead")
    place = run.add_argument_group("where the work is done")
    add = place.add_argument
    add("--backend", default="loky", help="loky (processes, the default), threading or dask")
    add("--scheduler", metavar="ADDRESS", help="of a Dask cluster: tcp://host:8786")
    add("--jobs", type=int, metavar="N", help="cells at a time (1; on several GPUs one for each)")
    add("--threads", type=int, metavar="N", help="threads in each cell (1 if several cells run)")
    gpu = "cuda" if torch.cuda.is_available() else "cpu"
    add("--on", default=gpu, metavar="DEVICE", help="cpu or cuda (a GPU if there is one)")
    verdicts = commands.add_parser("verdicts", help="what every claim of the papers came to")
    verdicts.add_argument("--json", action="store_true", help="as JSON")
    return parser


def run_command(chosen: argparse.Namespace) -> int:
    """Plan, then list, describe or run; the exit status: 1 if a cell ended in an error."""
    seeds = seeds_of(chosen.seeds)
    check_choice("on", chosen.on, ("cpu", "cuda"))
    if chosen.list and chosen.json:
        print(json.dumps(list(campaign.stored()), indent=1))
        return 0
    if chosen.list:
        print("\n".join(campaign.listed(seeds)))
        return 0
    if not chosen.names:
        raise ValueError("NAME must be given, one or more; --list shows them.")
    plans = campaign.plans_of(
        chosen.names,
        profile=chosen.profile,
        seeds=seeds,
        on=chosen.on,
        out=chosen.out,
        retry_errors=chosen.retry_errors,
    )
    if chosen.dry_run:
        for plan in plans:
            print("\n".join(campaign.described(plan, chosen.jobs or 1)))
        if len(plans) > 1:
            print(campaign.summed(plans))
        return 0
    check_card(chosen.on, chosen.scheduler)
    began, errors = time.monotonic(), 0
    pool = workers.pool(chosen.backend, jobs=chosen.jobs, scheduler=chosen.scheduler, on=chosen.on)
    with workers.EnergyMeter() as energy, pool as n_jobs:
        for plan in plans:
            print(f"{plan.rows}: {len(plan.missing)} of {plan.n_cells} cells to do", flush=True)
            frame = run_grid(
                plan.specs,
                plan.seeds,
                out=plan.out,
                n_jobs=n_jobs,
                backend=None,  # the pool's
                threads=chosen.threads,
                retry_errors=chosen.retry_errors,
            )
            errors += (frame.metric == "error").sum()
            print(f"wrote {plan.out}", flush=True)
    print(f"{campaign.spoken(time.monotonic() - began)}; {energy}")
    return int(errors > 0)


def note(message: Warning, *_: object) -> None:
    """Tell a warning in one line, with the library's options by the names of this command."""
    print(f"note: {message}".replace("retry_errors=True", "--retry-errors"), file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and do what it says; an error that has a name is told in one line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    chosen = parser_of(arguments).parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = note
            if chosen.command == "verdicts":
                print(verdicts_as_json() if chosen.json else verdicts_as_text(), flush=True)
                return 0
            status = run_command(chosen)
            sys.stdout.flush()  # here, where a closed pipe is no surprise
            return status
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, *EXPECTED) as problem:
        print(f"{PROGRAM}: {type(problem).__name__}: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the finished cells are kept, and the same command goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
