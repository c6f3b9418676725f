"""Gold tasks: images of known labels in the queue, whose answers measure people and are no labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng
from support.labelling_tasks import block_tasks
from support.synced_workspace import Line

from al_loop.images.repository import validation
from al_loop.labelling.client.task import PulledTask, TaskState
from al_loop.labelling.gold import compare_gold, draw_gold, with_gold
from al_loop.labelling.sync import batch_name
from al_loop.labelling.tasks.push import batch_filter
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes


def test_they_are_drawn_from_the_validation_set(filled: Workspace) -> None:
    ids = sorted(item.image.id for item in validation(filled))
    drawn = draw_gold(filled, 2, default_rng(0))
    assert len(set(drawn)) == 2
    assert set(drawn) < set(ids)
    assert draw_gold(filled, 99, default_rng(0)) == ids


def test_partly_labelled_and_damaged_images_are_not_drawn(filled: Workspace) -> None:
    first, second, *others = validation(filled)
    filled.store.execute("INSERT INTO ignore_regions VALUES (?, '[[0, 0, 9, 9, 0]]')", first.image.id)
    second.image.path.chmod(0o644)
    second.image.path.write_bytes(b"cut off")
    assert draw_gold(filled, 9, default_rng(0)) == sorted(item.image.id for item in others)


def test_they_lie_between_the_others(filled: Workspace, tmp_path: Path) -> None:
    tasks = block_tasks(tmp_path, 6)
    gold = draw_gold(filled, 2, default_rng(0))
    queue = with_gold(filled, "ws/cycle-1", tasks[::-1], gold)
    assert [task.rank for task in queue] == list(range(8))
    assert [task.image_id for task in queue if task.image_id in gold] == gold
    assert [queue.index(task) for task in queue if task.image_id in gold] == [2, 5]
    assert [task.key for task in queue if task.image_id not in gold] == [task.key for task in tasks]
    assert with_gold(filled, "ws/cycle-1", [], gold) == []


def test_answers_are_compared_with_the_known_labels(filled: Workspace) -> None:
    first, second, third, _ = validation(filled)

    def answer(image: str, **people: Boxes) -> PulledTask:
        return PulledTask("k", image, 1, TaskState.LABELLED, people=people)

    wrong = Boxes(second.boxes.xyxy, 1 - second.boxes.labels)
    found = compare_gold(
        filled,
        [
            answer(first.image.id, ada=first.boxes),
            answer(second.image.id, bob=wrong, ada=second.boxes),
            answer(third.image.id),
        ],
    )
    assert found.people == {"ada": (8, 8), "bob": (0, 4)}
    assert found.classes == {"bolt": (4, 6), "nut": (4, 6)}
    assert str(found) == "67 % of the objects (bob 0 %, ada 100 %; bolt 67 %, nut 67 %)"


@pytest.mark.server
def test_an_answer_is_compared_and_not_stored(line: Line) -> None:
    gold = draw_gold(line.workspace, 2, default_rng(0))
    known = {item.image.id: item.boxes.xyxy.tolist() for item in validation(line.workspace)}
    picks = line.push(1, gold)
    with line.running.info.connection.open() as api:
        batch = batch_filter(batch_name(line.workspace, 1))
        there = api.tasks(line.project, batch, whole=True)
    places = {task["data"]["image_id"]: task["data"]["al_rank"] for task in there}
    assert sorted(places.values()) == [0, 1, 2, 3]
    assert set(places) == {*picks, *gold}
    assert {len(task["predictions"][0]["result"]) for task in there} == {0}

    line.submit(1, picks[0])
    line.submit(1, gold[0], x=50.0)
    pulled = line.pull(1, gold)
    assert pulled.counts == {"labelled": 1, "pending": 1}  # of the picks alone
    ((person, (alike, objects)),) = pulled.gold.people.items()
    assert "@" in person
    assert (alike, objects) == (0, 3)  # one box, beside the two that are known
    assert set(line.labels()) == {picks[0]}
    assert {item.image.id: item.boxes.xyxy.tolist() for item in validation(line.workspace)} == known
    line.submit(1, picks[1])
    assert line.pull(1, gold).complete  # the second gold task is open

    line.finish(1)
    line.push(2)
    assert line.pull(2).late == 0
    np.testing.assert_equal(line.pull(1).gold.people, {})
