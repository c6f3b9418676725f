"""Mesh files into Blender, read in double precision first."""
