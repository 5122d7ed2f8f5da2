"""`python -m causalprune_studies verdicts`: what every claim came to, as text or as JSON."""

from __future__ import annotations

import argparse
import json

from causalprune_studies.chapters import all_verdicts


def verdicts_command(arguments: argparse.Namespace) -> int:
    """Print every verdict; with `arguments.json`, as one list that programs read."""
    found = [
        {"claim": claim, "chapter": chapter.PAGE, "word": verdict.verdict}
        for chapter, claim, verdict in all_verdicts()
    ]
    if arguments.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    for one in () if arguments.json else found:
        print(f"{one['chapter'][:2]}  {one['word']:28} {one['claim']}")
    return 0
