"""From scores to masks, from masks to sparse networks, and the baselines every method must beat.

The fourth room: it imports from `nets`, `dynamics` and `causality`.
"""
