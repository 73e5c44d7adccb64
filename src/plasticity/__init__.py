"""Grow or prune? An instrument for structural plasticity in neural networks."""

RESULTS_VERSION = 1
"""Raised whenever a golden run changes: results of different versions are never mixed."""
