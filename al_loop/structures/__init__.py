"""Data structures: frozen dataclasses of arrays that check themselves when they are created."""
