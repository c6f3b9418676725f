"""Shared by the labelling tests: classes, images with a model's boxes, the tasks of a server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
from PIL import Image
from support.factories import draw
from support.failing_proxy import Proxy

from al_loop.core.config import Drawn
from al_loop.images import repository
from al_loop.labelling import sync
from al_loop.labelling.client.client import Connection
from al_loop.labelling.client.image_serving import ImageServing, LocalFiles
from al_loop.labelling.client.task import OutgoingTask, PulledTask, PushResult
from al_loop.labelling.server import server
from al_loop.labelling.tasks.agreement import Policy
from al_loop.labelling.tasks.pull import LabelRules, pull
from al_loop.labelling.tasks.push import Batch, batch_filter, push
from al_loop.state import model_registry
from al_loop.state.database.pick_table import ExpectedPick
from al_loop.state.prediction_store import ShardStore
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import Prediction
from al_loop.structures.picks import Pick

CLASSES = ("one", "two & <three>", "drei\u00df")

SIZE = (640, 400)  # px, of a picture with two blocks
BLOCKS = [[100.0, 80.0, 160.0, 90.0], [400.0, 200.0, 90.0, 120.0]]  # x, y, w, h px


@dataclass(frozen=True)
class Running:
    """A running server and where it lives."""

    home: Path
    info: server.ServerInfo

    @property
    def images(self) -> LocalFiles:
        return LocalFiles(server.media_root(self.home))


def version_of(connection: Connection) -> str:
    """Ask for the user, then for the version."""
    with connection.open() as api:
        api.whoami()
        return api.version()


def request(
    info: server.ServerInfo, method: str, path: str, body: object = None, **params: Any
) -> httpx.Response:
    """Ask a server, past al-loop's client."""
    headers, url = {"Authorization": f"Token {info.token}"}, f"{info.url}/{path}"
    return httpx.request(method, url, json=body, params=params, headers=headers, trust_env=False)


def make_tasks(
    folder: Path, count: int, *, batch: str, size: tuple[int, int] = (320, 180)
) -> list[OutgoingTask]:
    """Return tasks with real image files whose names need quoting, and two boxes of a model each."""
    rng = np.random.default_rng(count)
    tasks = []
    for rank in range(count):
        path = folder / f"{batch} teil#{rank} 50%? \u00fc.JPG"
        pixels = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, format="JPEG")
        boxes = Boxes(
            xyxy=np.array([[10.0, 10.0, 50.0, 60.0], [100.5, 20.25, 400.0, 90.125]]),
            labels=np.array([0, 1]),
            scores=np.array([0.9, 0.4]),
        )
        tasks.append(
            OutgoingTask(
                key=f"ws/{batch}/{rank}",
                image_id=hashlib.sha256(path.read_bytes()).hexdigest(),
                image_path=path,
                file_name=path.name,
                width=size[0],
                height=size[1],
                boxes=boxes,
                uncertainty=1.0 - rank / 100,
                rank=rank,
                reason="the model hesitates between <one> & two",
            )
        )
    return tasks


def block_tasks(folder: Path, count: int, size: tuple[int, int] = SIZE) -> list[OutgoingTask]:
    """Return pictures with two bright blocks, and a model that found both."""
    made = []
    for rank in range(count):
        path = folder / f"teil #{rank} 50%.png"
        draw(*size, BLOCKS, seed=rank).save(path)
        xyxy = np.array([[x, y, x + w, y + h] for x, y, w, h in BLOCKS])
        boxes = Boxes(xyxy, np.array([0, 1]), np.array([0.9, 0.6]))
        made.append(
            OutgoingTask(f"ws/c1/{rank}", f"{rank}" * 64, path, path.name, *size, boxes, 1.0, rank, "unsure")
        )
    return made


def expected(tasks: Sequence[OutgoingTask]) -> list[ExpectedPick]:
    """Return what a pull of these tasks looks for."""
    return [ExpectedPick(t.key, t.image_id, 1, t.width, t.height, None, None, None) for t in tasks]


def send_tasks(
    connection: Connection, project: int, tasks: Sequence[OutgoingTask], images: ImageServing, *,
    batch: str = "c1", classes: Sequence[str] = CLASSES, drawn: Drawn = "rectangles",
) -> PushResult:  # fmt: skip
    """Push tasks as one batch."""
    made = Batch(batch, tasks, "m1", f"queue of {batch}")
    return push(connection, project, made, classes=classes, images=images, drawn=drawn)


def fetch_tasks(
    connection: Connection, project: int, tasks: Sequence[OutgoingTask], *,
    batch: str = "c1", classes: Sequence[str] = CLASSES, policy: Policy | None = None,
    drawn: Drawn = "rectangles", overlap: int = 1,
) -> list[PulledTask]:  # fmt: skip
    """Pull the tasks of a batch."""
    rules = LabelRules(classes, policy or Policy(), drawn, overlap)
    return pull(connection, project, batch, expected(tasks), rules)


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


def push_cycle(workspace: Workspace, cycle: int = 1, gold: Sequence[str] = ()) -> tuple[int, list[str]]:
    """Push a cycle of two images that were not picked before; return the project and the images."""
    store = workspace.store
    if cycle == 1:
        model_registry.register_model(workspace, "m0", "import", "0" * 64, None, None)
    settings = msgspec.json.encode(workspace.config).decode()
    store.execute("INSERT INTO cycles VALUES (?, 2, ?, 'm0', NULL, NULL, 'now', NULL, 0, 0)", cycle, settings)
    taken = {row["image_id"] for row in store.rows("SELECT image_id FROM picks")}
    ids = [image.id for image in repository.unlabelled(workspace) if image.id not in taken][:2]
    nothing = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
    scores = ShardStore(workspace.root / "scores" / str(cycle))
    scores.append(
        [Prediction(i, nothing, np.zeros((0, 3), np.float32), np.zeros(2, np.float32)) for i in ids]
    )
    picks = [Pick(name, rank, 1.0, "x") for rank, name in enumerate(ids)]
    batch = sync.batch_name(workspace, cycle)
    for pick in picks:
        store.execute(
            "INSERT INTO picks VALUES (?, ?, ?, 1.0, 'x', ?, 'selected', 0, 0)",
            cycle, pick.rank, pick.image_id, sync.task_key(batch, pick.image_id),
        )  # fmt: skip
    shown = sync.Shown((0.3, 0.3), gold=gold)
    return sync.push_picks(workspace, cycle, picks, scores.load(), "m0", shown)[0], ids
