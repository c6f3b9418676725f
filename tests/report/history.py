"""A workspace's past, written straight into its tables."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from al_loop.boxes import Boxes
from al_loop.files import write_json
from al_loop.ingest import add_images
from al_loop.library import boxes_to_json
from al_loop.models import register_model, save_metrics
from al_loop.samples import Metrics, Prediction
from al_loop.shards import ShardStore
from al_loop.workspace import Workspace, now

SIZE = (800, 400)  # larger than a thumbnail


def metrics(ap: float, bolt: float | None = None, nut: float | None = None) -> Metrics:
    return Metrics(ap, min(1.0, ap * 1.5), ap, {"bolt": ap if bolt is None else bolt, "nut": nut}, 4, 8)


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
        "INSERT INTO cycles VALUES (?, 3, ?, 'm0', ?, ?, ?, ?, 0)",
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
        "INSERT INTO picks VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
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
            "INSERT OR REPLACE INTO labels VALUES (?, ?, ?, ?, 'anna', 20.0, ?)",
            image,
            state,
            boxes_to_json(boxes),
            cycle,
            now(),
        )


def add_predictions(workspace: Workspace, predicted: dict[str, Boxes]) -> None:
    ShardStore(workspace.scores_dir("m0")).append(
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
