"""Predictions: the batched forward pass, scoring of a pool, augmented copies."""
