"""Finished tasks that are sent back: one tab with the reasons, on the real server."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.labelling_tasks import Running, fetch_tasks, make_tasks, request, send_tasks

from al_loop.labelling.client.task import TaskState
from al_loop.labelling.tasks.push import batch_filter, ensure_view
from al_loop.labelling.tasks.review import send_back, task_pages

pytestmark = pytest.mark.server


def test_tasks_are_sent_back_with_the_reason(label_studio: Running, project: int, tmp_path: Path) -> None:
    connection = label_studio.info.connection
    made = make_tasks(tmp_path, 3, batch="c1")
    first = send_tasks(connection, project, made, label_studio.images)
    with connection.open() as api:
        ids = {task["data"]["al_key"]: task["id"] for task in api.tasks(project, whole=False)}
    for task in made:
        request(label_studio.info, "POST", f"api/tasks/{ids[task.key]}/annotations/", {"result": []})
    reasons = {made[1].key: "Please check: no box at 1, 2, 3, 4", "of a deleted task": "x"}
    done = send_back(connection, project, "c1", reasons, "Cycle 1: check again")
    assert done.tasks == 1
    assert send_back(connection, project, "c1", reasons, "Cycle 1: check again") == done

    shown = request(label_studio.info, "GET", "api/tasks/", project=project, view=done.view_id).json()
    (task,) = shown["tasks"]
    assert task["data"]["al_key"] == made[1].key
    assert task["data"]["reason"] == reasons[made[1].key]
    assert done.url.endswith(f"/projects/{project}/data?tab={done.view_id}")
    # The queue of the batch and the answers are as before.
    with connection.open() as api:
        assert ensure_view(api, project, batch_filter("c1"), "") == first.view_id != done.view_id
    assert [task.state for task in fetch_tasks(connection, project, made)] == [TaskState.EMPTY] * 3


def test_the_addresses_of_tasks(label_studio: Running, project: int, tmp_path: Path) -> None:
    connection = label_studio.info.connection
    made = make_tasks(tmp_path, 2, batch="c1")
    send_tasks(connection, project, made, label_studio.images)
    pages = task_pages(connection, project, [made[0].key, "of a deleted task"])
    with connection.open() as api:
        (task,) = [t for t in api.tasks(project, whole=False) if t["data"]["al_key"] == made[0].key]
    assert pages == {made[0].key: f"{connection.base_url}/projects/{project}/data?task={task['id']}"}
