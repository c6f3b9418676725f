"""Fixtures shared by all tests."""

from __future__ import annotations

import atexit
import importlib.util
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:
    # OpenMP threads of several processes spin while they wait for a core. Child processes inherit this.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings
from support.factories import CLASSES, write_coco_set
from support.pool_images import add_images
from support.ray_cluster import RayCluster

from al_loop.cli import main
from al_loop.images.validation_sets import add_validation
from al_loop.state.workspace import Workspace, init_workspace, open_workspace
from al_loop.structures.boxes import Boxes
from render.worker import leave

settings.register_profile("suite", max_examples=100, deadline=None)
settings.register_profile("thorough", max_examples=100_000, deadline=None)
settings.load_profile("suite")
_WORTH_TELLING_S = 10.0


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder of the tests' own: what they make is not noted among the user's workspaces."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("state")
        patch.setenv("AL_LOOP_STATE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    """A Ray cluster on the loopback interface, without nodes."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is an extra: pip install 'al-loop[ray]'")
    cluster = RayCluster()
    yield cluster
    cluster.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace for two classes."""
    return init_workspace(tmp_path / "line3", CLASSES)


@pytest.fixture
def filled(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A workspace with 6 photographs and 4 validation images."""
    pool = write_coco_set(tmp_path / "pool", 6, seed=1)
    add_images(workspace, sorted((pool.parent / "images").iterdir()))
    add_validation(workspace, write_coco_set(tmp_path / "val", 4, seed=2))
    return workspace


@pytest.fixture
def small(filled: Workspace) -> Workspace:
    """A workspace whose images fit the test's model size."""
    path = filled.root / "al-loop.toml"
    path.write_text(path.read_text().replace('config = "lite"', 'config = "small"\nimage_size = [96, 64]'))
    return open_workspace(filled.root)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test's own: the system's holds what other runs have left."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr("render.core.tempdirs._MEMORY", folder)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run al-loop with arguments, in this process; return (exit status, stdout, stderr)."""

    def call(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["al-loop", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return call


@pytest.fixture
def make_boxes() -> Callable[..., Boxes]:
    """Build real Boxes from rows (x1, y1, x2, y2, label[, score])."""

    def build(*rows: tuple[float, ...]) -> Boxes:
        if not rows:
            return Boxes()
        array = np.asarray(rows, dtype=np.float64)
        scores = array[:, 5].copy() if array.shape[1] > 5 else None
        return Boxes(array[:, :4].copy(), array[:, 4].astype(np.int64), scores)

    return build


_STATUS = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember how it went."""
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End as the workers do where a test has loaded Blender."""
    if "bpy" in sys.modules:
        atexit._run_exitfuncs()
        leave(config.stash.get(_STATUS, 1))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how long each part of the tests took."""
    parts: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "duration"):
                path = Path(report.nodeid.partition("::")[0])
                parts[path.parts[1] if len(path.parts) > 2 else "the rest"] += report.duration
    if sum(parts.values()) > _WORTH_TELLING_S:
        terminalreporter.section("seconds by part")
        for part, seconds in parts.most_common():
            terminalreporter.write_line(f"{seconds:8.1f}  {part}")
