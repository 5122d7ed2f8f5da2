"""How a network stands after pruning: what it costs, and how it differs from the dense one.

The fifth room: it imports from the four above.
"""
