"""Labels after the end of their cycle: found by the next pull, and withdrawn with their annotation."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import structs
from support.failing_proxy import proxied
from support.labelling_tasks import Running
from support.synced_workspace import Line

from al_loop.core.errors import LabelStudioError
from al_loop.images import repository
from al_loop.labelling import sync
from al_loop.labelling.backend import server_name
from al_loop.labelling.client.responses import Json
from al_loop.labelling.client.task import PulledTask
from al_loop.loop.recovery import restart_labelling
from al_loop.state.workspace import Workspace, open_workspace

pytestmark = pytest.mark.server


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_servers_clock_is_not_ours(
    filled: Workspace, label_studio: Running, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """All times to and from the server are an hour off."""
    monkeypatch.setenv("AL_LOOP_LABEL_STUDIO_TOKEN", label_studio.info.token)
    with proxied(label_studio.info.url) as proxy:
        proxy.skew = timedelta(hours=hours)
        line = Line(filled, label_studio, proxy.url)
        late_labels_are_found(line)
        (mark,) = line.workspace.store.rows("SELECT value FROM facts WHERE key LIKE 'label_studio_pulled%'")
        ahead = datetime.fromisoformat(mark["value"]) - datetime.now(UTC)
        assert abs(ahead - proxy.skew) < timedelta(minutes=5)


def test_labels_that_come_after_their_cycle_are_not_lost(line: Line) -> None:
    late_labels_are_found(line)


def late_labels_are_found(line: Line) -> None:
    """Labels, corrections and withdrawals after the cycle's end are found, each once."""
    first = line.push(1)
    changed = line.submit(1, first[0])
    assert line.pull(1).counts == {"labelled": 1, "pending": 1}
    line.finish(1)  # as `al-loop cycle --partial` does
    assert set(line.labels()) == {first[0]}

    second = line.push(2)
    assert line.pull(2).late == 0
    line.submit(1, first[1])  # somebody went on with the old queue
    correction = {"result": [_moved(line, first[0])]}
    line.request("PATCH", f"annotations/{changed}/", correction)
    pulled = line.pull(2)
    assert pulled.late == 2
    assert pulled.counts == {"pending": 2}
    assert line.labels()[first[0]][0][0] == pytest.approx(0.5 * 96)
    assert set(line.labels()) == set(first)
    assert line.pull(2).late == 0  # a known change is not reported again

    line.request("DELETE", f"annotations/{changed}/")  # taken back
    assert line.pull(2).late == 1
    assert set(line.labels()) == {first[1]}
    line.submit(2, second[0])
    line.pull(2)
    assert set(line.labels()) == {first[1], second[0]}


def test_what_is_sent_back_is_pulled_only_if_people_change_it(line: Line) -> None:
    """A label that was replaced here in the meantime stays."""
    first = line.push(1)
    submitted = [line.submit(1, image) for image in first]
    line.pull(1)
    server, reasons = server_name(line.workspace), {first[0]: "Please check: no box at the top left"}
    done = sync.send_back(line.workspace, 1, server, line.project, reasons)
    assert done.tasks == 1
    assert line.task(1, first[0])["data"]["reason"] == reasons[first[0]]
    keys = [row["task_key"] for row in line.workspace.store.rows("SELECT task_key FROM picks ORDER BY rank")]
    assert sync.pages_of(line.workspace, keys)[keys[0]].endswith(f"?task={line.task(1, first[0])['id']}")
    line.finish(1)
    line.workspace.store.execute("UPDATE labels SET boxes = '[]', status = 'empty', updated_at = '2020'")
    line.push(2)
    assert line.pull(2).late == 0
    assert line.labels()[first[0]] == []

    line.request("PATCH", f"annotations/{submitted[0]}/", {"result": [_moved(line, first[0])]})
    assert line.pull(2).late == 1
    assert line.labels()[first[0]][0][0] == pytest.approx(0.5 * 96)
    with pytest.raises(LabelStudioError, match="was pushed to project"):
        sync.send_back(line.workspace, 1, "https://labels.example.org", line.project, reasons)


def test_no_label_goes_with_its_task(line: Line) -> None:
    """A deleted or refused task leaves its earlier label as it is."""
    first, second = line.push(1)
    line.submit(1, first)
    annotation = line.submit(1, second)
    assert line.pull(1).counts == {"labelled": 2}
    kept = line.labels()
    line.request("DELETE", f"tasks/{line.task(1, first)['id']}/")
    wrong = {"id": "r", "type": "rectanglelabels", "value": [1, 2]}
    line.request("PATCH", f"annotations/{annotation}/", {"result": [wrong]})
    pulled = line.pull(1)
    assert pulled.counts == {"deleted": 1, "refused": 1}
    assert line.labels() == kept
    assert set(kept) == {first, second}


