"""Mesh files as surfaces: checked, near the origin, cleaned by Blender."""
