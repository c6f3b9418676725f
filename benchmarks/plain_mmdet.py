"""Training by mmdet's own Runner, as its tools/train.py does it: what al-loop is compared with."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from al_loop.detector.checkpoint import runner_checkpoints
from al_loop.detector.training.schedule import schedule

BATCH = 4


def plain(size: tuple[int, int]) -> list[dict[str, Any]]:
    """Return mmdet's default changes of training images. size: (width, height) px."""
    return [
        {"type": "Resize", "scale": size, "keep_ratio": True},
        {"type": "RandomFlip", "prob": 0.5},
    ]


def usual(size: tuple[int, int]) -> list[dict[str, Any]]:
    """Return the changes that mmdet's users add for few images: scale and colours. size: as of `plain`."""
    return [
        {"type": "RandomResize", "scale": size, "ratio_range": (0.8, 1.2), "keep_ratio": True},
        {"type": "PhotoMetricDistortion"},
        {"type": "RandomFlip", "prob": 0.5},
    ]


@dataclass(frozen=True)
class MmdetTraining:
    """A training by mmdet's Runner.

    weights: to start from.
    coco: training images.
    changes: of training images.
    workers: decoding processes.
    """

    config: Config
    weights: Path
    coco: Path
    folder: Path
    steps: int
    changes: list[dict[str, Any]]
    workers: int = 0
    seed: int = 0
    hooks: tuple[dict[str, Any], ...] = ()


def train_with_mmdet(job: MmdetTraining) -> Runner:
    """Train and return the Runner. The parts around the model are those of mmdet's default configs."""
    load = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations", "with_bbox": True}]
    whole = {
        "model": job.config.model,
        "work_dir": str(job.folder),
        "load_from": str(job.weights),
        "train_dataloader": {
            "batch_size": BATCH,
            "num_workers": job.workers,
            "persistent_workers": job.workers > 0,
            "sampler": {"type": "InfiniteSampler", "shuffle": True, "seed": job.seed},
            "batch_sampler": {"type": "AspectRatioBatchSampler"},
            "dataset": {
                "type": "CocoDataset",
                "metainfo": {"classes": tuple(job.config.classes)},
                "ann_file": str(job.coco),
                "data_prefix": {"img": ""},
                "filter_cfg": {"filter_empty_gt": False, "min_size": 1},
                "pipeline": [*load, *job.changes, {"type": "PackDetInputs"}],
            },
        },
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": job.steps, "val_interval": job.steps + 1},
        "optim_wrapper": job.config.optim_wrapper,
        "param_scheduler": schedule(job.steps),
        "default_hooks": {
            "timer": {"type": "IterTimerHook"},
            "logger": {"type": "LoggerHook", "interval": 50},
            "param_scheduler": {"type": "ParamSchedulerHook"},
            "checkpoint": {"type": "CheckpointHook", "interval": job.steps, "by_epoch": False},
            "sampler_seed": {"type": "DistSamplerSeedHook"},
        },
        "custom_hooks": list(job.hooks),
        "log_processor": {"type": "LogProcessor", "by_epoch": False},
        "env_cfg": {
            "cudnn_benchmark": False,
            "mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0},
            "dist_cfg": {"backend": "nccl"},
        },
        "randomness": {"seed": job.seed},
        "default_scope": "mmdet",
        "log_level": "ERROR",
        "launcher": "none",
    }
    with runner_checkpoints(), redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner = Runner.from_cfg(Config(whole))
        runner.train()
    return runner
