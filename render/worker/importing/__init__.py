"""Reads mesh files into surfaces that are checked, near the origin and cleaned by Blender."""
