"""Whatever goes wrong on the way to the real server, and at whichever request: nothing is lost, nothing is doubled."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from faulty import BAD_GATEWAY, LOST, STALLED, UNANSWERED, UNAVAILABLE, Proxy, proxied
from labelling_fixtures import CLASSES, Running, expected, make_tasks

from al_loop.boxes import Boxes
from al_loop.errors import LabelStudioError
from al_loop.labelling import connection as connection_module
from al_loop.labelling import push as push_module
from al_loop.labelling import server
from al_loop.labelling.annotator import SimulatedAnnotator
from al_loop.labelling.connection import Connection, UnreachableError
from al_loop.labelling.project import ensure_project
from al_loop.labelling.pull import pull
from al_loop.labelling.push import batch_filter, push
from al_loop.labelling.serving import LocalFiles
from al_loop.labelling.tasks import OutgoingTask, PushResult, TaskState
from al_loop.labelling.users import add_user

pytestmark = pytest.mark.server

FAULTS = (LOST, UNANSWERED, BAD_GATEWAY, UNAVAILABLE)


@pytest.fixture
def proxy(label_studio: Running) -> Iterator[Proxy]:
    with proxied(label_studio.info.url) as made:
        yield made


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_module, "_PAUSE_S", 0.0)
    monkeypatch.setattr(push_module, "CHUNK", 2)


@pytest.fixture
def send(label_studio: Running, project: int, proxy: Proxy) -> Callable[..., PushResult]:
    """Push to the project, through the proxy."""

    def run(tasks: list[OutgoingTask], batch: str = "c1") -> PushResult:
        return push(
            Connection(proxy.url, label_studio.info.token, timeout_s=20.0), project, batch, tasks,
            model_version="m1", classes=CLASSES, images=LocalFiles(server.media_root(label_studio.home)), title="t",
        )  # fmt: skip

    return run


def state(running: Running, project: int) -> dict[str, Any]:
    """What is on the server, without its own numbers."""
    with running.info.connection.open() as api:
        tasks = api.tasks(project, {"conjunction": "and", "items": []}, whole=True)
        views, settings = api.views(project), api.project(project)
        storages = api.local_storages(project)
    return {
        "tasks": sorted(
            (t["data"]["al_key"], t["data"]["al_rank"], [p["model_version"] for p in t["predictions"]])
            for t in tasks
        ),
        "views": sorted(str(view["data"]["title"]) for view in views),
        "model_version": settings["model_version"],
        "storages": len(storages),
    }


def keys(running: Running, project: int, batch: str) -> list[str]:
    """What a batch has on the server, each task by its key."""
    with running.info.connection.open() as api:
        return sorted(t["data"]["al_key"] for t in api.tasks(project, batch_filter(batch), whole=False))


def requests_of_a_push(send: Callable[..., PushResult], proxy: Proxy, folder: Path) -> int:
    """How many requests an undisturbed push makes."""
    send(make_tasks(folder, 5, batch="probe"), "probe")
    count = len(proxy.seen)
    proxy.seen.clear()
    return count


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_request_of_a_push(
    label_studio: Running,
    project: int,
    proxy: Proxy,
    send: Callable[..., PushResult],
    tmp_path: Path,
    fault: str | int,
) -> None:
    """Each request in turn fails once; a second push, if the first gave up, ends as an undisturbed one does."""
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
        batches = [push_module._batch_of(view) for view in api.views(project)]
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
    """The limits that people have: 60 s, and 300 s for an import."""
    usual = Connection(proxy.url, label_studio.info.token)
    images = LocalFiles(server.media_root(label_studio.home))
    tasks = make_tasks(tmp_path, 5, batch="minute")

    def send() -> PushResult:
        return push(
            usual,
            project,
            "minute",
            tasks,
            model_version="m1",
            classes=CLASSES,
            images=images,
            title="minute",
        )

    proxy.fault, proxy.only, proxy.at, proxy.stall_s = (
        STALLED,
        lambda line: not line.startswith("GET"),
        at,
        61.0,
    )
    began = time.monotonic()
    with nullcontext() if patient else pytest.raises(UnreachableError):
        send()
    assert time.monotonic() - began >= 60
    send()
    found = state(label_studio, project)
    assert keys(label_studio, project, "minute") == [task.key for task in tasks]
    assert (found["model_version"], found["storages"], found["views"]) == ("m1", 1, ["minute"])


@pytest.mark.parametrize("before", [True, False])
def test_our_process_is_killed_at_any_request(
    label_studio: Running, project: int, proxy: Proxy, send: Callable[..., PushResult], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, before: bool,
) -> None:  # fmt: skip
    """Killed before a request goes out, or before its answer is read; started again it ends as if nothing had been."""
    count = requests_of_a_push(send, proxy, tmp_path)
    really = connection_module.Connection.explain
    for at in range(count):
        batch, calls = f"k{at}", []
        tasks = make_tasks(tmp_path, 3, batch=batch)

        def killing(self: Connection, doing: str) -> Any:
            calls.append(doing)  # noqa: B023
            if before and len(calls) == at + 1:  # noqa: B023
                raise KeyboardInterrupt
            return really(self, doing)

        if before:
            with monkeypatch.context() as patch:
                patch.setattr(connection_module.Connection, "explain", killing)
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


def test_answers_that_come_too_late(
    label_studio: Running, project: int, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever creates or changes something is done, and its answer comes when nobody waits any more."""
    monkeypatch.setattr(connection_module, "_IMPORT_TIMEOUT_S", 1.0)
    hasty = Connection(proxy.url, label_studio.info.token, timeout_s=1.0)
    images = LocalFiles(server.media_root(label_studio.home))
    proxy.fault, proxy.only = STALLED, lambda line: not line.startswith("GET")
    for at in range(6):  # storage, three imports, the project's model version, the tab
        batch = f"late{at}"
        tasks = make_tasks(tmp_path, 5, batch=batch)
        proxy.at, proxy._count = at, 0
        for _ in range(2):
            with suppress(UnreachableError):
                push(
                    hasty, project, batch, tasks,
                    model_version="m1", classes=CLASSES, images=images, title=batch,
                )  # fmt: skip
        assert keys(label_studio, project, batch) == [task.key for task in tasks], f"stalled at {at}"
    found = state(label_studio, project)
    assert (found["storages"], found["views"]) == (1, [f"late{at}" for at in range(6)])


