"""Errors, the scene specification, files and temporary folders: what every other package uses."""
