"""Networks and what goes into them: data sets, models, a plain training loop, flat parameters.

The first room: it imports from no other.
"""
