"""The report in a real browser: Chromium, if there is one (scripts/setup gets it where it may)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.browser import CHROMIUM, FLAGS
from support.workspace_history import long_history

from al_loop.report import write_report
from al_loop.state.workspace import Workspace

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH"),
]

#: Milliseconds from the start of the navigation to the end of loading, in the page's title.
_STOPWATCH = (
    "<script>addEventListener('load', () => "
    "{ document.title = 'ms ' + Math.round(performance.now()) })</script>"
)


def chromium(*args: str) -> str:
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, *args],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.mark.slow
def test_200_cycles_and_5000_picks_open_in_two_seconds(workspace: Workspace, tmp_path: Path) -> None:
    long_history(workspace, tmp_path / "in")
    path = write_report(workspace, tmp_path / "report.html")
    timed = tmp_path / "timed.html"
    timed.write_text(path.read_text().replace("</body>", f"{_STOPWATCH}</body>"))
    # The fastest of three: another process may have had the cores.
    taken = [
        int(found[1])
        for _ in range(3)
        if (found := re.search(r"<title>ms (\d+)", chromium("--dump-dom", timed.as_uri())))
    ]
    assert len(taken) == 3
    assert min(taken) <= 2000


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_desk_and_phone(workspace: Workspace, tmp_path: Path, width: int, dark: bool) -> None:
    """Nothing is wider than the screen; light and dark are what they are called."""
    long_history(workspace, tmp_path / "in", cycles=3)
    path = write_report(workspace, tmp_path / "report.html")
    probe = tmp_path / "probe.html"
    script = (
        "<script>addEventListener('load', () => { document.title = "
        "'w ' + document.documentElement.scrollWidth + ' of ' + innerWidth })</script>"
    )
    probe.write_text(path.read_text().replace("</body>", f"{script}</body>"))
    mode = (
        ["--blink-settings=preferredColorScheme=0"] if dark else ["--blink-settings=preferredColorScheme=1"]
    )
    size = f"--window-size={width},1000"
    found = re.search(r"<title>w (\d+) of (\d+)", chromium(size, *mode, "--dump-dom", probe.as_uri()))
    assert found is not None
    assert int(found[1]) <= int(found[2])
    shot = tmp_path / "shot.png"
    chromium(size, *mode, "--hide-scrollbars", f"--screenshot={shot}", path.as_uri())
    pixels = np.asarray(Image.open(shot).convert("L"))
    assert pixels.std() > 10  # something is drawn
    assert bool(np.median(pixels) < 100) == dark
