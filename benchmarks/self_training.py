"""AP of a second training with unlabelled images, compared with a second training on the labels alone.

    .venv/bin/python benchmarks/self_training.py WORK --data SET [SET ...] [--labels 25] [--held-out 30]
        [--seeds 3] [--steps 400] [--start M0.pth] [--base train.steps=300]

SET holds pool.json and val.json (COCO). A seed draws from pool.json the labelled images and those of which
the thresholds are measured; the others are unlabelled. All models are evaluated on val.json, and none is
chosen by it. "first" is the training on the labels. From its weights, "again" goes on with the labels alone,
"hard" and "soft" with unlabelled images, too. WORK/results.jsonl has a line per training, and a repeated call
continues.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablation import show
from measuring import scored_by, trial_parser
from msgspec import structs
from trials import first_job, run_trials

from al_loop.core.training_config import SelfTrainingConfig
from al_loop.detector.checkpoint import read_weights, write_weights
from al_loop.detector.self_training.settings import UnlabelledPart
from al_loop.detector.training.job import TrainingJob
from al_loop.detector.training.train import train
from al_loop.evaluation.evaluate import evaluate, match
from al_loop.evaluation.score_thresholds import score_thresholds
from al_loop.models.self_training import images_per_step
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage

KINDS = ("first", "again", "hard", "soft")


@dataclass(frozen=True, eq=False)
class Trial:
    """The trainings of a set and a seed."""

    job: TrainingJob
    held_out: Sequence[LabelledImage]
    unlabelled: Sequence[LabelledImage]
    test: Sequence[LabelledImage]
    options: SelfTrainingConfig

    def run(self, kind: str) -> dict[str, Any]:
        """Train. Return AP, AP50, the seconds of the training, and classes with a threshold."""
        file = self.job.folder.with_name(f"{kind}.pth")
        began, job = time.monotonic(), replace(self.job, folder=self.job.folder.with_name(kind))
        thresholds: tuple[float | None, ...] = ()
        if kind != "first":
            thresholds = self.thresholds()
            job = self.second(job, kind, thresholds)
            began = time.monotonic()
        weights = train(job, show).weights
        seconds = time.monotonic() - began
        write_weights(file, weights, self.job.config.classes)
        shutil.rmtree(job.folder)
        metrics = evaluate(self.test, self.boxes(file, self.test), self.job.config.classes)
        known = sum(threshold is not None for threshold in thresholds)
        return {
            "ap": metrics.ap,
            "ap50": metrics.ap50,
            "ap75": metrics.ap75,
            "seconds": seconds,
            "thresholds": known,
        }

    def second(self, job: TrainingJob, kind: str, thresholds: tuple[float | None, ...]) -> TrainingJob:
        """Return the job of a training that starts from the weights of the first."""
        run, options = job.run, self.options
        count = images_per_step(options, run.settings.batch_size, 1) if kind != "again" else 0
        images = [item.image for item in self.unlabelled]
        part = UnlabelledPart(images, count, thresholds, kind == "soft", options.weight) if count else None
        settings = structs.replace(
            run.settings,
            batch_size=run.settings.batch_size - count,
            steps=options.steps or run.settings.steps,
        )
        lr = settings.lr or job.config.fine_tune_lr
        start = read_weights(job.folder.with_name("first.pth"))
        return replace(job, start=start, run=replace(run, settings=settings, lr=lr), unlabelled=part)

    def thresholds(self) -> tuple[float | None, ...]:
        """Return the thresholds of the first model on the images that are held out."""
        boxes = self.boxes(self.job.folder.with_name("first.pth"), self.held_out)
        return score_thresholds(match(self.held_out, boxes, self.job.config.classes))

    def boxes(self, file: Path, images: Sequence[LabelledImage]) -> Mapping[str, Boxes]:
        """Return what a model predicts."""
        scores = file.with_suffix(".scores")
        boxes = scored_by(self.job.config, read_weights(file), images, scores).boxes_by_image()
        shutil.rmtree(scores)
        return boxes


def run(args: argparse.Namespace, data: Path, seed: int, kind: str) -> dict[str, Any]:
    """Return the numbers of a kind of training."""
    job, others, test = first_job(args, data, seed)
    options = SelfTrainingConfig(
        unlabelled_fraction=args.fraction, weight=args.weight, steps=args.steps or job.run.settings.steps
    )
    return Trial(job, others[: args.held_out], others[args.held_out :], test, options).run(kind)


def main() -> None:
    """Run the trainings that are missing, and print the comparison."""
    parser = trial_parser(__doc__.splitlines()[0])
    parser.add_argument("--held-out", type=int, default=30, help="Images for the thresholds.")
    parser.add_argument("--steps", type=int, help="Of the second training. Default: those of the first.")
    parser.add_argument("--fraction", type=float, default=0.5, help="Of unlabelled images in a batch.")
    parser.add_argument("--weight", type=float, default=1.0, help="Of the loss on unlabelled images.")
    run_trials(parser.parse_args(), KINDS, "again", (), run)


if __name__ == "__main__":
    main()
