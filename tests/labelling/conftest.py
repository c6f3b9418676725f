"""A real Label Studio server for the whole session, and a proxy that fails before it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import pytest
from support.failing_proxy import Proxy, proxied
from support.labelling_tasks import CLASSES, Running, send_tasks
from support.synced_workspace import Line

from al_loop.labelling.client.client import Connection
from al_loop.labelling.client.task import OutgoingTask, PushResult
from al_loop.labelling.server import server
from al_loop.labelling.tasks import push as push_module
from al_loop.labelling.tasks.project import ensure_project
from al_loop.state.workspace import Workspace


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


@pytest.fixture
def proxy(label_studio: Running) -> Iterator[Proxy]:
    with proxied(label_studio.info.url) as made:
        yield made


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_module, "_PAUSE_S", 0.0)
    monkeypatch.setattr(push_module, "CHUNK", 2)


@pytest.fixture
def send(label_studio: Running, project: int, proxy: Proxy) -> Callable[..., PushResult]:
    """Push to the project, through the proxy."""

    def run(tasks: list[OutgoingTask], batch: str = "c1") -> PushResult:
        connection = Connection(proxy.url, label_studio.info.token, timeout_s=20.0)
        return send_tasks(connection, project, tasks, label_studio.images, batch=batch)

    return run


@pytest.fixture
def line(filled: Workspace, label_studio: Running, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setenv("AL_LOOP_LABEL_STUDIO_TOKEN", label_studio.info.token)
    return Line(filled, label_studio)
