"""Distance of hand-drawn boxes from the boxes that a model predicts, for `labels.margin` of a recipe.

    .venv/bin/python benchmarks/label_margin.py WORKSPACE --labelled PHOTOS/pool.json [--min-score 0.3]

The current model of WORKSPACE, which was trained on rendered images alone, predicts on labelled photographs.
For each side, the median of the distance by which the hand-drawn box lies outside the predicted box of its
class (IoU > 0.5) is printed as a share of the predicted box's width or height. If the model was trained with
a margin m, the margin to set is m + (1 + 2 m) times the share.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from measuring import labelled_images

from al_loop.core.console import Terminal
from al_loop.models.scoring import EXACT, score
from al_loop.state.model_registry import current_model
from al_loop.state.prediction_store import ShardStore
from al_loop.state.workspace import open_workspace
from al_loop.structures.boxes import Boxes, FloatArray, iou

_OUTWARD = (-1, -1, 1, 1)


def outward_shares(predicted: Boxes, drawn: Boxes) -> FloatArray:
    """Return how far drawn boxes lie outside the predicted boxes that they match, (n, 4) shares."""
    same_class = predicted.labels[:, None] == drawn.labels[None]
    overlap = iou(predicted.xyxy, drawn.xyxy) * same_class
    rows, columns = (overlap > 0.5).nonzero()
    inner, outer = predicted.xyxy[rows], drawn.xyxy[columns]
    return (outer - inner) * _OUTWARD / np.tile(inner[:, 2:] - inner[:, :2], 2)


def report(shares: Sequence[FloatArray]) -> None:
    """Print the median of each side."""
    joined = np.concatenate(shares)
    print(f"{len(joined)} matched boxes of {len(shares)} photographs")
    for side, median in zip(("left", "top", "right", "bottom"), np.median(joined, axis=0), strict=True):
        print(f"  {side}: {median:+.1%}")
    print(f"  mean of the sides: {np.median(joined, axis=0).mean():+.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--labelled", type=Path, required=True)
    parser.add_argument("--min-score", type=float, default=0.3)
    args = parser.parse_args()
    workspace, terminal = open_workspace(args.workspace), Terminal()
    model = current_model(workspace)
    labelled = labelled_images(args.labelled, workspace.config.classes)
    with tempfile.TemporaryDirectory() as folder, terminal.progress(model.id) as progress:
        score(workspace, model, [item.image for item in labelled], Path(folder), progress, EXACT)
        predicted = ShardStore(Path(folder)).load().boxes_by_image()
    report([outward_shares(predicted[i.image.id].above(args.min_score), i.boxes) for i in labelled])


if __name__ == "__main__":
    main()
