"""Faults at any request to the real server: nothing is lost, nothing is doubled."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.failing_proxy import BAD_GATEWAY, LOST, STALLED, UNANSWERED, UNAVAILABLE, Proxy
from support.labelling_tasks import (
    CLASSES,
    Running,
    fetch_tasks,
    keys,
    make_tasks,
    requests_of_a_push,
    send_tasks,
    version_of,
)

from al_loop.cli.simulated_annotator import SimulatedAnnotator
from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client import client as client_module
from al_loop.labelling.client.client import Connection
from al_loop.labelling.client.failures import UnreachableError
from al_loop.labelling.client.task import PushResult, TaskState
from al_loop.labelling.tasks import push as push_module
from al_loop.structures.boxes import Boxes

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("no_pauses")]

#: A change whose answer is lost. The others take the same ways.
FAULTS = (
    UNANSWERED,
    *(pytest.param(fault, marks=pytest.mark.slow) for fault in (LOST, BAD_GATEWAY, UNAVAILABLE)),
)


def state(running: Running, project: int) -> dict[str, Any]:
    """The content of the server, without its ids."""
    with running.info.connection.open() as api:
        tasks = api.tasks(project, whole=True)
        views, settings = api.views(project), api.project(project)
        storages = api.storages("localfiles", project)
    return {
        "tasks": sorted(
            (t["data"]["al_key"], t["data"]["al_rank"], [p["model_version"] for p in t["predictions"]])
            for t in tasks
        ),
        "views": sorted(str(view["data"]["title"]) for view in views),
        "model_version": settings["model_version"],
        "storages": len(storages),
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_request_of_a_push(
    label_studio: Running,
    project: int,
    proxy: Proxy,
    send: Callable[..., PushResult],
    tmp_path: Path,
    fault: str | int,
) -> None:
    """Each request in turn fails once. A second push ends like an undisturbed one."""
    count = requests_of_a_push(send, proxy, tmp_path)
    assert count > 6
    for at in range(count):
        batch = f"c{at}"
        tasks = make_tasks(tmp_path, 5, batch=batch)
        proxy.fault, proxy.at, proxy._count = fault, at, 0
        with suppress(LabelStudioError):
            send(tasks, batch)
        proxy.fault = None
        send(tasks, batch)
        assert keys(label_studio, project, batch) == [task.key for task in tasks], f"{fault} at request {at}"
    found = state(label_studio, project)
    assert len(found["tasks"]) == 5 * (count + 1)
    assert all(versions == ["m1"] for _, _, versions in found["tasks"])
    assert (found["model_version"], found["storages"]) == ("m1", 1)
    with label_studio.info.connection.open() as api:
        field = "filter:tasks:data.al_batch"
        batches = [push_module._condition_of_view(view, field) for view in api.views(project)]
    assert sorted(filter(None, batches)) == sorted({"probe", *(f"c{at}" for at in range(count))})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at", "patient"),
    [
        pytest.param(1, True, id="an import, which is waited for"),
        pytest.param(4, False, id="another, which is not"),
    ],
)
def test_a_minute_without_an_answer(
    label_studio: Running, project: int, proxy: Proxy, tmp_path: Path, at: int, patient: bool
) -> None:
    """The default limits: 60 s, and 300 s for an import."""
    usual = Connection(proxy.url, label_studio.info.token)
    tasks = make_tasks(tmp_path, 5, batch="minute")

    def send() -> PushResult:
        return send_tasks(usual, project, tasks, label_studio.images, batch="minute")

    proxy.fault, proxy.at, proxy.stall_s = STALLED, at, 61.0
    proxy.only = lambda line: not line.startswith("GET")
    began = time.monotonic()
    with nullcontext() if patient else pytest.raises(UnreachableError):
        send()
    assert time.monotonic() - began >= 60
    send()
    found = state(label_studio, project)
    assert keys(label_studio, project, "minute") == [task.key for task in tasks]
    assert (found["model_version"], found["storages"], found["views"]) == ("m1", 1, ["queue of minute"])


@pytest.mark.parametrize("before", [pytest.param(True, marks=pytest.mark.slow), False])
def test_our_process_is_killed_at_any_request(
    label_studio: Running, project: int, proxy: Proxy, send: Callable[..., PushResult], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, before: bool,
) -> None:  # fmt: skip
    """Killed before a request is sent, or before its answer is read. The next push ends as usual."""
    count = requests_of_a_push(send, proxy, tmp_path)
    original = client_module.explain_failures
    for at in range(count):
        batch, calls = f"k{at}", []
        tasks = make_tasks(tmp_path, 3, batch=batch)

        def killing(url: str, doing: str) -> Any:
            calls.append(doing)  # noqa: B023
            if before and len(calls) == at + 1:  # noqa: B023
                raise KeyboardInterrupt
            return original(url, doing)

        if before:
            with monkeypatch.context() as patch:
                patch.setattr(client_module, "explain_failures", killing)
                with suppress(KeyboardInterrupt):
                    send(tasks, batch)
        else:
            proxy.fault, proxy.at, proxy.times, proxy._count = UNANSWERED, at, 1000, 0
            with suppress(LabelStudioError):  # and whatever it tries then does not get through either
                send(tasks, batch)
            proxy.fault, proxy.times = None, 1
        send(tasks, batch)
        assert keys(label_studio, project, batch) == [task.key for task in tasks], f"killed at request {at}"
    found = state(label_studio, project)  # as many undisturbed pushes leave it
    assert len(found["tasks"]) == 5 + 3 * count
    assert all(versions == ["m1"] for _, _, versions in found["tasks"])
    assert (found["model_version"], found["storages"], len(found["views"])) == ("m1", 1, count + 1)


@pytest.mark.slow
def test_answers_that_come_too_late(
    label_studio: Running, project: int, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes take effect, and their answers come after the timeout."""
    monkeypatch.setattr(client_module, "_IMPORT_TIMEOUT_S", 1.0)
    hasty = Connection(proxy.url, label_studio.info.token, timeout_s=1.0)
    proxy.fault, proxy.only = STALLED, lambda line: not line.startswith("GET")
    for at in range(6):  # storage, three imports, the project's model version, the tab
        batch = f"late{at}"
        tasks = make_tasks(tmp_path, 5, batch=batch)
        proxy.at, proxy._count = at, 0
        for _ in range(2):
            with suppress(UnreachableError):
                send_tasks(hasty, project, tasks, label_studio.images, batch=batch)
        assert keys(label_studio, project, batch) == [task.key for task in tasks], f"stalled at {at}"
    found = state(label_studio, project)
    assert (found["storages"], found["views"]) == (1, [f"queue of late{at}" for at in range(6)])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_request_of_a_pull(
    label_studio: Running,
    project: int,
    proxy: Proxy,
    send: Callable[..., PushResult],
    tmp_path: Path,
    fault: str | int,
) -> None:
    """A pull fails with an error; the next one finds every label."""
    tasks = make_tasks(tmp_path, 4, batch="c1")
    view = send(tasks).view_id
    person = SimulatedAnnotator(label_studio.info.url, label_studio.info.email, label_studio.info.password)
    truth = Boxes(np.array([[10.0, 10, 50, 60]]), np.array([1]))
    person.annotate(project, view, lambda _: truth, classes=CLASSES)
    through = Connection(proxy.url, label_studio.info.token, timeout_s=20.0)

    def fetch() -> list[Any]:
        return fetch_tasks(through, project, tasks)

    proxy.seen.clear()
    fetch()
    count = len(proxy.seen)
    for at in range(count):
        proxy.fault, proxy.at, proxy.times, proxy._count = fault, at, 3, 0  # reads are tried three times
        with pytest.raises(LabelStudioError) as caught:
            fetch()
        assert label_studio.info.token not in str(caught.value)
        proxy.fault = None
        assert {task.state for task in fetch()} == {TaskState.LABELLED}


def test_a_server_that_stalls(label_studio: Running, project: int, tmp_path: Path) -> None:
    """Nothing answers within the timeout: an error."""
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(UnreachableError, match="does not answer"):
            version_of(Connection(url, label_studio.info.token, timeout_s=0.5))
        assert time.monotonic() - began < 20
