"""Push, label, pull, on a real server."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.labelling_tasks import CLASSES, Running, expected, fetch_tasks, make_tasks, request, version_of

from al_loop.cli.simulated_annotator import AnnotatorCounts, SimulatedAnnotator
from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.client import Api, Connection
from al_loop.labelling.client.failures import NotFoundError, UnauthorizedError, UnreachableError
from al_loop.labelling.client.image_serving import ImageServing, Upload
from al_loop.labelling.client.task import Edits, OutgoingTask, PulledTask, PushResult, TaskState
from al_loop.labelling.server import server
from al_loop.labelling.tasks import push as push_module
from al_loop.labelling.tasks.project import ensure_project
from al_loop.labelling.tasks.pull import ChangedTasks, LabelRules, changed_since
from al_loop.labelling.tasks.push import Batch, batch_filter, push
from al_loop.structures.boxes import Boxes

pytestmark = pytest.mark.server


class ProjectClient:
    """Pushes to and pulls from one project."""

    def __init__(self, running: Running, project: int, folder: Path) -> None:
        self.connection = running.info.connection
        self.info = running.info
        self.project = project
        self.images: ImageServing = running.images
        self.folder = folder

    def push(self, tasks: Sequence[OutgoingTask], batch: str = "c1", model: str = "m1") -> PushResult:
        sent = Batch(batch, tasks, model)
        return push(self.connection, self.project, sent, classes=CLASSES, images=self.images)

    def pull(self, tasks: list[OutgoingTask], batch: str = "c1") -> list[PulledTask]:
        return fetch_tasks(self.connection, self.project, tasks, batch=batch)

    def annotate(
        self, view_id: int, truth: dict[str, Boxes | None], limit: int | None = None
    ) -> AnnotatorCounts:
        person = SimulatedAnnotator(self.info.url, self.info.email, self.info.password)
        return person.annotate(self.project, view_id, truth.__getitem__, classes=CLASSES, limit=limit)

    def submit(self, task_id: int, **annotation: Any) -> None:
        """Submit something the simulated annotator never would."""
        request(self.info, "POST", f"api/tasks/{task_id}/annotations", annotation).raise_for_status()

    def draft(self, task_id: int) -> None:
        """Begin a task, and do not submit."""
        body = {"result": [], "lead_time": 1.0}
        request(self.info, "POST", f"api/tasks/{task_id}/drafts", body).raise_for_status()


@pytest.fixture
def client(label_studio: Running, project: int, tmp_path: Path) -> ProjectClient:
    return ProjectClient(label_studio, project, tmp_path)


def truth_of(tasks: list[OutgoingTask]) -> dict[str, Boxes | None]:
    rng = np.random.default_rng(5)
    answers: dict[str, Boxes | None] = {}
    for task in tasks:
        moved = np.array([[10.0, 10.0, 50.0, 60.0]]) + rng.uniform(-3, 3, (1, 4))
        new = np.array([[201.123456789, 99.5, 319.999, 180.0]])
        answers[task.image_id] = Boxes(np.vstack([moved, new]), np.array([1, 2]))
    return answers


@pytest.mark.parametrize("way", ["local-files", "upload"])
def test_push_repeat_label_pull(client: ProjectClient, way: str) -> None:
    if way == "upload":
        client.images = Upload()
    tasks = make_tasks(client.folder, 5, batch="c1")
    first = client.push(tasks)
    assert (first.created, first.already_there) == (5, 0)
    again = client.push(tasks)
    assert again == dataclasses.replace(first, created=0, already_there=5)
    assert (
        first.queue_url == f"{client.info.url}/projects/{client.project}/data?tab={first.view_id}&labeling=1"
    )
    assert {task.state for task in client.pull(tasks)} == {TaskState.PENDING}

    truth = truth_of(tasks)
    truth[tasks[1].image_id] = None
    truth[tasks[2].image_id] = Boxes()
    # The first in the queue is the first in rank, and a limit leaves the others open.
    assert client.annotate(first.view_id, truth, limit=1) == AnnotatorCounts(
        1, 0, 0, kept=1, deleted=1, added=1
    )
    assert [task.state for task in client.pull(tasks)] == [TaskState.LABELLED] + [TaskState.PENDING] * 4
    counts = client.annotate(first.view_id, truth)
    assert (counts.labelled, counts.empty, counts.skipped) == (2, 1, 1)

    pulled = client.pull(tasks)
    labelled, empty, skipped = TaskState.LABELLED, TaskState.EMPTY, TaskState.SKIPPED
    assert [task.state for task in pulled] == [labelled, skipped, empty, labelled, labelled]
    for task in (pulled[0], pulled[3], pulled[4]):
        want = truth[task.image_id]
        assert task.boxes is not None
        assert want is not None
        assert task.boxes.scores is None
        np.testing.assert_allclose(task.boxes.xyxy, want.xyxy, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(task.boxes.labels, want.labels)
        assert task.edits == Edits(relabelled=1, deleted=1, added=1)
        assert task.annotator == client.info.email
        assert task.lead_time_s is not None
    assert pulled[1].boxes is None
    assert pulled[2].boxes is not None
    assert len(pulled[2].boxes) == 0


def test_the_second_cycle_has_its_own_queue_and_shows_its_own_boxes(client: ProjectClient) -> None:
    first, second = (make_tasks(client.folder, 2, batch=name) for name in ("c1", "c2"))
    one, two = client.push(first), client.push(second, "c2", "m2")
    assert one.view_id != two.view_id
    # Boxes are shown only under the project's model version: the annotator keeps one per image.
    counts = client.annotate(two.view_id, truth_of(second))
    assert counts == AnnotatorCounts(labelled=2, kept=2, deleted=2, added=2)
    assert {task.state for task in client.pull(first)} == {TaskState.PENDING}


def test_the_queue_is_in_the_order_of_the_ranks(client: ProjectClient) -> None:
    tasks = make_tasks(client.folder, 12, batch="c1")  # 12: as text, 10 and 11 would come before 2
    client.push(tasks[6:])
    view = client.push(tasks[::-1]).view_id
    with client.connection.open() as api:
        answer = request(client.info, "GET", "api/tasks/", view=view)
        assert [task["data"]["al_rank"] for task in answer.json()["tasks"]] == list(range(12))
        assert len(api.views(client.project)) == 1


def test_a_reply_lost_after_the_commit_doubles_nothing(
    client: ProjectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_module, "CHUNK", 2)
    really, calls = Api.import_tasks, []

    def lossy(self: Api, project_id: int, tasks: Sequence[dict[str, Any]]) -> None:
        really(self, project_id, tasks)
        calls.append(len(tasks))
        if len(calls) == 2:
            raise UnreachableError("the reply was lost")

    monkeypatch.setattr(Api, "import_tasks", lossy)
    tasks = make_tasks(client.folder, 5, batch="c1")
    assert client.push(tasks).created == 5
    assert calls == [2, 2, 1]
    with client.connection.open() as api:
        keys = [t["data"]["al_key"] for t in api.tasks(client.project, batch_filter("c1"), whole=False)]
    assert sorted(keys) == [task.key for task in tasks]


def double(client: ProjectClient, key: str) -> int:
    """Import a task a second time, as a lost reply and a careless retry do; return the copy's id."""
    with client.connection.open() as api:
        there = api.tasks(client.project, batch_filter("c1"), whole=False)
        (task,) = [t for t in there if t["data"]["al_key"] == key]
        api.import_tasks(client.project, [{"data": task["data"]}])
        ids = {t["id"] for t in api.tasks(client.project, batch_filter("c1"), whole=False)}
    (copy,) = ids - {t["id"] for t in there}
    return int(copy)


