"""The Chromium of this machine, if there is one that runs; scripts/test gets it where it may."""

from __future__ import annotations

import shutil
import subprocess

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


def find_chromium() -> str | None:
    """Return its path; None where none is installed, or where it cannot start here."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path is None:
            continue
        try:
            subprocess.run(
                [path, *FLAGS, "--dump-dom", "about:blank"], capture_output=True, timeout=60, check=True
            )
        except (OSError, subprocess.SubprocessError):
            continue
        return path
    return None


CHROMIUM = find_chromium()
