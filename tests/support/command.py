"""The command line, as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def al_loop(workspace: Path, *args: object, status: int = 0) -> str:
    """Run a command as a user does; return what it prints, fail with what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "al_loop", "-w", str(workspace), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == status, f"{args}: {done.stdout}\n{done.stderr}"
    return done.stdout