def test_a_token_that_is_revoked_in_the_middle(
    label_studio: Running, project: int, proxy: Proxy, send: Callable[..., PushResult], tmp_path: Path
) -> None:
    """The push stops and says so; with a new token it ends as if nothing had been."""
    count = requests_of_a_push(send, proxy, tmp_path)
    email = f"p{project}@example.org"
    password = add_user(label_studio.info, email)
    token = _token_of(label_studio, email, password)
    images = LocalFiles(server.media_root(label_studio.home))

    def revoke() -> None:
        nonlocal token
        answer = httpx.post(
            f"{label_studio.info.url}/api/current-user/reset-token/",
            headers={"Authorization": f"Token {token}"}, trust_env=False,
        )  # fmt: skip
        token = answer.json()["token"]

    def put(batch: str, tasks: list[OutgoingTask]) -> None:
        push(
            Connection(proxy.url, token, timeout_s=20.0), project, batch, tasks,
            model_version="m1", classes=CLASSES, images=images, title=batch,
        )  # fmt: skip

    for at in range(1, count - 1, 3):  # the images' folder is allowed already: one request less
        batch, old = f"r{at}", token
        tasks = make_tasks(tmp_path, 5, batch=batch)
        proxy.meanwhile, proxy.at, proxy._count = revoke, at, 0
        with pytest.raises(LabelStudioError, match=r"refuses the token \(401.*Make a new one") as caught:
            put(batch, tasks)
        assert old not in str(caught.value)
        proxy.meanwhile = None
        put(batch, tasks)
        assert keys(label_studio, project, batch) == [task.key for task in tasks]