def test_another_address_is_refused_before_anything_is_sent_there(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.push(1)
    pushed = server_name(line.workspace)
    with proxied(line.running.info.url) as proxy:
        settings = structs.replace(line.workspace.config.label_studio, url=proxy.url)
        config = structs.replace(line.workspace.config, label_studio=settings)
        elsewhere = Workspace(line.workspace.root, config, line.workspace.store)
        with pytest.raises(LabelStudioError, match=r"was pushed to project .* names .* now"):
            sync.pull_labels(elsewhere, 1, pushed, line.project)
        assert proxy.seen == []


def test_another_project_begins_when_nothing_is_lost_with_the_old_one(line: Line) -> None:
    """Answers are pulled first. A draft or a refused answer is named, and stops it."""
    first, second = line.push(1)
    line.submit(1, first)
    folder = line.workspace.cycle_dir(1) / "push"
    folder.mkdir(parents=True)
    output = {"server": server_name(line.workspace), "project_id": line.project}
    (folder / "stage.json").write_text(json.dumps({"input_hash": "", "output": output}))
    task = line.task(1, second)["id"]
    line.request("POST", f"tasks/{task}/drafts", {"result": [], "lead_time": 1})
    with pytest.raises(
        LabelStudioError, match=r"1 answers that were begun .*Nothing was changed.*new-project --yes"
    ):
        restart_labelling(line.workspace)
    assert set(line.labels()) == {first}  # and pulled it was
    wrong = {"id": "r", "type": "rectanglelabels", "value": [1, 2]}
    line.request("POST", f"tasks/{task}/annotations/", {"result": [wrong]})
    with pytest.raises(LabelStudioError, match="a refused answer: the result cannot be read"):
        restart_labelling(line.workspace)
    assert "are kept" in restart_labelling(line.workspace, anyway=True)
    assert set(line.labels()) == {first}
    assert sync.answered_in_old_project(line.workspace, 1) == {first}


def _moved(line: Line, image: str) -> Json:
    (annotation,) = line.task(1, image)["annotations"]
    (region,) = annotation["result"]
    return {**region, "value": {**region["value"], "x": 50.0}}


def test_killed_while_labels_are_written(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after any number of labels: none is stored, and the next pull writes all."""
    ids = line.push(1)
    for image in ids:
        line.submit(1, image)
    really = sync._write_answer
    for after in range(len(ids)):
        written = []

        def killing(workspace: Workspace, cycle: int, task: PulledTask) -> None:
            if len(written) == after:  # noqa: B023
                raise KeyboardInterrupt
            written.append(task)  # noqa: B023
            really(workspace, cycle, task)

        with monkeypatch.context() as patch:
            patch.setattr(sync, "_write_answer", killing)
            with pytest.raises(KeyboardInterrupt):
                line.pull(1)
        assert line.labels() == {}
    assert line.pull(1).counts == {"labelled": 2}
    assert set(line.labels()) == set(ids)


def test_a_later_cycle_says_more_than_an_older_one(line: Line) -> None:
    """Of an image that was left open and picked again, the answer to the newer task stays."""
    first = line.push(1)
    line.pull(1)
    line.finish(1)
    store = line.workspace.store
    line.push(2)
    line.pull(2)
    store.execute(
        "INSERT INTO labels (image_id, status, boxes, cycle, annotator, lead_time_s, updated_at, outlines) "
        "VALUES (?, 'labelled', '[[1, 1, 5, 5, 0]]', 2, 'x', 1.0, 'now', NULL)",
        first[0],
    )
    line.submit(1, first[0])
    assert line.pull(2).late == 0
    assert line.labels()[first[0]] == [[1, 1, 5, 5]]


def test_training_takes_the_labels_as_they_were_pulled(line: Line, tmp_path: Path) -> None:
    first = line.push(1)
    line.submit(1, first[0])
    line.pull(1)
    kept = repository.snapshot(repository.labelled(line.workspace))
    line.workspace.store.execute("UPDATE labels SET boxes = '[]', status = 'empty'")
    (item,) = repository.from_snapshot(line.workspace, kept)
    assert item.image.id == first[0]
    assert len(item.boxes) == 1
    assert repository.labels_hash([item]) == repository.labels_hash(
        repository.from_snapshot(line.workspace, kept)
    )


def test_two_workspaces_of_one_name_do_not_mix(
    filled: Workspace, label_studio: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies with the same images at one server: each sees only its tasks, even in one project."""
    monkeypatch.setenv("AL_LOOP_LABEL_STUDIO_TOKEN", label_studio.info.token)
    shutil.copytree(filled.root, tmp_path / "copy")
    copy = open_workspace(tmp_path / "copy")
    one, two = Line(filled, label_studio, name="twin"), Line(copy, label_studio, name="twin")
    key = f"label_studio_project {server_name(one.workspace)}"
    ids = one.push(1)
    copy.store.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", key, str(one.project))
    assert two.push(1) == ids
    assert two.project == one.project
    one.submit(1, ids[0])
    assert one.pull(1).counts == {"labelled": 1, "pending": 1}
    assert two.pull(1).counts == {"pending": 2}


def test_a_cycle_that_was_pushed_under_an_older_name_is_found(line: Line) -> None:
    ids = line.push(1)
    line.workspace.store.execute("UPDATE picks SET task_key = 'cycle-1/' || image_id")
    assert sync.batch_name(line.workspace, 1) == "cycle-1"
    assert sync.task_key("cycle-1", ids[0]) == f"cycle-1/{ids[0]}"
