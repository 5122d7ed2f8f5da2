"""The studies of the book's chapters, as specs for `run_grid`: a folder for each group of chapters.

`registry` lists them, and `all_verdicts` draws every verdict from their rows.
"""
