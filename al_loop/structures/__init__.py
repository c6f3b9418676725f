"""The data: frozen dataclasses of arrays, checked when they are made."""
