"""A line of what `verify` and `reproduce` find."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the result. changed: whether a file, a row or a result differs from the manifest."""

    changed: bool
    text: str
