"""Trainings of one set and seed that are compared with each other; a repeated call continues."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from ablation import parsed, report, set_value
from measuring import Results, class_names, labelled_images, random_order

from al_loop.core.training_config import TrainConfig
from al_loop.detector.checkpoint import read_weights
from al_loop.detector.config.model_config import imagenet_start, load_model_config
from al_loop.detector.device import choose_device, default_workers
from al_loop.detector.training.job import RunSettings, TrainingJob
from al_loop.detector.training.optimiser import training_precision
from al_loop.structures.images import LabelledImage

#: Returns the numbers of a kind of training on a set, with a seed.
Run = Callable[[argparse.Namespace, Path, int, str], dict[str, Any]]


def first_job(
    args: argparse.Namespace, data: Path, seed: int
) -> tuple[TrainingJob, list[LabelledImage], Sequence[LabelledImage]]:
    """Return the training on the labels that a seed draws, the other images of the pool, and the test set."""
    classes = class_names(data / "pool.json")
    config = load_model_config(args.config, classes, tuple(args.size) if args.size else None)
    pool, test = (labelled_images(data / f"{name}.json", classes) for name in ("pool", "val"))
    order = [pool[i] for i in random_order(len(pool), seed)]
    plain: dict[str, Any] = {}
    for key, value in parsed(args.base).items():
        set_value({"train": plain}, key, value)
    settings = msgspec.convert({"val_every": 10**6, "seed": seed, **plain}, TrainConfig)
    start = read_weights(args.start) if args.start else imagenet_start(config, seed)
    lr = settings.lr or (config.fine_tune_lr if args.start else config.optim_wrapper.optimizer.lr)
    workers = default_workers() if args.workers is None else args.workers
    device = choose_device("auto")
    run = RunSettings(settings, device, lr, workers, training_precision(settings.precision, device))
    folder = args.work / f"{data.name}-{args.labels}-{seed}" / "training"
    job = TrainingJob(config, start, order[: args.labels], test[:1], run, folder)
    return job, order[args.labels :], test


def run_trials(
    args: argparse.Namespace, kinds: Sequence[str], base: str, options: Sequence[str], run: Run
) -> None:
    """Run the trainings that are missing, and print the differences to `base`.

    options: names of further arguments of which the results depend.
    """
    results = Results(args.work)
    more = {name: getattr(args, name) for name in options}
    for seed in range(args.seeds):
        for data in args.data:
            for kind in kinds:
                key = {"data": data.name, "labels": args.labels, "seed": seed, "kind": kind} | more
                if not results.has(key):
                    results.add(key | run(args, data, seed, kind))
    rows = [row for row in results.rows if all(row.get(name) == value for name, value in more.items())]
    report(rows, "kind", kinds, base)