def test_surplus_tasks_go_and_peoples_work_stays(client: ProjectClient) -> None:
    tasks = make_tasks(client.folder, 3, batch="c1")
    client.push(tasks)
    before = [task.task_id for task in client.pull(tasks)]
    copies = [double(client, task.key) for task in tasks]
    (pulled, *_) = client.pull(tasks)
    assert pulled.state is TaskState.REFUSED
    assert "2 tasks for this image" in str(pulled.problem)
    # Somebody has worked on the copy of the second, and begun the third.
    client.submit(copies[1], result=[])
    client.draft(copies[2])
    assert client.push(tasks).already_there == 3
    after = client.pull(tasks)
    assert [task.task_id for task in after] == [before[0], copies[1], copies[2]]
    assert [task.state for task in after] == [TaskState.PENDING, TaskState.EMPTY, TaskState.DRAFT]


def test_work_on_both_of_two_tasks_is_kept_and_named(client: ProjectClient) -> None:
    (task,) = tasks = make_tasks(client.folder, 1, batch="c1")
    client.push(tasks)
    (pulled,) = client.pull(tasks)
    copy = double(client, task.key)
    for task_id in (pulled.task_id or 0, copy):
        client.submit(task_id, result=[])
    with pytest.raises(LabelStudioError, match=f"tasks {pulled.task_id}, {copy}.*Nothing was deleted"):
        client.push(tasks)
    with client.connection.open() as api:
        assert len(api.tasks(client.project, batch_filter("c1"), whole=False)) == 2


