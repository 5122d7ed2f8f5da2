"""Chapter 13: the papers' tables."""

PAGE = "13-the-papers-tables"
TITLE = "The papers' tables"
