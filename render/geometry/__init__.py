"""Geometry on arrays: projection, placement, resting poses, silhouettes."""
