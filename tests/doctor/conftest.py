"""Workspaces to damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.doctor_workspace import Made, make_workspaces


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_workspaces(tmp_path_factory.mktemp("made"))


@pytest.fixture(autouse=True)
def _temporary(temporary: Path) -> None:
    """The doctor looks for leftovers in the temporary folder."""


@pytest.fixture
def well(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace in which nothing is wrong."""
    made.install(monkeypatch)
    return Path(shutil.copytree(made.finished, tmp_path / "line3", symlinks=True))


@pytest.fixture
def labelling(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace in which people label; only its server does not run."""
    made.install(monkeypatch)
    return Path(shutil.copytree(made.under_way, tmp_path / "line4", symlinks=True))