def _token_of(running: Running, email: str, password: str) -> str:
    with httpx.Client(base_url=running.info.url, trust_env=False) as browser:
        browser.get("/user/login/")
        form = {"email": email, "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        browser.post("/user/login/", data=form)
        return str(browser.get("/api/current-user/token").json()["token"])


def test_the_servers_database_is_locked_for_a_while(
    label_studio: Running, project: int, proxy: Proxy, send: Callable[..., PushResult], tmp_path: Path
) -> None:
    """A backup or a disk that hangs: the server answers 500 after some seconds, and the push goes on when it can."""
    done = []

    def lock() -> None:
        database = sqlite3.connect(
            label_studio.home / "data" / "label_studio.sqlite3", check_same_thread=False
        )
        database.execute("BEGIN EXCLUSIVE")

        def release() -> None:
            database.rollback()
            database.close()
            done.append(True)

        threading.Timer(8.0, release).start()

    proxy.meanwhile, proxy.only, proxy.at = lock, lambda line: line.startswith("POST") and "import" in line, 1
    tasks = make_tasks(tmp_path, 5, batch="locked")
    with suppress(LabelStudioError):
        send(tasks, "locked")
    while not done:
        time.sleep(0.1)
    send(tasks, "locked")
    assert keys(label_studio, project, "locked") == [task.key for task in tasks]
    assert "database is locked" in (label_studio.home / "server.log").read_text()


def test_the_server_is_killed_in_the_middle_of_an_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than two pages of tasks; the server dies over them, is started again, and has each once."""
    monkeypatch.setattr(push_module, "CHUNK", 250)
    home = tmp_path / "label-studio"
    (few,) = make_tasks(tmp_path, 1, batch="big")
    tasks = [replace(few, key=f"ws/big/{rank:04}", rank=rank) for rank in range(1100)]
    images = LocalFiles(server.media_root(home))
    try:
        info = server.start(home)
        project = ensure_project(info.connection, "killed", CLASSES)

        def kill() -> None:
            threading.Timer(0.3, os.kill, (info.pid, signal.SIGKILL)).start()

        def put(url: str) -> PushResult:
            return push(
                Connection(url, info.token, timeout_s=20.0), project, "big", tasks,
                model_version="m1", classes=CLASSES, images=images, title="big",
            )  # fmt: skip

        with proxied(info.url) as proxy:
            proxy.meanwhile, proxy.only = kill, lambda line: line.startswith("POST") and "import" in line
            proxy.at = 2
            with pytest.raises(UnreachableError, match="al-loop label-studio start"):
                put(proxy.url)
        again = server.start(home)
        running = Running(home, again)
        there = keys(running, project, "big")
        assert 250 <= len(there) < 1100
        result = put(again.url)
        assert (result.created, result.already_there) == (1100 - len(there), len(there))
        assert keys(running, project, "big") == [task.key for task in tasks]
    finally:
        server.stop(home)


def test_a_number_that_is_used_again_is_another_task(
    label_studio: Running, project: int, send: Callable[..., PushResult], tmp_path: Path
) -> None:
    """The server gives the number of a deleted task to the next one; what people say of that is not taken for the old one's."""
    first, second = make_tasks(tmp_path, 2, batch="c1"), make_tasks(tmp_path, 1, batch="c2")
    send(first, "c1")
    fetch = {
        name: lambda name=name, tasks=tasks: pull(
            label_studio.info.connection, project, name, expected(tasks), classes=CLASSES
        )
        for name, tasks in (("c1", first), ("c2", second))
    }
    newest = max(task.task_id or 0 for task in fetch["c1"]())
    with label_studio.info.connection.open() as api:
        api.delete_task(newest)
    view = send(second, "c2").view_id
    assert fetch["c2"]()[0].task_id == newest
    person = SimulatedAnnotator(label_studio.info.url, label_studio.info.email, label_studio.info.password)
    person.annotate(
        project, view, lambda _: Boxes(np.array([[1.0, 1, 9, 9]]), np.array([2])), classes=CLASSES
    )
    assert fetch["c2"]()[0].state is TaskState.LABELLED
    assert sorted(task.state for task in fetch["c1"]()) == [TaskState.DELETED, TaskState.PENDING]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_request_of_a_pull(
    label_studio: Running,
    project: int,
    proxy: Proxy,
    send: Callable[..., PushResult],
    tmp_path: Path,
    fault: str | int,
) -> None:
    """A pull that fails says so; the next finds every label."""
    tasks = make_tasks(tmp_path, 4, batch="c1")
    view = send(tasks).view_id
    person = SimulatedAnnotator(label_studio.info.url, label_studio.info.email, label_studio.info.password)
    truth = Boxes(np.array([[10.0, 10, 50, 60]]), np.array([1]))
    person.annotate(project, view, lambda _: truth, classes=CLASSES)
    through = Connection(proxy.url, label_studio.info.token, timeout_s=20.0)

    def fetch() -> list[Any]:
        return pull(through, project, "c1", expected(tasks), classes=CLASSES)

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
    """Nothing answers within the time: said, and not waited for for ever."""
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(UnreachableError, match="does not answer"):
            Connection(url, label_studio.info.token, timeout_s=0.5).check()
        assert time.monotonic() - began < 20
