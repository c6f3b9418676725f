"""Cameras, placement and resting poses as arrays."""
