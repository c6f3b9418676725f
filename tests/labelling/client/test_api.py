"""Short lists and malformed answers: no label is lost, and one error reports them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.failing_proxy import Proxy
from support.labelling_tasks import CLASSES, Running, fetch_tasks, make_tasks, request

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client import client as client_module
from al_loop.labelling.client import http as http_module
from al_loop.labelling.client.client import Connection
from al_loop.labelling.client.task import OutgoingTask, PulledTask, PushResult, TaskState
from al_loop.labelling.tasks.convert import region
from al_loop.labelling.tasks.push import batch_filter
from al_loop.labelling.tasks.regions import ImageSize

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("no_pauses")]


class Labelled:
    """Four tasks that a person has labelled, at a server that answers through the proxy."""

    def __init__(self, running: Running, project: int, proxy: Proxy, tasks: list[OutgoingTask]) -> None:
        self.proxy, self.project, self.tasks = proxy, project, tasks
        self.connection = Connection(proxy.url, running.info.token, timeout_s=20.0)

    def pull(self) -> list[PulledTask]:
        return fetch_tasks(self.connection, self.project, self.tasks)

    def change(self, what: Callable[[Any], Any], only: str = "GET /api/tasks/?") -> None:
        """Change the server's answers to such requests."""
        self.proxy.change = lambda line, body: (
            json.dumps(what(json.loads(body))).encode() if line.startswith(only) else body
        )


@pytest.fixture
def labelled(
    label_studio: Running, project: int, proxy: Proxy, send: Callable[..., PushResult], tmp_path: Path
) -> Labelled:
    tasks = make_tasks(tmp_path, 4, batch="c1")
    send(tasks)
    drawn = region("r", np.array([10.0, 10, 50, 60]), CLASSES[0], ImageSize(320, 180))
    with label_studio.info.connection.open() as api:
        ids = [task["id"] for task in api.tasks(project, batch_filter("c1"), whole=False)]
    for task_id in ids:
        path, body = f"api/tasks/{task_id}/annotations/", {"result": [drawn]}
        request(label_studio.info, "POST", path, body).raise_for_status()
    return Labelled(label_studio, project, proxy, tasks)


def short(count: int) -> Callable[[Any], Any]:
    return lambda page: {**page, "tasks": page["tasks"][:count]}


def test_a_page_that_is_shorter_than_asked_does_not_end_the_list(labelled: Labelled) -> None:
    labelled.change(short(2))
    assert [task.state for task in labelled.pull()] == [TaskState.LABELLED] * 4
    labelled.change(short(1))
    assert [task.state for task in labelled.pull()] == [TaskState.LABELLED] * 4


def test_a_list_that_never_fits_its_total_is_an_error(labelled: Labelled) -> None:
    labelled.change(short(0))
    with pytest.raises(LabelStudioError, match=r"counts 4 such tasks in project .* and lists 0"):
        labelled.pull()
    labelled.change(lambda page: {**page, "total": 9})
    with pytest.raises(LabelStudioError, match=r"counts 9 such tasks in project .* and lists 4"):
        labelled.pull()


