"""Materials as Blender shader nodes."""
