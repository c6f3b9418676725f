"""A pool without pixels: what a model sees of an image is drawn from the image's name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from al_loop.core.console import Progress
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import INITIAL, Model, promote, register_model
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, Prediction


def add_rows(workspace: Workspace, count: int, kind: str = "usual") -> list[str]:
    """Let images of a kind arrive."""
    first = 1 + workspace.store.count("SELECT coalesce(max(arrived), 0) FROM images")
    ids = [f"{kind}-{first + n:06d}" for n in range(count)]
    with workspace.store.transaction():
        for n, name in enumerate(ids):
            workspace.store.execute(
                "INSERT INTO images VALUES (?, ?, ?, 64, 64, ?, 'pool', '2026-01-01T00:00:00+00:00', ?)",
                name, f"images/{name}.png", name, f"/in/{name}.png", first + n,
            )  # fmt: skip
    return ids


def add_model(workspace: Workspace, name: str, seed: int = 0) -> Model:
    model = register_model(workspace, name, "import", f"{seed}" * 64, None, None)
    promote(workspace, model, "a test")
    return model


def score(
    workspace: Workspace,
    model: Model,
    images: Sequence[ImageFile],
    folder: Path,
    progress: Progress,
    *_: object,
    **__: object,
) -> list[object]:
    """Stand in for `models.scoring.score`: usual images have mean 0, "odd" and "new" ones another.

    An untrained model finds nothing.
    """
    store, finds = shards_in(workspace, folder), model.origin != INITIAL
    some = [_seen(model.id, image.id, finds=finds) for image in store.missing(images)]
    if some:
        store.append(some)
    return []


def _seen(model: str, name: str, *, finds: bool) -> Prediction:
    digest = hashlib.sha256(f"{model} {name}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    shift = {"odd": 1.5, "new": -1.5}.get(name.split("-")[0], 0.0)
    count = int(rng.poisson(5 if name.startswith("crowded") else 2)) if finds else 0
    scores = np.sort(rng.uniform(0.3, 1, count))[::-1]
    boxes = Boxes(np.tile([1.0, 1, 9, 9], (count, 1)), np.zeros(count, np.int64), scores.copy())
    embedding = (rng.normal(size=16) + shift).astype(np.float32)
    distributions = np.full((count, 3), 1 / 3, np.float32)
    return Prediction(name, boxes, distributions, embedding, maxima=embedding + 1)
