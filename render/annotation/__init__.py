"""Turns render passes into annotations, and stores the records of a dataset."""
