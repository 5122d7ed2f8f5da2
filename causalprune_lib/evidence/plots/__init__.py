"""Plots of the book: each receives data and returns its Axes; none computes."""
