"""Defects as Blender shader nodes."""