def test_a_deletion_between_two_pages_moves_no_other_task(
    labelled: Labelled, label_studio: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_WHOLE_PAGE_SIZE", 2)
    with label_studio.info.connection.open() as api:
        first, *others = [t["id"] for t in api.tasks(labelled.project, batch_filter("c1"), whole=False)]

    def delete() -> None:
        with label_studio.info.connection.open() as api:
            api.delete_task(first)

    labelled.proxy.only = lambda line: line.startswith("GET /api/tasks/?")
    labelled.proxy.at, labelled.proxy._count, labelled.proxy.meanwhile = 1, 0, delete
    found = labelled.pull()
    assert [task.task_id for task in found] == [first, *others]  # read before its deletion
    assert [task.state for task in found] == [TaskState.LABELLED] * 4
    assert [task.state for task in labelled.pull()] == [TaskState.DELETED] + [TaskState.LABELLED] * 3


def test_a_task_counts_as_deleted_only_when_its_key_is_not_there(
    labelled: Labelled, label_studio: Running
) -> None:
    """Somebody has changed the field by which lists are filtered."""
    with label_studio.info.connection.open() as api:
        task = api.tasks(labelled.project, batch_filter("c1"), whole=False)[2]
        api.change_data(task["id"], task["data"] | {"al_batch": "another"})
        api.delete_task(api.tasks(labelled.project, whole=False)[0]["id"])
    assert [task.state for task in labelled.pull()] == [TaskState.DELETED] + [TaskState.LABELLED] * 3


DEEP = "[" * 100_000 + "]" * 100_000
STRANGE = [
    "null", "{}", '"tasks"', "[1, 2]", "7", DEEP, "\xff", "9" * 5000,
    '{"tasks": null, "total": 0}', '{"tasks": [1], "total": 1}', '{"tasks": [], "total": "4"}',
    '{"tasks": [{"id": "7", "data": {}}], "total": 1}', '{"tasks": [{"id": 7, "data": []}], "total": 1}',
]  # fmt: skip


def test_an_answer_of_any_other_shape_is_one_error(label_studio: Running, project: int, proxy: Proxy) -> None:
    said: list[str] = []
    with Connection(proxy.url, label_studio.info.token, timeout_s=20.0).open() as api:
        asked: list[Callable[[], object]] = [
            lambda: api.tasks(project, whole=True), lambda: api.views(project), api.users,
            lambda: api.project(project), lambda: api.projects("x"),
            lambda: api.storages("localfiles", project), lambda: api.uploads(project),
            lambda: api.create_view(project, {}), api.whoami, api.version,
        ]  # fmt: skip
        for answer in STRANGE:
            proxy.change = lambda line, body: answer.encode("latin-1")  # noqa: B023
            before = len(said)
            for ask in asked:
                try:
                    ask()
                except LabelStudioError as error:
                    said.append(str(error))
            assert len(said) - before >= len(asked) - 2, answer[:40]  # an object may be a version, and a user
    assert all("does not answer like Label Studio" in one and len(one) < 500 for one in said)


def test_one_task_that_cannot_be_read_is_refused_and_the_others_go_on(labelled: Labelled) -> None:
    bare: Any = {"type": "rectanglelabels", "id": "a"}
    WRONG: list[dict[str, Any]] = [  # noqa: N806
        {"result": None}, {"result": {}}, {"result": ""}, {"result": [{**bare, "value": [1]}]},
        {"result": [{**bare, "value": {"rectanglelabels": [{"a": 1}]}}]}, {"result": [None]}, {"id": None},
        {"updated_at": None}, {"updated_at": 7}, {"completed_by": [1]}, {"was_cancelled": "no"},
        {"result": [bare] * 100_000},
    ]  # fmt: skip
    for at in range(0, len(WRONG), 4):

        def damage(page: Any, some: list[Any] = WRONG[at : at + 4]) -> Any:
            for task, wrong in zip(page["tasks"], some, strict=True):
                task["annotations"][0] |= wrong
            return page

        labelled.change(damage)
        found = labelled.pull()
        assert [task.state for task in found] == [TaskState.REFUSED] * 4
        assert all(task.problem and task.url and len(task.problem) < 300 for task in found)
    labelled.change(
        lambda page: {
            **page,
            "tasks": [t | {"annotations": None} for t in page["tasks"][:1]] + page["tasks"][1:],
        }
    )
    assert [t.state for t in labelled.pull()] == [TaskState.REFUSED] + [TaskState.LABELLED] * 3


def test_an_answer_has_an_end(labelled: Labelled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "MAX_BYTES", 1_000)
    with pytest.raises(LabelStudioError, match=r"does not end its answer .*longer than"):
        labelled.pull()
    monkeypatch.undo()
    monkeypatch.setattr(http_module, "MAX_S", -1.0)
    with pytest.raises(LabelStudioError, match=r"does not end its answer .*takes longer than"):
        labelled.pull()
