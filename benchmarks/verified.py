"""AP after people have verified single boxes, compared with whole images that they label in the same time.

    .venv/bin/python benchmarks/verified.py WORK --data SET [SET ...] [--labels 25] [--crops 200] [--pool 400]
        [--seeds 3] [--start M0.pth] [--base train.steps=400]

SET holds pool.json and val.json (COCO). A seed draws the labelled images from pool.json. "first" is a
training on them. Its most uncertain boxes on other images, equally many of each class, are verified: a box
is right if a true box of its class has an IoU of --iou, and wrong if no true box has one of 0.3. The other
trainings start as the first does, with as many steps: "background" learns the right boxes, too, and takes
the rest of their images as background; "seen" ignores those boxes of the model that nobody has verified, or
that are off; "ignored" ignores all of the rest; "drawn" learns random images labelled in the same time.
Times are the usual prices of `strategies.prices`. Scores stand for chances, and an image may have any
number of verified boxes. WORK/results.jsonl has a line per training, and a repeated call continues.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ablation import show
from measuring import scored_by, trial_parser
from trials import first_job, run_trials

from al_loop.detector.checkpoint import read_weights, write_weights
from al_loop.detector.training.job import TrainingJob
from al_loop.detector.training.train import train
from al_loop.evaluation.evaluate import evaluate
from al_loop.structures.boxes import Boxes, iou
from al_loop.structures.images import LabelledImage
from strategies import Prices

KINDS = ("first", "drawn", "background", "seen", "ignored")
#: Least score of a box that people see in a whole image.
_SHOWN = 0.3
#: A box whose largest IoU with true boxes is below this shows no object.
_NO_OBJECT = 0.3


@dataclass(frozen=True, eq=False)
class Trial:
    """The trainings of a set and a seed. rest: images without labels, in random order."""

    job: TrainingJob
    rest: Sequence[LabelledImage]
    test: Sequence[LabelledImage]
    crops: int
    least_iou: float

    def run(self, kind: str) -> dict[str, Any]:
        """Train. Return AP, AP50, AP75, the seconds of the training, and the added images and boxes."""
        folder, classes = self.job.folder.with_name(kind), self.job.config.classes
        added = [] if kind == "first" else self.added(kind)
        job = replace(self.job, folder=folder, training=[*self.job.training, *added])
        began = time.monotonic()
        weights = train(job, show).weights
        seconds = time.monotonic() - began
        shutil.rmtree(folder)
        if kind == "first":
            write_weights(self.job.folder.with_name("first.pth"), weights, classes)
        scored = scored_by(job.config, weights, self.test, folder.with_name("scores"))
        shutil.rmtree(folder.with_name("scores"))
        metrics = evaluate(self.test, scored.boxes_by_image(), classes)
        return {
            "ap": metrics.ap,
            "ap50": metrics.ap50,
            "ap75": metrics.ap75,
            "seconds": seconds,
            "images": len(added),
            "boxes": sum(len(item.boxes) for item in added),
        }

    def added(self, kind: str) -> list[LabelledImage]:
        """Return the images that are learnt besides the labelled ones."""
        start = read_weights(self.job.folder.with_name("first.pth"))
        scored = scored_by(self.job.config, start, self.rest, self.job.folder.with_name("scores"))
        shutil.rmtree(self.job.folder.with_name("scores"))
        predicted = scored.boxes_by_image()
        if kind == "drawn":
            return self.drawn([predicted[item.image.id] for item in self.rest])
        chosen = most_uncertain(scored.scores[:], scored.labels[:], self.crops, len(self.job.config.classes))
        found = []
        for index in np.unique(np.searchsorted(scored.offsets, chosen, side="right") - 1):
            item, first = self.rest[index], int(scored.offsets[index])
            boxes = predicted[item.image.id]
            verified = np.isin(np.arange(first, first + len(boxes)), chosen)
            is_right = verified & right(boxes, item.boxes, self.least_iou)
            if not is_right.any():
                continue
            alone = iou(boxes.xyxy, item.boxes.xyxy).max(axis=1, initial=0.0) < _NO_OBJECT
            whole = np.array([[0.0, 0.0, item.image.width, item.image.height]])
            unknown = boxes.xyxy[~is_right & ~(verified & alone)]
            regions = {"background": whole[:0], "seen": unknown, "ignored": whole}[kind]
            ignored = Boxes(regions, np.zeros(len(regions), np.int64))
            known = Boxes(boxes.xyxy[is_right], boxes.labels[is_right])
            found.append(LabelledImage(item.image, known, ignored))
        return found

    def drawn(self, predicted: Sequence[Boxes]) -> list[LabelledImage]:
        """Return the images that are labelled in the time of the crops."""
        prices, found = Prices(), []
        left = self.crops * prices.confirm
        for item, boxes in zip(self.rest, predicted, strict=True):
            shown = boxes.above(_SHOWN)
            kept = min(int(right(shown, item.boxes, self.least_iou).sum()), len(item.boxes))
            left -= prices.image + prices.confirm * kept + prices.delete * (len(shown) - kept)
            left -= prices.draw * (len(item.boxes) - kept)
            if left < 0:
                break
            found.append(item)
        return found


def most_uncertain(scores: Any, labels: Any, count: int, classes: int) -> Any:
    """Return the rows of the boxes with a score nearest to 0.5, equally many of each class."""
    rows = [np.flatnonzero(labels == label) for label in range(classes)]
    nearest = [of[np.argsort(np.abs(scores[of] - 0.5), kind="stable")[: count // classes]] for of in rows]
    return np.sort(np.concatenate(nearest))


def right(boxes: Boxes, truth: Boxes, least_iou: float) -> Any:
    """Whether each box has a true box of its class."""
    same = boxes.labels[:, None] == truth.labels[None]
    return (same & (iou(boxes.xyxy, truth.xyxy) >= least_iou)).any(axis=1)


def run(args: argparse.Namespace, data: Path, seed: int, kind: str) -> dict[str, Any]:
    """Return the numbers of a kind of training."""
    job, rest, test = first_job(args, data, seed)
    return Trial(job, rest[: args.pool], test, args.crops, args.iou).run(kind)


def main() -> None:
    """Run the trainings that are missing, and print the comparison."""
    parser = trial_parser(__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=200, help="Boxes that people verify.")
    parser.add_argument("--pool", type=int, help="Images to choose from. Default: all.")
    parser.add_argument("--iou", type=float, default=0.6, help="From which a box is right.")
    run_trials(parser.parse_args(), KINDS, "first", ("crops", "iou", "pool", "base"), run)


if __name__ == "__main__":
    main()
