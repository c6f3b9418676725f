"""The main job on real parts, through the command line: bpy renders, MMDetection trains, Label Studio serves.

The tests are one story, in this order.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
from support.command import al_loop, run_command

from al_loop.cli.simulated_annotator import SimulatedAnnotator
from al_loop.core.resources import resource
from al_loop.images import repository
from al_loop.images.coco import CocoImage, read_coco
from al_loop.labelling.client.task import Edits
from al_loop.labelling.server.server import ServerInfo, running_server, stop
from al_loop.state.model_registry import current_model
from al_loop.state.prediction_store import ShardStore
from al_loop.state.workspace import Workspace, open_workspace
from al_loop.structures.boxes import Boxes
from render import render_dataset

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.render, pytest.mark.train]

ROOT = Path(__file__).parents[2]
CLASSES = ("one", "two", "three", "four", "five", "six")
SETTINGS = """
[model]
config = "small"
image_size = [128, 128]
[pretrain]
epochs = 2
batch_size = 4
lr = 1e-3
[train]
epochs = 2
batch_size = 2
lr = 5e-4
[score]
batch_size = 4
shard_size = 4
[promotion]
tolerance = 1.0
[label_studio]
min_score = 0.05
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped recipe, made small and quick."""
    text = resource("configs/render/dice.toml").read_text()
    for old, new in (
        ("width = 320", "width = 128"),
        ("height = 320", "height = 128"),
        ("samples = 4", "samples = 2"),
    ):
        assert old in text
        text = text.replace(old, new)
    text = re.sub(r"count = \{ choice = \[1, 3.*", "count = { uniform = [6, 9] }", text)
    text = re.sub(r"view_m = .*", "view_m = { uniform = [0.11, 0.13] }", text)
    path = tmp_path_factory.mktemp("recipe") / "small-dice.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def photographs(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a user's: photographs, and the COCO file of a validation set."""
    folder = tmp_path_factory.mktemp("photographs")
    coco = json.loads(render_dataset(recipe, folder, 18, seed=7).read_text())
    for name, images in (("pool.json", coco["images"][:10]), ("val.json", coco["images"][10:])):
        ids = {image["id"] for image in images}
        annotations = [a for a in coco["annotations"] if a["image_id"] in ids]
        (folder / name).write_text(json.dumps({**coco, "images": images, "annotations": annotations}))
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace made by `al-loop init`; its server is stopped at the end."""
    root = tmp_path_factory.mktemp("e2e") / "line 3"
    al_loop(root, "init", root, "--classes", ",".join(CLASSES))
    head = [
        line for line in (root / "al-loop.toml").read_text().splitlines() if re.match("name|classes", line)
    ]
    (root / "al-loop.toml").write_text("\n".join(head) + SETTINGS)
    opened = open_workspace(root)
    yield opened
    stop(opened.server_home)
    opened.store.close()


def hidden(photographs: Path) -> dict[str, CocoImage]:
    """Return what the simulated annotator knows, by the hash of the file."""
    found = read_coco(photographs / "pool.json", CLASSES)
    return {hashlib.sha256(item.path.read_bytes()).hexdigest(): item for item in found.images}


def annotate(workspace: Workspace, number: int, truth: Any, limit: int | None = None) -> int:
    info: ServerInfo = running_server(workspace.server_home)
    pushed = json.loads((workspace.cycle_dir(number) / "push" / "stage.json").read_text())["output"]
    annotator = SimulatedAnnotator(info.url, info.email, info.password)
    counts = annotator.annotate(pushed["project_id"], pushed["view_id"], truth, classes=CLASSES, limit=limit)
    return counts.tasks


def tasks_on_the_server(workspace: Workspace) -> list[dict[str, Any]]:
    pushed = json.loads((workspace.cycle_dir(1) / "push" / "stage.json").read_text())["output"]
    with running_server(workspace.server_home).connection.open() as api:
        return api.tasks(pushed["project_id"], whole=True)


def killed_cycle(workspace: Workspace, until: Path) -> None:
    """Start `al-loop cycle` and kill it, hard, as soon as a file is there."""
    with subprocess.Popen(
        [sys.executable, "-m", "al_loop", "-w", str(workspace.root), "cycle"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 240
        while not until.exists():
            assert process.poll() is None, "the cycle ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)


def test_the_normal_way_to_work(workspace: Workspace, photographs: Path, recipe: Path) -> None:
    root = workspace.root
    truth = hidden(photographs)
    pool = [str(item.path) for item in truth.values()]
    assert "10 added" in al_loop(root, "pool", "add", *pool)
    assert "8 validation images" in al_loop(root, "pool", "add-val", photographs / "val.json")
    assert "rendered 12 images" in al_loop(root, "render", recipe, "--count", 12)
    pretrained = al_loop(root, "pretrain")
    assert "current model: pretrain-1 (the first model" in pretrained
    assert "current model: pretrain-1; pretrain-1 was evaluated before" in al_loop(root, "pretrain")
    started = al_loop(root, "label-studio", "start")
    info = running_server(workspace.server_home)
    assert info.url in started
    assert info.password in started

    first = al_loop(root, "cycle", "--k", 4)
    assert "select: 4 by dbal" in first
    assert "cycle 1 waits: 0 of 4 labelled" in first
    tasks = tasks_on_the_server(workspace)
    assert len(tasks) == 4
    assert all(task["predictions"] for task in tasks)
    assert sum(len(task["predictions"][0]["result"]) for task in tasks) > 0
    # Asked again before anybody labelled: the same wait, nothing pushed twice.
    assert "cycle 1 waits: 0 of 4 labelled" in al_loop(root, "cycle")
    assert len(tasks_on_the_server(workspace)) == 4

    # One picture shows something the annotator cannot judge, one has nothing on it.
    picks = [row["image_id"] for row in workspace.store.rows("SELECT image_id FROM picks ORDER BY rank")]
    answers: dict[str, Boxes | None] = {name: truth[name].boxes for name in picks}
    answers[picks[1]], answers[picks[2]] = None, Boxes()
    assert annotate(workspace, 1, answers.get, limit=2) == 2
    assert "cycle 1 waits: 2 of 4 labelled" in al_loop(root, "cycle")
    assert annotate(workspace, 1, answers.get) == 2

    # Killed in the middle of the fine-tuning; called again it goes on and ends.
    killed_cycle(workspace, workspace.root / "models" / "cycle-1.partial" / "training" / "last_checkpoint")
    assert "cycle       1 under way" in al_loop(root, "status")
    last = al_loop(root, "cycle")
    assert "pull: 1 empty, 2 labelled, 1 skipped" in last
    assert "cycle 1 is finished" in last
    assert current_model(workspace).id == "cycle-1"

    # What was labelled came back as it was drawn.
    labelled = {item.image.id: item.boxes for item in repository.labelled(workspace)}
    assert set(labelled) == {picks[0], picks[2], picks[3]}
    assert len(labelled[picks[2]]) == 0
    for name in (picks[0], picks[3]):
        expected = truth[name].boxes
        order = np.lexsort((labelled[name].xyxy[:, 0], labelled[name].labels))
        wanted = np.lexsort((expected.xyxy[:, 0], expected.labels))
        np.testing.assert_allclose(labelled[name].xyxy[order], expected.xyxy[wanted], atol=1e-6)
        assert labelled[name].labels[order].tolist() == expected.labels[wanted].tolist()
    assert len(repository.unlabelled(workspace)) == 6  # the skipped one does not come back

    check_manifest(workspace, picks)
    report = Path(al_loop(root, "report").removeprefix("report: ").strip())
    assert all(reason in report.read_text() for reason in ("uncertainty", "cycle-1"))


def check_manifest(workspace: Workspace, picks: list[str]) -> None:
    manifest = json.loads((workspace.cycle_dir(1) / "manifest.json").read_text())
    assert manifest["outcome"] == "promoted"
    assert manifest["model"]["id"] == "pretrain-1"
    assert manifest["candidate"]["id"] == "cycle-1"
    weights = workspace.model_dir("cycle-1") / "weights.pth"
    assert manifest["candidate"]["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert [pick["image_id"] for pick in manifest["picks"]] == picks
    assert {pick["state"] for pick in manifest["picks"]} == {"labelled", "empty", "skipped"}
    edits = Edits(**manifest["labels"]["edits"])
    assert edits.proposed > 0
    assert edits.final == sum(len(item.boxes) for item in repository.labelled(workspace))
    assert manifest["pool"]["images"] == 10
    assert manifest["metrics"]["after"]["images"] == 8
    assert manifest["versions"]["torch"]


def test_the_second_cycle_takes_all_that_is_left_and_rollback(
    workspace: Workspace, photographs: Path
) -> None:
    """Runs after the test above, on the same workspace: the next shift."""
    root, truth = workspace.root, hidden(photographs)
    first = al_loop(root, "cycle", "--k", 50)
    assert "k = 50, but only 6 images are unlabelled: taking all of them" in first
    assert "model cycle-1" in first
    annotate(workspace, 2, lambda name: truth[name].boxes)
    assert "cycle 2 is finished" in al_loop(root, "cycle")
    # Each image is scored once by each model: 10 by the first, 6 by the second.
    stores = {m: ShardStore(next((root / "scores" / m).iterdir())) for m in ("pretrain-1", "cycle-1")}
    counts = {m: len(store.load().image_ids) for m, store in stores.items()}
    assert counts == {"pretrain-1": 10, "cycle-1": 6 + 3}  # and the labelled images
    assert "is cycle-1 again (was cycle-2)" in al_loop(root, "rollback")
    (used,) = (line for line in al_loop(root, "models", "list").splitlines() if line.startswith("*"))
    assert used.split()[1:3] == ["└", "cycle-1"]
    shown = next(line for line in al_loop(root, "models", "show").splitlines() if line.startswith("training"))
    assert re.fullmatch(r"training   \d+ images, \d+ steps, (fp32|bf16)", shown)
    # Both cycles are as their manifests say, and would be picked again.
    schema = json.loads((ROOT / "docs" / "manifest.schema.json").read_text())
    for number in (1, 2):
        jsonschema.validate(json.loads((workspace.cycle_dir(number) / "manifest.json").read_text()), schema)
        assert "CHANGED" not in al_loop(root, "verify", number)
        assert "picks in the same order" in al_loop(root, "reproduce", number)


def test_secrets_stay_in_their_file(workspace: Workspace) -> None:
    info = running_server(workspace.server_home)
    secrets = [info.token.encode(), info.password.encode()]
    credentials = workspace.server_home / "credentials.json"
    assert credentials.stat().st_mode & 0o077 == 0
    for path in workspace.root.rglob("*"):
        inside_the_server = path.is_relative_to(workspace.server_home / "data")
        if path.is_file() and path != credentials and not inside_the_server:
            content = path.read_bytes()
            assert not any(secret in content for secret in secrets), path


def test_an_unknown_label_on_the_server_is_named_and_waits_for_its_correction(
    workspace: Workspace, photographs: Path, tmp_path: Path
) -> None:
    """A label the workspace does not know: that task is refused with its link, and nothing is guessed."""
    from support.factories import picture_bytes

    root = workspace.root
    (tmp_path / "new.png").write_bytes(picture_bytes(99, (128, 128)))
    with (root / "al-loop.toml").open("a") as file:
        file.write(f'[monitor]\ninbox = ["{tmp_path}"]\nmin_age_s = 0\n[monitor.new_data]\nimages = 1\n')
    looked = al_loop(root, "monitor", "--act", status=10)
    assert "1 new images" in looked
    assert re.search(r"DUE +new-data +1 unlabelled images", looked)
    assert "cycle 3: k = 25, model cycle-1, 1 unlabelled images" in looked  # the one that was gone back to
    assert "cycle 3 waits: 0 of 1 labelled" in looked
    info = running_server(workspace.server_home)
    task = next(t for t in tasks_on_the_server(workspace) if t["data"]["al_batch"].endswith("/cycle-3"))
    region = {
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": 128,
        "original_height": 128,
        "image_rotation": 0,
        "value": {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0, "rectanglelabels": ["seven"]},
    }
    httpx.post(
        f"{info.url}/api/tasks/{task['id']}/annotations/",
        json={"result": [region]},
        headers={"Authorization": f"Token {info.token}"},
        trust_env=False,
    ).raise_for_status()
    out = al_loop(root, "cycle")
    assert "refused: " in out
    assert "'seven'" in out
    assert f"task={task['id']}" in out
    assert "cycle 3 waits: 0 of 1 labelled" in out


def test_a_deleted_project_is_begun_again(workspace: Workspace) -> None:
    """Somebody deleted the project in Label Studio: a cycle says so, and goes on in another when told to."""
    pushed = json.loads((workspace.cycle_dir(3) / "push" / "stage.json").read_text())["output"]
    with running_server(workspace.server_home).connection.open() as api:
        api.delete_project(pushed["project_id"])
    refused = failing_cycle(workspace)
    assert f"project {pushed['project_id']} is not on" in refused
    assert "al-loop label-studio new-project" in refused
    al_loop(workspace.root, "label-studio", "new-project")
    assert "cycle 3 waits: 0 of 1 labelled" in al_loop(workspace.root, "cycle")
    again = json.loads((workspace.cycle_dir(3) / "push" / "stage.json").read_text())["output"]
    assert again["project_id"] != pushed["project_id"]


def test_another_server_in_mid_cycle_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another server all tasks would look deleted, and their labels would go: refused instead."""
    info = running_server(workspace.server_home)
    monkeypatch.setenv("AL_LOOP_LABEL_STUDIO_TOKEN", info.token)
    settings = workspace.root / "al-loop.toml"
    before = settings.read_text()
    settings.write_text(before.replace("[label_studio]", f'[label_studio]\nurl = "{info.url}"'))
    refused = failing_cycle(workspace)
    assert "cycle 3 was pushed to project" in refused
    assert "Restore label_studio.url" in refused
    monkeypatch.setenv("AL_LOOP_LABEL_STUDIO_TOKEN", "wrong" * 8)
    assert "cycle 3 was pushed to project" in failing_cycle(workspace)  # it is not even asked
    settings.write_text(before)
    assert "cycle 3 waits: 0 of 1 labelled" in al_loop(workspace.root, "cycle")


def failing_cycle(workspace: Workspace) -> str:
    """Run `al-loop cycle`, which must fail with a message and no traceback; return the message."""
    done = run_command(workspace.root, "cycle")
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_server_that_is_not_there(workspace: Workspace) -> None:
    """Runs last: without the server a cycle says how to start it, and loses nothing."""
    al_loop(workspace.root, "label-studio", "stop")
    assert "al-loop label-studio start" in failing_cycle(workspace)
    al_loop(workspace.root, "label-studio", "start")
    assert "cycle 3 waits: 0 of 1 labelled" in al_loop(workspace.root, "cycle")
