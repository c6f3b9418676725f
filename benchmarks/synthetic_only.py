"""AP of the default detector on real photographs after training on rendered images alone.

    .venv/bin/python benchmarks/synthetic_only.py WORK --val PHOTOS/val.json
        [--recipe dice] [--count 320] [--steps 1500] [--upright]

Renders `count` images of the recipe, trains, and evaluates the model on the photographs. A repeated call
continues in the folder WORK; other numbers need another folder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from al_loop.core.console import Terminal
from al_loop.images.coco import read_coco
from al_loop.images.synthetic import find_recipe, render_set
from al_loop.images.validation_sets import add_validation
from al_loop.models.pretrain import pretrain
from al_loop.state.model_registry import saved_metrics
from al_loop.state.workspace import FILE_NAME, init_workspace, open_workspace
from render import categories, load_recipe


def make_workspace(folder: Path, classes: Sequence[str], steps: int, *, rotate90: bool) -> None:
    """Make a workspace for a training of this length."""
    init_workspace(folder, tuple(classes))
    names = ", ".join(f'"{name}"' for name in classes)
    table = f"steps = {steps}\naugment.rotate90 = {str(rotate90).lower()}\n"
    (folder / FILE_NAME).write_text(f"classes = [{names}]\n[pretrain]\n{table}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--recipe", default="dice")
    parser.add_argument("--count", type=int, default=320)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--upright", action="store_true", help="No quarter turns in training.")
    args = parser.parse_args()

    classes = categories(load_recipe(find_recipe(args.recipe)))
    if not (args.work / FILE_NAME).is_file():
        make_workspace(args.work, classes, args.steps, rotate90=not args.upright)
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
    print(f"{args.steps} steps, training and evaluation {time.monotonic() - rendered:.0f} s")
    print(f"{args.val.parent.name}/{args.val.name}: AP {metrics.ap:.3f}, AP50 {metrics.ap50:.3f}")
    for name, value in metrics.per_class.items():
        print(f"  {name}: AP {'-' if value is None else f'{value:.3f}'}")


if __name__ == "__main__":
    main()
