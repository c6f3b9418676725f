"""Workspaces in which nothing can be written, also by root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_HELD_TO_MODES = (
    [shutil.which("setpriv") or "setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
    if os.geteuid() == 0
    else []
)


needs_modes = pytest.mark.skipif(
    bool(_HELD_TO_MODES) and shutil.which("setpriv") is None, reason="root is held to no mode without setpriv"
)


def al_loop(root: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [*_HELD_TO_MODES, sys.executable, "-m", "al_loop", "-w", str(root), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def close_to_writing(root: Path) -> None:
    for path in [*root.rglob("*"), root]:
        path.chmod(0o500 if path.is_dir() else 0o400)


def open_to_writing(root: Path) -> None:
    for path in [root, *root.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
