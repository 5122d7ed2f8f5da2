"""`python -m causalprune_studies verdicts`: what every claim came to, as text or as JSON."""

from __future__ import annotations

import argparse
import json

from causalprune_studies.chapters import all_verdicts


def verdicts_command(arguments: argparse.Namespace) -> int:
    """Print every verdict; with `arguments.json`, as one list that programs read."""
    found = [
        {"chapter": chapter.PAGE, "name": claim, **verdict.to_row()}
        for chapter, claim, verdict in all_verdicts()
    ]
    if arguments.json:
        print(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
        return 0
    for row in found:
        print(f"{row['chapter'][:2]}  {row['name']}, {row['dataset']}: {row['word']}")
    return 0
