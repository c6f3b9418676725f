"""Training with mmengine's Runner: the same function for M0 and for each cycle's fine-tuning.

Also the same in one process and in each of several that share a training (`al_loop.detector.training.launcher`).
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import worker_init_fn
from mmengine.dist import barrier, broadcast_object_list, get_dist_info, is_distributed, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook, SyncBuffersHook
from mmengine.runner import Runner
from torch import nn

from al_loop.core.errors import ModelError, TrainingError
from al_loop.detector import transforms
from al_loop.detector.checkpoint import Weights, load_into, read_note, read_weights, runner_checkpoints
from al_loop.detector.config.model_config import build_model
from al_loop.detector.training import hooks
from al_loop.detector.training.ddp import ShareOfBatches, WholeSampler, wrapping
from al_loop.detector.training.ignore_regions import OpenRegions, ignore_regions
from al_loop.detector.training.metric import ValidationAP
from al_loop.detector.training.optimiser import laid_out, optimiser
from al_loop.detector.training.quality import ClassQuality
from al_loop.detector.training.schedule import cut_short, schedule
from al_loop.detector.training.settings import TrainSettings
from al_loop.images.coco import write_coco
from al_loop.structures.images import LabelledImage

# Importing them registers the transforms that the Runner's config names.
_REGISTERED = (transforms.ReadPicture, transforms.FitInto, transforms.Augment, OpenRegions)

#: The best weights so far, in the folder of work files.
BEST = "best.pth"

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Trained:
    """The best weights of a training and what the validations said; quality: of each class, see `ClassQuality`."""

    weights: Weights
    epochs: int
    best_ap: float
    validations: list[float]
    quality: list[float]


def train(
    config: Config,
    start: Weights | None,
    training: Sequence[LabelledImage],
    validation: Sequence[LabelledImage],
    settings: TrainSettings,
    folder: Path,
    on_progress: Progress | None = None,
) -> Trained:
    """Train from `start` (None: random weights) and return the weights with the best validation AP.

    folder: work files; where a killed training left its checkpoint there, it goes on.
    Raises TrainingError when there is nothing to learn from, or when the loss is not finite.
    """
    if not any(len(item.boxes) for item in training):
        raise TrainingError(
            f"nothing to learn from: {len(training)} images without a single box. Label some: al-loop cycle"
        )
    resume = _prepared(folder, config, training, validation)
    added = [
        SyncBuffersHook(),
        hooks.RefuseNonFiniteLoss(),
        hooks.StopWithoutGain(settings.patience),
        hooks.KeepBest(folder / BEST),
        hooks.ReportProgress(on_progress, settings.steps),
    ]
    metric = ValidationAP(validation, config.classes)
    torch.manual_seed(settings.seed)
    model = build_model(config)
    if start is not None:
        load_into(model, start, "the model to start from")
    laid_out(model, settings)
    ignore_regions(model)
    with (
        _on(settings.device),
        ClassQuality(model) as quality,
        _to_log(folder),
        runner_checkpoints(),
        warnings.catch_warnings(),
    ):
        # The Runner asks the model to initialise itself; it keeps the weights it has, and warns.
        warnings.filterwarnings("ignore", message="init_weights of .* has been called more than once")
        runner = _runner(config, model, settings, len(training), folder, added, metric, resume)
        runner.train()
        if runner.epoch not in hooks.validations(runner):
            runner.val()  # killed in its last validation, the resumed training had no epoch left to run
        barrier()  # the weights are written by one of the processes
    return Trained(
        weights=read_weights(folder / BEST),
        epochs=runner.epoch,
        best_ap=read_note(folder / BEST, "ap"),
        validations=list(hooks.validations(runner).values()),
        quality=quality.mean.tolist(),
    )


def _prepared(
    folder: Path, config: Config, training: Sequence[LabelledImage], validation: Sequence[LabelledImage]
) -> bool:
    """Write what the Runner reads, in one of the processes; say in all whether there is a checkpoint to resume from."""
    resume = [False]
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        write_coco(folder / "train.json", training, config.classes)
        write_coco(folder / "val.json", validation, config.classes)
        resume = [_resumable(folder)]
    broadcast_object_list(resume)
    return resume[0]


def discard_work_files(folder: Path) -> None:
    """Delete the Runner's checkpoints once the weights are kept elsewhere; logs and COCO files stay."""
    for path in folder.glob("*.pth"):
        path.unlink()
    (folder / "last_checkpoint").unlink(missing_ok=True)
    for path in folder.glob("vis_data"):
        shutil.rmtree(path, ignore_errors=True)


