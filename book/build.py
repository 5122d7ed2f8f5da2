"""Build the book: run the notebooks that changed, then make the website.

    python book/build.py                    the book, quick profile: _build/html/index.html
    python book/build.py --profile full     what two cores do in hours; on a GPU if there is one
    python book/build.py --profile paper    the papers' data and sizes, for a GPU
    python book/build.py --only 01          run this notebook alone
    python book/build.py --pairs            write notebooks/*.ipynb from book/*.md, run nothing

How it works is told in `book/pipeline/__init__.py`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import yaml
from pipeline.assemble import check_toc
from pipeline.chapters import choose, read_chapters
from pipeline.execute import LIMITS
from pipeline.layout import PROFILES, BuildError, Layout, only_build
from pipeline.pairs import stale_pairs, write_pairs
from pipeline.runner import Plan, run_all, stale
from pipeline.site import build_site


def parser() -> argparse.ArgumentParser:
    """The command line."""
    limits = ", ".join(f"{limit:g} for {profile}" for profile, limit in LIMITS.items())
    new = argparse.ArgumentParser(
        prog="python book/build.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 all well; 1 something failed, and the old site is untouched; "
        "2 the command line is wrong; 130 interrupted.",
    )
    add = new.add_argument
    add("--profile", choices=PROFILES, default="quick", help="the size of the runs (quick)")
    add("--jobs", type=_at_least_one, metavar="N", help="notebooks at a time (2 on CPU, 1 on GPU)")
    add("--only", action="append", default=[], metavar="NAME", help="run this notebook; repeatable")
    add("--force", action="store_true", help="run again, and build again, what has not changed")
    add("--keep-going", action="store_true", help="a failed notebook does not stop the others")
    add("--limit", type=float, metavar="SECONDS", help=f"longest run of one notebook ({limits})")
    add(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        type=_parameter,
        help="set a parameter in every notebook that runs; unknown names are errors; repeatable",
    )
    add("--notebooks-only", action="store_true", help="run the notebooks, do not build the site")
    add("--pairs", action="store_true", help="only write notebooks/*.ipynb (--force: over edits)")
    add("--check-pairs", action="store_true", help="only check that --pairs would change nothing")
    add("--root", default=Path(__file__).parents[1], metavar="DIR", help="the repository")
    add("--out", default="_build", metavar="DIR", help="where to build (_build)")
    return new


def build(options: argparse.Namespace) -> None:
    """Do what the command line asks."""
    started = time.monotonic()
    layout = Layout.of(options.root, options.out)
    chapters = read_chapters(layout)
    notebooks = [chapter for chapter in chapters if chapter.is_notebook]
    if options.check_pairs:
        wrong = stale_pairs(layout, notebooks)
        if wrong:
            raise BuildError("\n".join([*wrong, "`python book/build.py --pairs` writes them anew"]))
        print(f"{len(notebooks)} notebooks are what book/*.md says")
        return
    changed = write_pairs(layout, notebooks, force=options.force and options.pairs)
    for name in changed:
        print(f"wrote notebooks/{name}.ipynb")
    if options.pairs:
        print(f"{len(changed)} of {len(notebooks)} notebooks changed")
        return
    check_toc(layout, chapters)
    for chapter in notebooks:
        _ = chapter.needs  # a wrong header is told before anything runs
    with only_build(layout):
        _run_and_publish(layout, chapters, options)
    print(f"{time.monotonic() - started:.1f} s in all")


def _run_and_publish(layout: Layout, chapters: list, options: argparse.Namespace) -> None:
    notebooks = [chapter for chapter in chapters if chapter.is_notebook]
    plan = Plan(
        profile=options.profile,
        parameters=dict(options.parameter),
        jobs=options.jobs,
        limit=options.limit,
        force=options.force,
        keep_going=options.keep_going,
    )
    run_all(layout, choose(notebooks, options.only) if options.only else notebooks, plan)
    if options.notebooks_only:
        return
    left = [chapter.name for chapter in stale(layout, notebooks, plan)] if options.only else []
    if left:
        print(f"the site was not built: {', '.join(left)} must run first (leave out --only)")
        return
    page = layout.shown(layout.html / "index.html")
    if build_site(layout, chapters, options.profile, force=options.force):
        print(f"built {page}")
    else:
        print(f"{page} is up to date")


def _parameter(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE; got {text!r}")
    return name, yaml.safe_load(value)


def _at_least_one(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1; got {text!r}")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Run; return the exit status."""
    try:
        build(parser().parse_args(arguments))
    except BuildError as error:
        print(f"\nNOT BUILT\n{error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"\nNOT BUILT\n{error}; the site that was there is untouched", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; what had finished is kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
