"""The process that holds Blender; the only place that imports bpy."""
