"""The generated tables: "At a glance" on every notebook page, and the status page."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .chapters import Chapter
from .execute import Run
from .layout import PROFILES

STATUS_MARK = "% generated: the table of runs"  # a comment in book/status.md, replaced by the table
STUDIES_MARK = "% generated: the table of rows"  # likewise
HEAD = ["Profile", "Data", "Device", "Minutes", "Memory"]
SHOWN_VERSIONS = ("python", "torch", "numpy", "scikit-learn")

Runs = Mapping[str, Run | None]  # profile -> its last good run


def minutes(seconds: float) -> str:
    """Minutes with one digit; very short runs are not called zero."""
    return "under 0.1" if seconds < 6 else f"{seconds / 60:.1f}"


def memory(size: int) -> str:
    """Bytes as MB or GB (binary), with the digits that matter."""
    return f"{size / 2**20:.0f} MB" if size < 2**30 else f"{size / 2**30:.1f} GB"


def profiles_shown(chapter: Chapter, runs: Runs) -> list[str]:
    """All profiles, without `paper` where it needs what `full` needs and was not run."""
    same = chapter.needs["paper"] == chapter.needs["full"] and not runs.get("paper")
    return [profile for profile in PROFILES if not (same and profile == "paper")]


def at_a_glance(chapter: Chapter, runs: Runs, shown: str, *, status_page: bool) -> str:
    """Markdown for the box under the title: data, device, minutes and memory of the profiles.

    A profile that was run here shows what was measured; another one shows what its author says.
    """
    rows, profiles = [], profiles_shown(chapter, runs)
    measured = [p for p in profiles if runs.get(p)]
    for profile in profiles:
        needs, run = chapter.needs[profile], runs.get(profile)
        found = [needs["device"], needs["minutes"], needs["memory"]]
        if run:
            found = [run.device, minutes(run.seconds), memory(run.peak)]
        rows.append([f"**{profile}**" if profile == shown else profile, needs["data"], *found])
    expected = [p for p in profiles if p not in measured]
    note = (
        f"This page shows *{shown}*. Time and memory are measured for *{'* and *'.join(measured)}*"
    )
    note += f", expected for *{'* and *'.join(expected)}*." if expected else "."
    note += " [All runs](status.md)." if status_page else ""
    box = [":::{admonition} At a glance", ":class: at-a-glance", "", table(HEAD, rows), "", note]
    return "\n".join(["", *box, ":::", ""])


def status_table(chapters: list[Chapter], runs: Mapping[str, Runs]) -> str:
    """Markdown for the status page: one row for each notebook and profile."""
    head = ["Notebook", "Profile", "Data", "Seconds", "Peak memory", "Device"]
    head += ["Versions", "Last run (UTC)", "Key"]
    rows = []
    for chapter in chapters:
        for profile in profiles_shown(chapter, runs[chapter.name]):
            run, data = runs[chapter.name].get(profile), chapter.needs[profile]["data"]
            start = [f"[]({chapter.name}.md)", profile, data]
            if run is None:
                rows.append([*start, "not run here", *["–"] * 5])
                continue
            versions = ", ".join(
                f"{name} {run.versions[name]}" for name in SHOWN_VERSIONS if name in run.versions
            )
            measured = [f"{run.seconds:.1f}", memory(run.peak), run.device]
            rows.append([*start, *measured, versions, run.finished, f"`{run.key[:8]}`"])
    return table(head, rows)


def studies_table(stored: list[dict]) -> str:
    """Markdown for the status page: what the committed rows hold, for each study and profile.

    `stored` is what `python -m causalprune_studies run --list --json` says.
    """
    head = ["Rows", "Chapter", "Profile", "Specs", "Seeds", "Cells measured", "Taken from full"]
    rows = []
    for one in stored:
        specs, seeds = one["specs"], one["seeds"]
        rows.append(
            [
                f"`{one['rows']}`",
                f"[{one['page'][:2]}]({one['page']}.md)",
                one["profile"],
                str(specs),
                str(len(seeds)) if seeds else "–",
                f"{one['measured']} of {specs * len(seeds)}" if seeds else "none",
                one["paper_size"] if one["profile"] == "paper" else "",
            ]
        )
    return table(head, rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; bars inside cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines
    )


def under_title(markdown: str, box: str) -> str | None:
    """`markdown` with `box` under its first title, or None if it has no title."""
    title = re.search(r"^# .+$", markdown, flags=re.MULTILINE)
    if title is None:
        return None
    return markdown[: title.end()] + "\n" + box + markdown[title.end() :]
