"""Runs a benchmark: trials, one after another or in parallel, resumable."""
