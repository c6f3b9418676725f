"""Training with mmengine's Runner: one function for pretraining and for the fine-tuning of each cycle.

A single process and each process of a distributed training (`al_loop.detector.training.launcher`) call it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.dist import barrier, broadcast_object_list, is_main_process
from mmengine.hooks import Hook

from al_loop.core.errors import TrainingError
from al_loop.detector.checkpoint import Weights, load_into, read_note, read_weights, runner_checkpoints
from al_loop.detector.config.model_config import build_model
from al_loop.detector.ignore_regions import ignore_regions
from al_loop.detector.roi_align import use_in_training
from al_loop.detector.self_training.hook import SelfTraining
from al_loop.detector.self_training.settings import UnlabelledPart
from al_loop.detector.training import hooks
from al_loop.detector.training.freeze import with_frozen_layers
from al_loop.detector.training.hooks import Progress
from al_loop.detector.training.job import TrainingJob
from al_loop.detector.training.mask_loss import learn_masks
from al_loop.detector.training.optimiser import keep_depthwise_in_float32
from al_loop.detector.training.quality import ClassQuality
from al_loop.detector.training.resume import find_checkpoint
from al_loop.detector.training.runner import COCO_FILES, make_runner
from al_loop.images.coco import write_coco

#: The best weights so far, in the folder of work files.
BEST = "best.pth"


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    weights: weights with the best validation AP.
    steps: number of completed steps.
    best_ap: validation AP of the weights.
    validations: AP of each validation.
    quality: quality of each class, see `ClassQuality`.
    """

    weights: Weights
    steps: int
    best_ap: float
    validations: list[float]
    quality: list[float]


def train(job: TrainingJob, on_progress: Progress | None = None) -> Trained:
    """Train a model and return the weights with the best validation AP.

    Resumes from the last checkpoint of a killed training in the job's folder.
    Raises TrainingError if no image has a box, or if the loss is not finite. Raises ConfigError if the model
    cannot freeze layers as the settings say.
    """
    if not any(len(item.boxes) for item in job.training):
        raise TrainingError(
            f"nothing to learn from: {len(job.training)} images without a single box. "
            "Label some: al-loop cycle"
        )
    done, device, settings = _prepare(job), job.run.device, job.run.settings
    torch.manual_seed(settings.seed)
    model = build_model(with_frozen_layers(job.config, settings.freeze))
    if job.start is not None:
        load_into(model, job.start, "the model to start from")
    model.to(memory_format=torch.channels_last)  # convolutions are faster then
    if job.run.precision == "bf16" and device == "cpu":
        keep_depthwise_in_float32(model)
    ignore_regions(model)
    use_in_training(model)
    learn_masks(model, job.run.metric)
    with (
        # The Runner accepts only "cuda" as the name of a GPU.
        torch.cuda.device(device) if device.startswith("cuda") else nullcontext(),
        ClassQuality(model) as quality,
        _redirect_output(job.folder),
        runner_checkpoints(),
        warnings.catch_warnings(),
    ):
        # The Runner calls `init_weights` again. The model keeps its weights, and warns.
        warnings.filterwarnings("ignore", message="init_weights of .* has been called more than once")
        average = hooks.MovingAverage(settings.ema) if settings.ema or job.unlabelled else None
        stop, best = hooks.StopWithoutGain(settings.patience), hooks.KeepBest(job.folder / BEST)
        custom = [quality, hooks.AverageBuffers(average), stop, best, hooks.ReportProgress(on_progress)]
        custom += [average] if average else []
        custom += [_self_training(job, job.unlabelled, average)] if job.unlabelled and average else []
        runner = make_runner(job, model, custom, done)
        runner.train()
        barrier()  # rank 0 writes the weights
    return Trained(
        weights=read_weights(best.path),
        steps=runner.iter,
        best_ap=read_note(best.path, "ap"),
        validations=list(hooks.validations(runner).values()),
        quality=quality.mean.tolist(),
    )


def _self_training(job: TrainingJob, part: UnlabelledPart, average: hooks.MovingAverage) -> Hook:
    """Return the hook that adds unlabelled images. The moving average of the weights is the teacher."""
    settings, workers = job.run.settings, job.run.workers
    return SelfTraining(part, job.config, settings, workers, lambda: average.ema_model.module)


def _prepare(job: TrainingJob) -> int:
    """Write the Runner's COCO files in rank 0. Return in all ranks the step to resume at, or 0."""
    done = [0]
    if is_main_process():
        job.folder.mkdir(parents=True, exist_ok=True)
        training = [*job.training, *job.rendered]
        for name, images in zip(COCO_FILES, (training, job.validation), strict=True):
            write_coco(job.folder / name, images, job.config.classes)
        done = [find_checkpoint(job.folder)]
    broadcast_object_list(done)
    return done[0]


@contextmanager
def _redirect_output(folder: Path) -> Iterator[None]:
    """Redirect the output of the Runner and of pycocotools from the terminal to train.log."""
    if not is_main_process():  # other ranks would repeat what rank 0 prints
        yield
        return
    with (folder / "train.log").open("a") as log, redirect_stdout(log), redirect_stderr(log):
        yield
