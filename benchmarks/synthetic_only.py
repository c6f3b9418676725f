"""AP of a small detector on real photographs after training on rendered images alone.

    .venv/bin/python benchmarks/synthetic_only.py WORK --val PHOTOS/val.json
        [--recipe dice] [--count 800] [--epochs 20] [--upright]

Renders `count` images of the recipe, trains the small model from random weights, and evaluates it on the
photographs. A repeated call continues in the folder WORK; other numbers need another folder.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from al_loop.core.console import Terminal
from al_loop.images.coco import read_coco
from al_loop.images.synthetic import find_recipe, render_set
from al_loop.images.validation_sets import add_validation
from al_loop.models.pretrain import pretrain
from al_loop.state.model_registry import saved_metrics
from al_loop.state.workspace import FILE_NAME, init_workspace, open_workspace
from render import categories, load_recipe


def write_schedule(folder: Path, epochs: int, *, rotate90: bool) -> None:
    """Write the schedule into the workspace's settings."""
    path = folder / FILE_NAME
    text = path.read_text(encoding="utf-8")
    start = text.index("[pretrain]")
    end = text.index("\n[", start)
    table = f"epochs = {epochs}\nbatch_size = 4\nval_every = 4\naugment.rotate90 = {str(rotate90).lower()}\n"
    path.write_text(f"{text[:start]}[pretrain]\n{table}{text[end:]}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--recipe", default="dice")
    parser.add_argument("--count", type=int, default=800)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--upright", action="store_true", help="No quarter turns in training.")
    args = parser.parse_args()

    classes = categories(load_recipe(find_recipe(args.recipe)))
    if (args.work / FILE_NAME).is_file():
        workspace = open_workspace(args.work)
    else:
        init_workspace(args.work, classes, template="demo")
        write_schedule(args.work, args.epochs, rotate90=not args.upright)
        workspace = open_workspace(args.work)
    terminal = Terminal()
    with workspace.lock():
        add_validation(workspace, args.val)
        began = time.monotonic()
        coco = render_set(workspace, args.recipe, args.count, 0, terminal)
        rendered = time.monotonic()
        model = pretrain(workspace, terminal)
    metrics = saved_metrics(workspace, model.id)
    assert metrics is not None  # pretrain evaluates
    images = read_coco(coco, classes).images
    print(f"{args.recipe}: {len(images)} images, rendering {rendered - began:.0f} s")
    print(f"{args.epochs} epochs, training and evaluation {time.monotonic() - rendered:.0f} s")
    print(f"{args.val.parent.name}/{args.val.name}: AP {metrics.ap:.3f}, AP50 {metrics.ap50:.3f}")
    for name, value in metrics.per_class.items():
        print(f"  {name}: AP {'-' if value is None else f'{value:.3f}'}")


if __name__ == "__main__":
    main()
