"""Which movements explain the loss: predictive causality and the sparse fits built on it.

The third room: it imports from `nets` and `dynamics`.
"""