def _runner(
    config: Config,
    model: nn.Module,
    settings: TrainSettings,
    images: int,
    folder: Path,
    added: list[Hook],
    metric: ValidationAP,
    resume: bool,
) -> Runner:
    rank, processes = get_dist_info()
    fit_into = {
        "type": "FitInto",
        "size": tuple(config.image_size),
        "enlarge": bool(config.enlarge),
        "way": config.get("resize", "inside"),
    }
    meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
    pack = {"type": "PackDetInputs", "meta_keys": meta_keys}
    load = [{"type": "ReadPicture"}, {"type": "LoadAnnotations", "with_bbox": True}, fit_into]
    dataset = {
        "type": "CocoDataset",
        "metainfo": {"classes": tuple(config.classes)},
        "data_prefix": {"img": ""},
    }
    # Seeded alike in all processes: each draws the augmentations of all images, and uses its own. A worker's number is added
    # to the seed, and numpy takes no more than 32 bits.
    seed = min(settings.seed, 2**32 - 1 - settings.workers)
    seeded = {"type": worker_init_fn, "num_workers": settings.workers, "rank": 0, "seed": seed}
    workers = {
        "num_workers": settings.workers,
        "persistent_workers": settings.workers > 0,
        "worker_init_fn": seeded,
    }
    augment = {"type": "Augment", "turns": settings.turns, "rank": rank, "processes": processes}
    launcher = "pytorch" if is_distributed() else "none"
    wrapper = wrapping(settings.device, bool(config.get("find_unused_parameters", False)))
    runner = Runner(
        model=model,
        work_dir=str(folder),
        train_dataloader={
            "batch_size": settings.batch_size,
            **workers,
            "sampler": {"type": WholeSampler, "shuffle": True, "cut": cut_short(settings, images)},
            "batch_sampler": {"type": ShareOfBatches},
            "dataset": {
                "type": "RepeatDataset",
                "times": settings.repeat,
                "dataset": {
                    **dataset,
                    "ann_file": str(folder / "train.json"),
                    "filter_cfg": {"filter_empty_gt": False, "min_size": 1},
                    "pipeline": [*load, augment, {"type": "OpenRegions"}, pack],
                },
            },
        },
        val_dataloader={
            "batch_size": 1,
            **workers,
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "dataset": {
                **dataset,
                "ann_file": str(folder / "val.json"),
                "test_mode": True,
                "pipeline": [{"type": "ReadPicture"}, fit_into, pack],
            },
        },
        val_evaluator=Evaluator([metric]),
        train_cfg={"by_epoch": True, "max_epochs": settings.epochs, "val_interval": settings.val_every},
        val_cfg={},
        optim_wrapper=optimiser(config, settings),
        param_scheduler=schedule(settings.epochs, settings.steps),
        default_hooks={
            # Two are kept because mmengine deletes the oldest before it writes the next.
            "checkpoint": {"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": 2},
            "logger": {"type": "LoggerHook", "interval": 10, "log_metric_by_epoch": True},
        },
        custom_hooks=added,
        randomness={"seed": settings.seed},
        resume=resume,
        default_scope="mmdet",
        experiment_name=f"al_loop_{folder.parent.name}",
        launcher=launcher,
        cfg=Config({"work_dir": str(folder), "launcher": launcher, **wrapper}),
        log_level="INFO",
    )
    if settings.device == "cpu":
        runner.model.to("cpu")
    return runner


def _resumable(folder: Path) -> bool:
    """Say whether a checkpoint is there to resume from, and point the Runner to the newest that is whole."""
    for path in sorted(folder.glob("epoch_*.pth"), key=lambda p: int(p.stem.split("_")[1]), reverse=True):
        try:
            read_weights(path)
        except ModelError:
            path.unlink()  # cut off while it was written
            continue
        (folder / "last_checkpoint").write_text(str(path))
        return True
    (folder / "last_checkpoint").unlink(missing_ok=True)
    return False


def _on(device: str) -> AbstractContextManager[Any]:
    """Make a GPU the one that "cuda" is: the Runner knows no other name."""
    return torch.cuda.device(device) if device.startswith("cuda") else nullcontext()


@contextmanager
def _to_log(folder: Path) -> Iterator[None]:
    """Send what the Runner and pycocotools print to train.log: the terminal belongs to al-loop."""
    if not is_main_process():  # has no terminal, and nothing to say that the first does not
        yield
        return
    with (folder / "train.log").open("a") as log, redirect_stdout(log), redirect_stderr(log):
        yield
