"""Two people at one queue, in real browsers: the tasks that Label Studio gives them, and their answers.

By the link of a cycle Label Studio hands both the same picture, and takes what both submit; by its button
"Label All Tasks" each gets pictures of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support.annotation_page import AnnotationPage, chromium, corners, needs_chromium
from support.labelling_tasks import BLOCKS, CLASSES, Running, block_tasks, fetch_tasks, send_tasks

from al_loop.cli.simulated_annotator import AnnotatorCounts, SimulatedAnnotator
from al_loop.labelling.client.responses import Json
from al_loop.labelling.client.task import Agreement, PulledTask, TaskState
from al_loop.labelling.server.users import add_user
from al_loop.labelling.tasks.agreement import Policy
from al_loop.labelling.tasks.project import ensure_project
from al_loop.labelling.tasks.push import batch_filter
from al_loop.structures.boxes import Boxes

pytestmark = pytest.mark.server


@dataclass(frozen=True)
class Person:
    email: str
    password: str


class Queue:
    """One batch on the real server, and the logins of two people."""

    def __init__(self, running: Running, project: int, folder: Path, count: int) -> None:
        self.info, self.project = running.info, project
        self.tasks = block_tasks(folder, count)
        self.pushed = send_tasks(running.info.connection, project, self.tasks, running.images)
        names = (f"ada-{project}@example.org", f"bob-{project}@example.org")
        self.ada, self.bob = (Person(name, add_user(running.info, name)) for name in names)

    def pull(self, policy: Policy | None = None, overlap: int = 1) -> list[PulledTask]:
        return fetch_tasks(self.info.connection, self.project, self.tasks, policy=policy, overlap=overlap)

    def ids(self) -> list[int]:
        return [task.task_id or 0 for task in self.pull()]

    def annotations(self) -> dict[int, list[Json]]:
        with self.info.connection.open() as api:
            there = api.tasks(self.project, batch_filter("c1"), whole=True)
        return {int(task["id"]): task["annotations"] for task in there}


@pytest.fixture
def queue(label_studio: Running, project: int, tmp_path: Path) -> Queue:
    return Queue(label_studio, project, tmp_path, 4)


@pytest.fixture
def desks(queue: Queue) -> Iterator[tuple[AnnotationPage, AnnotationPage]]:
    """Ada's and Bob's, each with cookies of their own."""
    with chromium() as browser:
        ada, bob = (
            AnnotationPage.log_in(browser, queue.info.url, one.email, one.password)
            for one in (queue.ada, queue.bob)
        )
        yield ada, bob


@pytest.mark.slow
@needs_chromium
def test_both_open_the_same_picture(
    queue: Queue, desks: tuple[AnnotationPage, AnnotationPage], tmp_path: Path
) -> None:
    (ada, bob), ids = desks, queue.ids()
    for annotator in desks:
        annotator.page.goto(queue.pushed.queue_url)
        annotator.open(ids[0], boxes=2)
    ada.click(180, 125)
    ada.drag((180, 125), (340, 325))  # clear of where it was
    hers = ada.boxes()
    bob.click(180, 125)
    bob.page.keyboard.press("Backspace")
    bob.wait_for(boxes=1)
    assert (ada.submit(), bob.submit()) == (201, 201)

    (first, *_) = queue.pull()
    assert (first.state, first.annotator) == (TaskState.LABELLED, queue.bob.email)
    assert first.boxes is not None
    np.testing.assert_allclose(first.boxes.xyxy, corners(np.array(BLOCKS[1:])), atol=1e-6)
    assert first.agreement is not None
    assert first.agreement.share == pytest.approx(2 / 3)  # one of three boxes is not the other's
    (by_ada, *_) = queue.pull(Policy("user", (queue.ada.email,)))
    assert by_ada.boxes is not None
    np.testing.assert_allclose(by_ada.boxes.xyxy, corners(hers), atol=1e-6)
    (agreed, *_) = queue.pull(Policy("consensus"))
    assert agreed.boxes is not None
    assert len(agreed.boxes) == 1

    # Both get the same next image: a skip does not undo the other's submission, in either order.
    for annotator, number in ((ada, 1), (bob, 1)):
        annotator.open(ids[number], boxes=2)
    bob.screenshot(tmp_path / "both.png")
    assert (ada.skip(), bob.submit()) == (201, 201)
    for annotator in desks:
        annotator.open(ids[2], boxes=2)
    assert (ada.submit(), bob.skip()) == (201, 201)
    assert [task.state for task in queue.pull()[1:3]] == [TaskState.LABELLED] * 2
    assert [task.annotator for task in queue.pull()[1:3]] == [queue.bob.email, queue.ada.email]

    # What one has submitted, the other does not get once more.
    ada.open(ids[3], boxes=2)
    ada.submit()
    bob.page.goto(queue.pushed.queue_url)
    bob.page.wait_for_selector("text=No More Tasks Left in Queue")
    by = {task: [a["completed_by"] for a in found] for task, found in queue.annotations().items()}
    assert [len(by[task]) for task in ids] == [2, 2, 2, 1]
    assert all(len(set(people)) == len(people) for people in by.values())


@needs_chromium
@pytest.mark.slow
def test_each_gets_pictures_of_their_own(
    queue: Queue, desks: tuple[AnnotationPage, AnnotationPage], tmp_path: Path
) -> None:
    """The button of the table: a picture that one has open is not given to the other."""
    ids = queue.ids()
    for annotator in desks:
        annotator.page.goto(queue.pushed.queue_url.removesuffix("&labeling=1"))
        annotator.page.click("text=Label All Tasks")
        annotator.page.wait_for_function("() => window.Htx?.task")
    for number, annotator in enumerate(desks):
        annotator.open(ids[number], boxes=2)
        annotator.screenshot(tmp_path / f"{number}.png")
    for number, annotator in enumerate(desks, start=2):
        annotator.submit()
        annotator.open(ids[number], boxes=2)
    for annotator in desks:
        annotator.submit()
    for annotator in desks:
        annotator.page.wait_for_selector("text=No More Tasks Left in Queue")
    assert [task.state for task in queue.pull()] == [TaskState.LABELLED] * 4
    assert [task.annotator for task in queue.pull()] == [queue.ada.email, queue.bob.email] * 2
    assert all(len(found) == 1 for found in queue.annotations().values())


def test_two_people_and_a_pull_at_the_same_time(queue: Queue) -> None:
    """Nothing is lost and nothing is there twice, however their requests fall."""
    truth = {
        queue.ada: Boxes(corners(np.array(BLOCKS)), np.array([0, 1])),
        queue.bob: Boxes(corners(np.array(BLOCKS)), np.array([0, 2])),
    }

    def work(person: Person) -> AnnotatorCounts:
        one = SimulatedAnnotator(queue.info.url, person.email, person.password)
        return one.annotate(queue.project, queue.pushed.view_id, lambda _: truth[person], classes=CLASSES)

    with ThreadPoolExecutor(3) as threads:
        people = [threads.submit(work, person) for person in truth]
        looked = [threads.submit(queue.pull) for _ in range(5)]
        done = [person.result() for person in people]
    assert all(len(look.result()) == len(queue.tasks) for look in looked)
    there = queue.annotations()
    assert sum(map(len, there.values())) == sum(counts.tasks for counts in done)
    for task in queue.pull():
        assert task.state is TaskState.LABELLED
        annotations = there[task.task_id or 0]
        by = Counter(a["completed_by"] for a in annotations)
        assert set(by.values()) == {1}
        assert (task.agreement and task.agreement.share) == (0.5 if len(by) == 2 else None)
        last = max(annotations, key=lambda a: (a["updated_at"], a["id"]))
        assert task.annotation_id == last["id"]
        assert task.boxes is not None
        assert (
            task.boxes.labels.tolist()
            == truth[queue.ada if task.annotator == queue.ada.email else queue.bob].labels.tolist()
        )


def test_two_people_label_every_image(queue: Queue) -> None:
    """Each gets all images once, and a pull waits for both. A skip is an answer."""
    connection = queue.info.connection
    assert ensure_project(connection, "unused", CLASSES, queue.project, overlap=2) == queue.project
    assert ensure_project(connection, "unused", CLASSES, queue.project) == queue.project  # 2 stays
    assert {task.awaited for task in queue.pull()} == {0}
    corner = corners(np.array(BLOCKS))
    answers = {
        queue.ada: Boxes(corner, np.array([0, 1])),
        queue.bob: Boxes(corner, np.array([0, 2])),
    }
    for left, (person, boxes) in zip((1, 0), answers.items(), strict=True):
        skipped = queue.tasks[left].image_id
        one = SimulatedAnnotator(queue.info.url, person.email, person.password)
        counts = one.annotate(
            queue.project,
            queue.pushed.view_id,
            lambda name, boxes=boxes, skipped=skipped: None if name == skipped else boxes,
            classes=CLASSES,
        )
        assert (counts.labelled, counts.skipped) == (3, 1)
        assert [task.awaited for task in queue.pull(overlap=2)] == [left] * 4
    ada, bob = queue.ada.email, queue.bob.email
    found = [task.agreement for task in queue.pull(overlap=2)]
    half = Agreement({ada: (2, 4), bob: (2, 4)}, {CLASSES[0]: (2, 2), CLASSES[1]: (0, 1), CLASSES[2]: (0, 1)})
    assert found == [None, None, half, half]
