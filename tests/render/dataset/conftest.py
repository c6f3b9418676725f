"""A stand-in for Blender, and a dataset it has rendered."""

import shutil
from pathlib import Path

import pytest
from support.fake_worker import FakeRenderWorker
from support.small_datasets import RECIPE

from render import RenderOptions, render_dataset


@pytest.fixture
def stand_in(tmp_path):
    return FakeRenderWorker(tmp_path / "stand-in")


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered")
    options = RenderOptions(python=FakeRenderWorker(folder / "stand-in").path)
    render_dataset(RECIPE, folder / "out", 3, 5, options)
    return folder / "out"


@pytest.fixture
def dataset(tmp_path, rendered):
    """A copy to damage."""
    return Path(shutil.copytree(rendered, tmp_path / "out"))
