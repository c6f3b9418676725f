"""Shader nodes of defects."""
