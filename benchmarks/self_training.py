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

import msgspec
import numpy as np
from ablation import parsed, report, set_value
from measuring import Results, class_names, labelled_images
from msgspec import structs

from al_loop.core.training_config import SelfTrainingConfig, TrainConfig
from al_loop.detector.checkpoint import Weights, load_into, read_weights, write_weights
from al_loop.detector.config.model_config import build_model, imagenet_start, load_model_config
from al_loop.detector.device import choose_device, default_workers
from al_loop.detector.inference.predict import Detector
from al_loop.detector.inference.scoring import ScoreSettings, score_images
from al_loop.detector.self_training.settings import UnlabelledPart
from al_loop.detector.training.job import RunSettings, TrainingJob
from al_loop.detector.training.optimiser import training_precision
from al_loop.detector.training.train import train
from al_loop.evaluation.evaluate import evaluate, match
from al_loop.evaluation.score_thresholds import score_thresholds
from al_loop.models.self_training import images_per_step
from al_loop.state.prediction_store import ShardStore
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
        network, device = build_model(self.job.config), self.job.run.device
        load_into(network, read_weights(file), file.name)
        scores = file.with_suffix(".scores")
        detector = Detector(network.to(device).eval(), self.job.config, next(network.parameters()).device)
        store = ShardStore(scores)
        score_images(detector, [item.image for item in images], store, ScoreSettings(0.05, 8, 0, 256))
        boxes = store.load().boxes_by_image()
        shutil.rmtree(scores)
        return boxes


def show(done: int, total: int, text: str) -> None:
    """Show the progress of a training."""
    print(f"\r{done}/{total} {text}   ", end="", flush=True)


def trial_of(args: argparse.Namespace, data: Path, seed: int) -> Trial:
    """Draw the images of a set by the seed."""
    classes = class_names(data / "pool.json")
    config = load_model_config(args.config, classes, tuple(args.size) if args.size else None)
    pool, test = (labelled_images(data / f"{name}.json", classes) for name in ("pool", "val"))
    order = [pool[i] for i in np.random.default_rng(seed).permutation(len(pool))]
    labelled, others = order[: args.labels], order[args.labels :]
    plain: dict[str, Any] = {}
    for key, value in parsed(args.base).items():
        set_value({"train": plain}, key, value)
    settings = msgspec.convert({"val_every": 10**6, "seed": seed, **plain}, TrainConfig)
    start: Weights = read_weights(args.start) if args.start else imagenet_start(config, seed)
    lr = settings.lr or (config.fine_tune_lr if args.start else config.optim_wrapper.optimizer.lr)
    workers = default_workers() if args.workers is None else args.workers
    device = choose_device("auto")
    run = RunSettings(settings, device, lr, workers, training_precision(settings.precision, device))
    folder = args.work / f"{data.name}-{args.labels}-{seed}" / "training"
    options = SelfTrainingConfig(
        unlabelled_fraction=args.fraction, weight=args.weight, steps=args.steps or settings.steps
    )
    job = TrainingJob(config, start, labelled, test[:1], run, folder)
    return Trial(job, others[: args.held_out], others[args.held_out :], test, options)


def main() -> None:
    """Run the trainings that are missing, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--labels", type=int, default=25)
    parser.add_argument("--held-out", type=int, default=30, help="Images for the thresholds.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="Of the second training. Default: those of the first.")
    parser.add_argument("--fraction", type=float, default=0.5, help="Of unlabelled images in a batch.")
    parser.add_argument("--weight", type=float, default=1.0, help="Of the loss on unlabelled images.")
    parser.add_argument("--config", default="lite")
    parser.add_argument("--size", type=int, nargs=2, help="Width and height of the model's input, px.")
    parser.add_argument("--start", type=Path, help="Weights to start from. Default: ImageNet's.")
    parser.add_argument("--workers", type=int, help="Decoding processes.")
    parser.add_argument("--base", default="", help="Settings of all trainings: train.KEY=value,...")
    args = parser.parse_args()
    results = Results(args.work)
    for seed in range(args.seeds):
        for data in args.data:
            for kind in KINDS:
                key = {"data": data.name, "labels": args.labels, "seed": seed, "kind": kind}
                if not results.has(key):
                    results.add(key | trial_of(args, data, seed).run(kind))
    report(results.rows, "kind", KINDS, "again")


if __name__ == "__main__":
    main()
