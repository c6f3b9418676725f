"""A small question for `al-loop benchmark`, and how it is asked."""

from __future__ import annotations

from pathlib import Path

import msgspec
from support.factories import CLASSES, write_coco_set

from al_loop.benchmark.run.runner import Outcome, Question, run_benchmark
from al_loop.core.config import Config
from al_loop.core.console import Silent


def small_config(batch: int) -> Config:
    """The small model on small pictures, trained in batches of so many."""
    training = {"batch_size": batch, "workers": 0}
    return msgspec.convert(
        {
            "classes": CLASSES,
            "model": {"config": "small", "image_size": [96, 64]},
            "train": training,
            "pretrain": training,
            "score": {"workers": 0},
            "device": "cpu",
        },
        Config,
    )


CONFIG = small_config(4)


def small_question(folder: Path) -> Question:
    """Twelve images to pick from in two cycles, by random and dbal, and seven to judge on; files go to the folder."""
    pool, val = write_coco_set(folder / "pool", 12, seed=1), write_coco_set(folder / "val", 4, seed=2)
    tests = {"other": write_coco_set(folder / "other", 3, seed=3)}
    return Question(pool, val, tests, ("random", "dbal"), {"scratch": "scratch"}, 3, 2, (), 1, 4)


def run(out: Path, question: Question, *, resume: bool = False) -> tuple[Outcome, Silent]:
    told = Silent()
    return run_benchmark(out, question, CONFIG, None, told, resume=resume), told
