"""How many planted label errors are early in the list of `al-loop labels check`.

    .venv/bin/python benchmarks/label_errors.py --data SET --weights WEIGHTS.pth [--size 480 480]
        [--trained 25 --seed 0] [--share 0.1] [--seeds 3]

SET holds pool.json and val.json (COCO). WEIGHTS are of a model that was trained on no image of pool.json, or
on `trained` images that `seed` draws, as benchmarks/ablation.py does: these are left out. The model predicts
the other images once; val.json calibrates its boxes. Each of `seeds` plants errors in a share of the boxes:
a third is dropped, a third shifted by 30 to 50 % of its sides, a third gets another class.
Prints the share of the planted errors in the first third of the doubts, and among the first 20 doubts those
that are planted. The labels of photographs have errors of their own, which count as wrong here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from measuring import class_names, labelled_images, parser_of_a_model, random_order, scored_by

from al_loop.detector.checkpoint import read_weights
from al_loop.detector.config.model_config import load_model_config
from al_loop.evaluation.label_doubts import Doubt, label_doubts
from al_loop.evaluation.model_quality import calibration_of
from al_loop.structures.boxes import Boxes, FloatArray, iou
from al_loop.structures.images import LabelledImage

KINDS = ("dropped", "shifted", "renamed")
FIRST = 20


@dataclass(frozen=True, eq=False)
class Planted:
    """A planted error. places: (2, 4) xyxy of the box before and after it, where a doubt about it may be."""

    image_id: str
    kind: str
    places: FloatArray


def plant(
    labelled: Sequence[LabelledImage], share: float, classes: int, rng: np.random.Generator
) -> tuple[list[LabelledImage], list[Planted]]:
    """Return the images with errors in a share of their boxes, and these errors."""
    rows = [(image, box) for image, item in enumerate(labelled) for box in range(len(item.boxes))]
    chosen = rng.permutation(len(rows))[: round(share * len(rows))]
    changes = {rows[int(row)]: KINDS[place % len(KINDS)] for place, row in enumerate(chosen)}
    images, errors = [], []
    for number, item in enumerate(labelled):
        xyxy, labels = item.boxes.xyxy.copy(), item.boxes.labels.copy()
        keep = np.ones(len(labels), bool)
        for box in range(len(labels)):
            kind = changes.get((number, box))
            if kind is None:
                continue
            before = xyxy[box].copy()
            if kind == "dropped":
                keep[box] = False
            elif kind == "renamed":
                labels[box] = (labels[box] + rng.integers(1, classes)) % classes
            else:
                sides = before[2:] - before[:2]
                step = rng.uniform(0.3, 0.5, 2) * rng.choice([-1, 1], 2) * sides
                xyxy[box] = before + np.tile(step, 2)
            errors.append(Planted(item.image.id, kind, np.stack([before, xyxy[box]])))
        images.append(replace(item, boxes=Boxes(xyxy[keep], labels[keep])))
    return images, errors


def found_by(doubt: Doubt, errors: Sequence[Planted]) -> int | None:
    """Return the number of the planted error that a doubt is about."""
    for number, error in enumerate(errors):
        if error.image_id == doubt.image.id and iou(doubt.box[None], error.places).max() >= 0.5:
            return number
    return None


def main() -> None:
    parser = parser_of_a_model(__doc__.splitlines()[0], trained=0)
    parser.set_defaults(share=0.1)
    args = parser.parse_args()

    classes = class_names(args.data / "pool.json")
    config = load_model_config(args.config, classes, tuple(args.size) if args.size else None)
    pool, validation = (labelled_images(args.data / f"{name}.json", classes) for name in ("pool", "val"))
    images = [pool[i] for i in sorted(random_order(len(pool), args.seed)[args.trained :])]
    with TemporaryDirectory() as folder:
        weights, place = read_weights(args.weights), Path(folder)
        predicted = scored_by(config, weights, images, place / "pool").boxes_by_image()
        judged = scored_by(config, weights, validation, place / "val").boxes_by_image()
    calibration = calibration_of(validation, judged, classes)
    if calibration is not None and not calibration.is_useful:
        calibration = None
    auc = "unknown" if calibration is None else f"{calibration.auc:.2f}"
    print(f"{args.data.name}: {len(images)} images, AUC of right and wrong boxes {auc}")
    for seed in range(args.seeds):
        changed, errors = plant(images, args.share, len(classes), np.random.default_rng(seed))
        doubts = label_doubts(changed, predicted, calibration)
        hits = [found_by(doubt, errors) for doubt in doubts]
        third = {hit for hit in hits[: len(doubts) // 3] if hit is not None}
        shares = ", ".join(
            f"{kind} {np.mean([n in third for n, error in enumerate(errors) if error.kind == kind]):.2f}"
            for kind in KINDS
        )
        first = np.mean([hit is not None for hit in hits[:FIRST]])
        print(
            f"  seed {seed}: {len(errors)} errors, {len(doubts)} doubts; "
            f"{len(third) / len(errors):.2f} of the errors in the first third ({shares}); "
            f"{first:.2f} of the first {FIRST} planted"
        )


if __name__ == "__main__":
    main()