def test_what_changed_since_the_last_pull(client: ProjectClient) -> None:
    tasks = make_tasks(client.folder, 3, batch="c1")
    client.push(tasks)
    wanted = {item.task_key: item for item in expected(tasks)}

    def changed(since: str | None) -> ChangedTasks:
        return changed_since(client.connection, client.project, since, wanted, LabelRules(CLASSES))

    first = changed(None)
    assert len(first.tasks) == 3
    assert first.newest is not None
    later = (datetime.fromisoformat(first.newest) + timedelta(minutes=2)).isoformat()
    assert changed(later) == ChangedTasks([], later)
    ids = {task.key: task.task_id or 0 for task in client.pull(tasks)}
    client.submit(ids[tasks[1].key], result=[])
    again = changed(first.newest)
    assert {t.key: t.state for t in again.tasks}[tasks[1].key] is TaskState.EMPTY
    assert str(again.newest) > first.newest


def test_one_bad_result_is_refused_and_the_others_go_on(client: ProjectClient) -> None:
    tasks = make_tasks(client.folder, 4, batch="c1")
    client.push(tasks)
    ids = [task.task_id or 0 for task in client.pull(tasks)]
    base = {
        "type": "rectanglelabels", "from_name": "label", "to_name": "image", "image_rotation": 0,
        "original_width": 320, "original_height": 180,
    }  # fmt: skip
    box = {"x": 25.0, "y": 50.0, "width": 50.0, "height": 25.0, "rotation": 0, "rectanglelabels": ["one"]}
    client.submit(ids[0], result=[base | {"id": "a", "value": box | {"rectanglelabels": ["scratch"]}}])
    client.submit(ids[1], result=[base | {"id": "a", "value": box, "image_rotation": 90}])
    # Two people: the newest submitted one counts, and a later skip does not undo it.
    client.submit(ids[2], result=[base | {"id": "a", "value": box | {"x": 0.0}}])
    client.submit(ids[2], result=[base | {"id": "a", "value": box}])
    client.submit(ids[2], result=[], was_cancelled=True)
    unknown, turned, good, pending = client.pull(tasks)
    assert (unknown.state, turned.state) == (TaskState.REFUSED, TaskState.REFUSED)
    assert "'scratch' is not one of the workspace's classes: one, two & <three>, drei\u00df" in str(
        unknown.problem
    )
    assert unknown.url == f"{client.info.url}/projects/{client.project}/data?task={ids[0]}"
    assert "rotated by 90" in str(turned.problem)
    assert good.boxes is not None
    np.testing.assert_allclose(good.boxes.xyxy, [[80.0, 90.0, 240.0, 135.0]], atol=1e-9)
    assert pending.state is TaskState.PENDING


def test_drafts_and_deleted_tasks(client: ProjectClient) -> None:
    tasks = make_tasks(client.folder, 3, batch="c1")
    client.push(tasks)
    ids = [task.task_id or 0 for task in client.pull(tasks)]
    client.draft(ids[0])
    with client.connection.open() as api:
        api.delete_task(ids[2])
    states = [task.state for task in client.pull(tasks)]
    assert states == [TaskState.DRAFT, TaskState.PENDING, TaskState.DELETED]
    assert [state.open for state in states] == [True, True, False]


