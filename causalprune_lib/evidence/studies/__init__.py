"""The studies of the book's chapters, as specs for `run_grid`; `registry` lists them."""
