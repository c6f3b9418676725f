"""The monitor: whether a cycle is due, and why. `run.py` is one check."""
