"""Render passes into annotations, and the records of a dataset."""
