"""Faults of the server itself: nothing is lost, nothing is doubled."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from support.failing_proxy import Proxy, proxied
from support.labelling_tasks import (
    CLASSES,
    Running,
    fetch_tasks,
    keys,
    make_tasks,
    request,
    requests_of_a_push,
    send_tasks,
)

from al_loop.cli.simulated_annotator import SimulatedAnnotator
from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.client import Connection
from al_loop.labelling.client.failures import UnreachableError
from al_loop.labelling.client.http import csrf_token
from al_loop.labelling.client.image_serving import LocalFiles
from al_loop.labelling.client.task import OutgoingTask, PushResult, TaskState
from al_loop.labelling.server import server
from al_loop.labelling.server.users import add_user
from al_loop.labelling.tasks import push as push_module
from al_loop.labelling.tasks.project import ensure_project
from al_loop.structures.boxes import Boxes

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("no_pauses")]


def test_a_token_that_is_revoked_in_the_middle(
    label_studio: Running, project: int, proxy: Proxy, send: Callable[..., PushResult], tmp_path: Path
) -> None:
    """The push stops with an error. With a new token it ends as usual."""
    count = requests_of_a_push(send, proxy, tmp_path)
    email = f"p{project}@example.org"
    password = add_user(label_studio.info, email)
    token = _token_of(label_studio, email, password)

    def revoke() -> None:
        nonlocal token
        info = replace(label_studio.info, token=token)
        token = request(info, "POST", "api/current-user/reset-token/").json()["token"]

    def put(batch: str, tasks: list[OutgoingTask]) -> None:
        connection = Connection(proxy.url, token, timeout_s=20.0)
        send_tasks(connection, project, tasks, label_studio.images, batch=batch)

    for at in range(1, count - 1, 3):  # the images' folder is allowed already: one request less
        batch, old = f"r{at}", token
        tasks = make_tasks(tmp_path, 5, batch=batch)
        proxy.meanwhile, proxy.at, proxy._count = revoke, at, 0
        with pytest.raises(LabelStudioError, match=r"refuses the token \(401.*Create a new one") as caught:
            put(batch, tasks)
        assert old not in str(caught.value)
        proxy.meanwhile = None
        put(batch, tasks)
        assert keys(label_studio, project, batch) == [task.key for task in tasks]


def _token_of(running: Running, email: str, password: str) -> str:
    with httpx.Client(base_url=running.info.url, trust_env=False) as browser:
        browser.get("/user/login/")
        form = {"email": email, "password": password, "csrfmiddlewaretoken": csrf_token(browser.cookies)}
        browser.post("/user/login/", data=form)
        return str(browser.get("/api/current-user/token").json()["token"])


def test_the_servers_database_is_locked_for_a_while(
    label_studio: Running, project: int, proxy: Proxy, send: Callable[..., PushResult], tmp_path: Path
) -> None:
    """A hanging disk or backup: the server answers 500 after some seconds, and the push recovers."""
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
    """The server is killed during a long import and started again: each task is there once."""
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
            connection = Connection(url, info.token, timeout_s=20.0)
            return send_tasks(connection, project, tasks, images, batch="big")

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
    """The server reuses the id of a deleted task; answers to the new task do not count for the old one."""
    first, second = make_tasks(tmp_path, 2, batch="c1"), make_tasks(tmp_path, 1, batch="c2")
    send(first, "c1")
    fetch = {
        name: lambda name=name, tasks=tasks: fetch_tasks(
            label_studio.info.connection, project, tasks, batch=name
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
