"""Running a part of this package under another Python, and what it said last."""

from __future__ import annotations

import sys
from pathlib import Path


def command(python: str | None, module: str) -> list[str]:
    """How to run `main` of a module of ours under a Python; ours when None.

    Another Python may lack this package, and we may run from anywhere: the folder that holds it comes last
    on the path, so that everything else is found in that Python's own environment first.
    """
    root = str(Path(__file__).resolve().parents[2])
    # Not the folder it happens to be started in: a random.py there would shadow the real one.
    code = f"import sys; sys.path = [*filter(None, sys.path), {root!r}]; from {module} import main; main()"
    return [python or sys.executable, "-c", code]


def last_line(log: Path) -> str:
    """The last line of a log; of an error in Python, what it was."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
