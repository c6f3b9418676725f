"""AP by pycocotools from JSON files, as its users call it."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from al_loop.images.coco import write_coco
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage


def coco_stats(
    truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], classes: Sequence[str], folder: Path
) -> Any:
    """AP, AP50, AP75 and the other numbers of COCO."""
    write_coco(folder / "truth.json", truth, classes)
    results = [
        {"image_id": number, "category_id": label + 1, "bbox": [x, y, x2 - x, y2 - y], "score": score}
        for number, boxes in enumerate((predicted[item.image.id] for item in truth), start=1)
        if boxes.scores is not None
        for (x, y, x2, y2), label, score in zip(
            boxes.xyxy.tolist(), boxes.labels.tolist(), boxes.scores.tolist(), strict=True
        )
    ]
    (folder / "found.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO(str(folder / "truth.json"))
        run = COCOeval(ground, ground.loadRes(str(folder / "found.json")), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats
