"""A workspace's past, written straight into its tables."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image
from support.pool_images import add_images

from al_loop.core.files import write_json
from al_loop.images.repository import boxes_to_json
from al_loop.state.model_registry import get_model, promote, register_model, save_metrics
from al_loop.state.prediction_store import ShardStore
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace, now
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import Prediction
from al_loop.structures.metrics import Metrics

SIZE = (800, 400)  # larger than a thumbnail


def metrics(ap: float, bolt: float | None = None, nut: float | None = None) -> Metrics:
    return Metrics(ap, min(1.0, ap * 1.5), ap, {"bolt": ap if bolt is None else bolt, "nut": nut}, 4, 8)


#: Name of a file that HTML would read as a tag.
NASTY = "a<b>&\"'.png"


def add_pool(
    workspace: Workspace, folder: Path, names: list[str], size: tuple[int, int] = SIZE
) -> dict[str, str]:
    """Put pictures of one colour each into the pool; return their ids by name."""
    folder.mkdir()
    for number, name in enumerate(names):
        Image.new("RGB", size, (40 + number, 90, 160)).save(folder / name)
    ids = [add_images(workspace, [folder / name]).added[0] for name in names]
    return dict(zip(names, ids, strict=True))


def add_model(
    workspace: Workspace, model_id: str, ap: Metrics, cycle: int | None = None, images: int = 0
) -> None:
    parent = "m0" if cycle else None
    register_model(workspace, model_id, "cycle" if cycle else "pretrain", f"{cycle or 0}" * 64, parent, cycle)
    save_metrics(workspace, model_id, "val-1", ap)
    if cycle:
        workspace.model_dir(model_id).mkdir(parents=True)
        write_json(workspace.model_dir(model_id) / "stage.json", {"output": {"images": images}})


def add_cycle(
    workspace: Workspace, number: int, outcome: str | None = "promoted", reason: str = "not worse"
) -> None:
    workspace.store.execute(
        "INSERT INTO cycles VALUES (?, 3, ?, 'm0', ?, ?, ?, ?, 0, 0)",
        number,
        msgspec.json.encode(workspace.config).decode(),
        outcome,
        reason if outcome else None,
        now(),
        now() if outcome else None,
    )


def add_pick(
    workspace: Workspace,
    cycle: int,
    rank: int,
    image: str,
    state: str,
    boxes: Boxes | None = None,
    reason: str = "",
) -> None:
    workspace.store.execute(
        "INSERT INTO picks VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0)",
        cycle,
        rank,
        image,
        2.5 - rank / 4,
        reason or f"uncertainty {2.5 - rank / 4:.2f}, rank {rank + 1} of 9",
        f"cycle-{cycle}/{image}",
        state,
    )
    if boxes is not None:
        workspace.store.execute(
            "INSERT OR REPLACE INTO labels "
            "(image_id, status, boxes, cycle, annotator, lead_time_s, updated_at, outlines) "
            "VALUES (?, ?, ?, ?, 'anna', 20.0, ?, NULL)",
            image,
            state,
            boxes_to_json(boxes),
            cycle,
            now(),
        )


def add_predictions(workspace: Workspace, predicted: dict[str, Boxes]) -> None:
    ShardStore(workspace.scores_dir(ScoreKey.of(workspace.config, "m0"))).append(
        [
            Prediction(name, boxes, np.full((len(boxes), 3), 1 / 3, np.float32), np.zeros(4, np.float32))
            for name, boxes in predicted.items()
        ]
    )


def boxes(*rows: tuple[float, ...]) -> Boxes:
    if not rows:
        return Boxes(scores=np.zeros(0))
    array = np.asarray(rows, dtype=np.float64)
    scores = array[:, 5].copy() if array.shape[1] > 5 else None
    return Boxes(array[:, :4].copy(), array[:, 4].astype(np.int64), scores)


def long_history(workspace: Workspace, folder: Path, cycles: int = 200) -> None:
    """Years of shifts: cycles of 25 detailed photographs each, with boxes, and a window for each."""
    names = [f"a-rather-long-name-of-a-photograph-{n:03d}.png" for n in range(25)]
    folder.mkdir()
    for number, name in enumerate(names):
        coarse = np.random.default_rng(number).integers(0, 255, (120, 160, 3), np.uint8)
        Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC).save(folder / name)
    ids = [add_images(workspace, [folder / name]).added[0] for name in names]
    register_model(workspace, "m0", "import", "0" * 64, None, None)
    promote(workspace, get_model(workspace, "m0"), "the first")
    boxes = Boxes(
        np.array([[50.0, 40, 300, 200], [320, 210, 600, 440]]), np.array([0, 1]), np.array([0.9, 0.4])
    )
    store_scores(workspace, "m0", ids, boxes)
    with workspace.store.transaction():
        for image in ids:
            workspace.store.execute(
                "INSERT INTO labels "
                "(image_id, status, boxes, cycle, annotator, lead_time_s, updated_at, outlines) "
                "VALUES (?, 'labelled', ?, 1, 'ann', 31.0, 'now', NULL)",
                image,
                boxes_to_json(boxes),
            )
        for window in range(1, cycles + 1):
            signal = {
                "name": "embedding",
                "p": 0.4,
                "effect": 0.05 + (window % 7) / 100,
                "against": "pool",
                "drifted": False,
            }
            workspace.store.execute(
                "INSERT INTO windows VALUES (?, 1, 25, ?, ?, 0, ?)",
                window, json.dumps(ids), json.dumps({"signals": [signal], "strangest": ids[:8]}), now(),
            )  # fmt: skip
    for cycle in range(1, cycles + 1):
        add_cycle(workspace, cycle, "kept")
        ap = Metrics(
            0.2 + cycle / 1000,
            0.4,
            0.2,
            {"bolt": 0.3, "nut": 0.2},
            4,
            8,
            0.1 + cycle / 1000,
            0.3 + cycle / 1000,
        )
        add_model(workspace, f"cycle-{cycle}", ap, cycle, images=25 * cycle)
        with workspace.store.transaction():
            for rank, image in enumerate(ids):
                add_pick(workspace, cycle, rank, image, "labelled")


def store_scores(workspace: Workspace, model: str, ids: list[str], boxes: Boxes) -> None:
    """The same boxes on every image."""
    ShardStore(workspace.scores_dir(ScoreKey.of(workspace.config, model))).append(
        [
            Prediction(name, boxes, np.full((len(boxes), 3), 1 / 3, np.float32), np.zeros(4, np.float32))
            for name in ids
        ]
    )
