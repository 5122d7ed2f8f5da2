"""Chapters 6 and 8: the causal model of gradient descent, and causal pruning."""
