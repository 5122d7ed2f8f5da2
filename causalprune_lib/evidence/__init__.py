"""Seeded experiments, published and measured numbers, and the plots that show them.

The last room: it may import from all others.
"""
