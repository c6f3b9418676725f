"""Compares strategies, or mixes of photographs and rendered images, on a set whose labels are known."""
