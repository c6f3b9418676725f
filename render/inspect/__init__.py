"""Inspects a dataset: contact sheets and statistics."""
