"""What training does to the weights: recorded trajectories, and what is read from them.

The second room: it imports from `nets`.
"""
