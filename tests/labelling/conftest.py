"""A real Label Studio server for the whole session."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from labelling_fixtures import CLASSES, Running

from al_loop.labelling import server
from al_loop.labelling.project import ensure_project


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("workspace") / "label-studio"
    try:
        yield Running(home, server.start(home))
    finally:
        server.stop(home)


@pytest.fixture
def project(label_studio: Running, request: pytest.FixtureRequest) -> int:
    """A project of its own for each test."""
    title = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    return ensure_project(label_studio.info.connection, title, CLASSES)
