"""Turns a recipe into scene specifications: every random choice is made here."""
