"""The experiments of the book: what each chapter measures, draws and concludes, and its rows.

The names below are for every page; a page finds the rest in its own chapter's folder.
"""

from causalprune_studies.chapters import all_verdicts, studies_of
from causalprune_studies.overview import forest_table, meanings, words_by_chapter
from causalprune_studies.page import (
    at_most,
    chapter_rows,
    criteria,
    reading,
    say,
    show_source,
    verdict_boxes,
)
from causalprune_studies.tables import compare, measured, published

__all__ = [
    "all_verdicts",
    "at_most",
    "chapter_rows",
    "compare",
    "criteria",
    "forest_table",
    "meanings",
    "measured",
    "published",
    "reading",
    "say",
    "show_source",
    "studies_of",
    "verdict_boxes",
    "words_by_chapter",
]