def test_a_deleted_project_says_what_to_do(client: ProjectClient) -> None:
    tasks = make_tasks(client.folder, 1, batch="c1")
    client.push(tasks)
    with client.connection.open() as api:
        api.delete_project(client.project)
    says = f"project {client.project} is not on .* al-loop label-studio new-project"
    with pytest.raises(NotFoundError, match=says):
        client.push(tasks)
    with pytest.raises(NotFoundError, match=says):
        client.pull(tasks)
    with pytest.raises(NotFoundError, match=says):
        ensure_project(client.connection, "again", CLASSES, client.project)


def test_the_project_is_found_again(client: ProjectClient, request: pytest.FixtureRequest) -> None:
    assert ensure_project(client.connection, "any title", CLASSES, client.project) == client.project
    with pytest.raises(LabelStudioError, match="classes of project"):
        ensure_project(client.connection, "any title", CLASSES[:2], client.project)
    # Killed after the creation and before the id was noted: the empty project is taken, not another made.
    made = ensure_project(client.connection, "x", CLASSES)
    assert ensure_project(client.connection, "x", CLASSES) == made


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("/data/upload/1/none.jpg", "404|403|500"),
        ("/user/login/", "answers with text/html|does not have this|redirects"),
    ],
)
def test_an_image_that_browsers_cannot_get_stops_the_push(client: ProjectClient, url: str, says: str) -> None:
    class Elsewhere(Upload):
        def publish(self, api: Api, project_id: int, tasks: Sequence[OutgoingTask]) -> dict[str, str]:
            return {task.key: url for task in tasks}

    client.images = Elsewhere()
    tasks = make_tasks(client.folder, 2, batch="c1")
    with pytest.raises(
        LabelStudioError, match=rf"(?s)teil#0 50%.*is not reachable from the browser: .*({says})"
    ):
        client.push(tasks)
    with client.connection.open() as api:
        assert api.tasks(client.project, batch_filter("c1"), whole=False) == []


def test_a_wrong_token(client: ProjectClient) -> None:
    wrong = Connection(client.info.url, "feedfacefeedfacefeedfacefeedfacefeedface")
    for doing in (lambda: version_of(wrong), lambda: ensure_project(wrong, "title", CLASSES, client.project)):
        with pytest.raises(UnauthorizedError, match="refuses the token") as caught:
            doing()
        assert "feedface" not in str(caught.value)
        assert "sessionid" not in str(caught.value)


def test_a_personal_access_token(client: ProjectClient) -> None:
    settings = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True, "api_token_ttl_days": 30}
    request(client.info, "POST", "api/jwt/settings", settings).raise_for_status()
    answer = request(client.info, "POST", "api/token/").raise_for_status()
    personal = Connection(client.info.url, answer.json()["token"])
    assert ensure_project(personal, "title", CLASSES, client.project) == client.project


def test_a_wrong_login(client: ProjectClient) -> None:
    person = SimulatedAnnotator(client.info.url, client.info.email, "wrong")
    with pytest.raises(LabelStudioError, match="does not accept the login"):
        person.annotate(client.project, 1, lambda _: None, classes=CLASSES)


def test_a_missing_image_is_named(client: ProjectClient) -> None:
    (task,) = make_tasks(client.folder, 1, batch="c1")
    task.image_path.unlink()
    for images in (client.images, Upload()):
        client.images = images
        with pytest.raises(LabelStudioError, match="teil#0 50%"):
            client.push([task])


def test_the_server_shows_only_the_images_it_was_given(client: ProjectClient, label_studio: Running) -> None:
    client.push(make_tasks(client.folder, 1, batch="c1"))
    (server.media_root(label_studio.home) / "elsewhere.txt").write_text("unlisted")
    for path in ("elsewhere.txt", "../credentials.json", f"project-{client.project}/../../credentials.json"):
        answer = request(client.info, "GET", "data/local-files/", d=path)
        assert answer.status_code in (403, 404, 500)  # 500: Django's word for a path that climbs out
        assert "unlisted" not in answer.text
        assert client.info.token not in answer.text
