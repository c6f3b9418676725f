"""Time of a cycle from the pulled labels to the promoted model, by stage.

    .venv/bin/python benchmarks/turnaround.py --data DATA [--k 25] [--epochs 20] [--cycles 2]
        [--precision bf16]

DATA holds pool.json and val.json (COCO). A new workspace with a random model runs cycles. The true boxes
replace people and their server, and cost no time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# As in al_loop.detector, which is imported after torch here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from measuring import class_names

from al_loop.core.console import Silent
from al_loop.core.files import file_sha256
from al_loop.detector.checkpoint import write_weights
from al_loop.detector.config.model_config import build_model, load_model_config
from al_loop.images import repository
from al_loop.images.coco import read_coco
from al_loop.images.import_sources import add_sources
from al_loop.images.repository import boxes_to_json
from al_loop.images.validation_sets import add_validation
from al_loop.labelling import sync
from al_loop.labelling.client.task import PushResult
from al_loop.loop import cycle
from al_loop.models.pretrain import import_checkpoint
from al_loop.state.database.image_table import pool_size
from al_loop.state.database.label_table import NewLabel, write_label
from al_loop.state.workspace import Workspace, init_workspace, now, open_workspace
from al_loop.structures.boxes import Boxes

#: Functions of `al_loop.loop.cycle`; those of AFTER_LABELS follow the pull.
AFTER_LABELS = ("train_stage", "evaluate", "decide")
STAGES = ("score_stage", "select_stage", "push_stage", "pull_stage", *AFTER_LABELS)


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
        pool, validation = pool_size(workspace.store), len(repository.validation(workspace))
        print(f"{pool} photographs in the pool, {validation} in the validation set")
        print(f"k = {args.k}, {args.epochs} epochs, {torch.get_num_threads()} threads")
        for number in range(1, args.cycles + 1):
            times = timed_cycle(workspace)
            after_labels = sum(times[name] for name in AFTER_LABELS)
            print(f"cycle {number}: {after_labels:.1f} s from pulled labels to the decision")
            for name in STAGES:
                print(f"  {name:<12} {times[name]:7.1f} s")


def prepared(folder: Path, args: argparse.Namespace) -> Workspace:
    """Return a workspace with a pool, a validation set and a first model."""
    truth = args.data / "pool.json"
    classes = class_names(truth)
    root = init_workspace(folder / "w", classes).root
    names = ", ".join(f'"{name}"' for name in classes)
    precision = f'precision = "{args.precision}"\n' if args.precision else ""
    (root / "al-loop.toml").write_text(
        f"classes = [{names}]\n[train]\nepochs = {args.epochs}\nval_every = {args.epochs}\n{precision}"
        f"[cycle]\nk = {args.k}\n"
    )
    workspace = open_workspace(root)
    hidden = read_coco(truth, classes)
    add_sources(workspace, [str(image.path) for image in hidden.images])
    add_validation(workspace, args.data / "val.json")
    torch.manual_seed(0)
    write_weights(folder / "random.pth", build_model(load_model_config("small", classes)).state_dict())
    import_checkpoint(workspace, str(folder / "random.pth"), None, Silent())
    replace_people({file_sha256(image.path): image.boxes for image in hidden.images})
    return workspace


def replace_people(truth: dict[str, Boxes]) -> None:
    """Let pulls return the true boxes at once."""

    def push(workspace: Workspace, *_: Any) -> tuple[int, PushResult]:
        return 1, PushResult(0, 0, 1, "nowhere")

    def pull(workspace: Workspace, number: int, *_: Any) -> sync.PullResult:
        rows = workspace.store.rows("SELECT image_id FROM picks WHERE cycle = ?", number)
        for row in rows:
            boxes = boxes_to_json(truth[row["image_id"]])
            workspace.store.execute("UPDATE picks SET state = 'labelled' WHERE image_id = ?", row["image_id"])
            label = NewLabel(row["image_id"], "labelled", boxes, now(), number, "truth", 1.0)
            write_label(workspace.store, label)
        return sync.PullResult({"labelled": len(rows)})

    sync.push_picks = push
    sync.pull_labels = pull


def timed_cycle(workspace: Workspace) -> dict[str, float]:
    """Run a cycle; return the seconds of each stage."""
    times: dict[str, float] = {}

    def timed(name: str, stage: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return stage(*args, **options)
            finally:
                times[name] = time.perf_counter() - began

        return call

    stages = {name: getattr(cycle, name) for name in STAGES}
    for name, stage in stages.items():
        setattr(cycle, name, timed(name, stage))
    try:
        assert cycle.run_cycle(workspace, None, Silent()).finished
    finally:
        for name, stage in stages.items():
            setattr(cycle, name, stage)
    return times


if __name__ == "__main__":
    main()
