"""Recipes: TOML read into checked tables."""
