"""How long a cycle takes from the labels pulled to the model promoted, by stage.

    .venv/bin/python benchmarks/turnaround.py --data DATA [--k 25] [--epochs 20] [--cycles 2] [--precision bf16]

DATA holds pool.json and val.json (COCO). A workspace is made, begins with random weights, and runs cycles with `al-loop cycle`'s
own functions; in the place of people and their server the true boxes come at once, and their time does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A script's folder comes first on the path, and it holds a render.py.
sys.path.remove(str(Path(__file__).parent))
# As al_loop.detector does, which torch comes before here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from al_loop.core.console import Silent
from al_loop.core.files import file_sha256
from al_loop.detector.checkpoint import write_weights
from al_loop.detector.config.model_config import build_model, load_model_config
from al_loop.images import repository
from al_loop.images.coco import read_coco
from al_loop.images.ingest import add_images
from al_loop.images.validation_sets import add_validation
from al_loop.labelling import sync
from al_loop.labelling.client.task import PushResult
from al_loop.loop import cycle
from al_loop.models.pretrain import import_checkpoint
from al_loop.state.workspace import Workspace, init_workspace, open_workspace

STAGES = ("_score", "_select", "_push", "_pull", "_train", "_evaluate", "_promote")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--k", type=int, default=25)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--cycles", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16", "auto"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = prepared(Path(folder), args)
        print(
            f"{repository.pool_size(workspace)} photographs in the pool, {len(repository.validation(workspace))} to judge on; "
            f"k = {args.k}, {args.epochs} epochs, {torch.get_num_threads()} threads"
        )
        for number in range(1, args.cycles + 1):
            seconds = timed_cycle(workspace)
            since = sum(seconds[name] for name in ("_train", "_evaluate", "_promote"))
            print(f"cycle {number}: {since:.1f} s from labels pulled to the decision")
            for name in STAGES:
                print(f"  {name[1:]:<10} {seconds[name]:7.1f} s")


def prepared(folder: Path, args: argparse.Namespace) -> Workspace:
    """A workspace with a pool, a validation set and a first model."""
    truth = args.data / "pool.json"
    classes = tuple(c["name"] for c in json.loads(truth.read_bytes())["categories"])
    root = init_workspace(folder / "w", classes).root
    named = ", ".join(f'"{name}"' for name in classes)
    precision = f'precision = "{args.precision}"\n' if args.precision else ""
    (root / "al-loop.toml").write_text(
        f"classes = [{named}]\n[train]\nepochs = {args.epochs}\nval_every = {args.epochs}\n{precision}"
        f"[cycle]\nk = {args.k}\n"
    )
    workspace = open_workspace(root)
    hidden = read_coco(truth, classes)
    add_images(workspace, [image.path for image in hidden.images])
    add_validation(workspace, args.data / "val.json")
    torch.manual_seed(0)
    write_weights(folder / "random.pth", build_model(load_model_config("small", classes)).state_dict())
    import_checkpoint(workspace, str(folder / "random.pth"), None, Silent())
    boxes = {file_sha256(image.path): image.boxes for image in hidden.images}
    answer_at_once(boxes)
    return workspace


def answer_at_once(truth: dict[str, Any]) -> None:
    """Put the true boxes in the place of people and their server."""

    def push(workspace: Workspace, *_: Any) -> tuple[int, PushResult]:
        return 1, PushResult(0, 0, 1, "nowhere")

    def pull(workspace: Workspace, number: int, *_: Any) -> sync.Pulled:
        rows = workspace.store.rows("SELECT image_id FROM picks WHERE cycle = ?", number)
        for row in rows:
            found = truth[row["image_id"]]
            boxes = [
                [*xyxy, label] for xyxy, label in zip(found.xyxy.tolist(), found.labels.tolist(), strict=True)
            ]
            workspace.store.execute("UPDATE picks SET state = 'labelled' WHERE image_id = ?", row["image_id"])
            workspace.store.execute(
                "INSERT OR REPLACE INTO labels (image_id, status, boxes, cycle, annotator, lead_time_s, updated_at, outlines) "
        "VALUES (?, 'labelled', ?, ?, 'truth', 1.0, 'now', NULL)",
                row["image_id"], json.dumps(boxes), number,
            )  # fmt: skip
        return sync.Pulled({"labelled": len(rows)})

    sync.push_picks = push
    sync.pull_labels = pull


def timed_cycle(workspace: Workspace) -> dict[str, float]:
    """Run a cycle; seconds of each stage."""
    seconds: dict[str, float] = {}
    real = {name: getattr(cycle, name) for name in STAGES}

    def timed(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            began = time.perf_counter()
            try:
                return run(*args, **more)
            finally:
                seconds[name] = time.perf_counter() - began

        return call

    for name, run in real.items():
        setattr(cycle, name, timed(name, run))
    try:
        assert cycle.run_cycle(workspace, None, Silent()).finished
    finally:
        for name, run in real.items():
            setattr(cycle, name, run)
    return seconds


if __name__ == "__main__":
    main()
