"""Hooks of a training: progress, best weights, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce_params, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.model import is_model_wrapper

from al_loop.core.errors import TrainingError
from al_loop.detector.checkpoint import read_note, write_weights
from al_loop.detector.training.metric import KEY

#: Called after each step with (completed steps, total steps, short text).
Progress = Callable[[int, int, str], None]
# Key of the list of [step, AP] in the Runner's message hub, which is saved with each checkpoint.
_VALIDATIONS = "al_loop_validations"
_ADVICE = (
    "Lower the learning rate (pretrain.lr or train.lr in al-loop.toml) and run again. The current model is "
    "still the old one."
)
_MAX_NAMED = 5


def validations(runner: Any) -> dict[int, float]:
    """Return the AP of each validated step."""
    return {int(step): float(ap) for step, ap in runner.message_hub.get_info(_VALIDATIONS, [])}


class MovingAverage(EMAHook):  # type: ignore[misc]
    """Validate the exponential moving average of the weights, and of the statistics of batch normalisation.

    decay: the decay after step t is min(decay, t / (t + 10)), so that the first steps are soon forgotten.
    A checkpoint has the average and the weights. Source: Tarvainen & Valpola 2017, section 3.
    """

    def __init__(self, decay: float) -> None:
        momentum = min(1 - decay, 0.999)  # mmengine allows no momentum of 1
        super().__init__("MomentumAnnealingEMA", momentum=momentum, gamma=10, update_buffers=True)


class AverageBuffers(Hook):  # type: ignore[misc]
    """Average the statistics of batch normalisation over the processes before each checkpoint and validation.

    mmengine's SyncBuffersHook runs after the checkpoint is written.

    average: the moving average of the same training.
    """

    priority = "BELOW_NORMAL"  # after the update of the moving average, before the checkpoint

    def __init__(self, average: MovingAverage | None) -> None:
        self.average = average

    def after_train_iter(self, runner: Any, *_: Any, **__: Any) -> None:
        """Average after every `val_interval` steps and after the last."""
        interval = runner.train_loop.val_interval
        if self.every_n_train_iters(runner, interval) or self.is_last_train_iter(runner):
            all_reduce_params(runner.model.buffers(), op="mean")
            if self.average:
                all_reduce_params(self.average.ema_model.module.buffers(), op="mean")


class StopWithoutGain(Hook):  # type: ignore[misc]
    """Stop after `patience` validations in a row without a better AP."""

    priority = "LOW"

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def before_train(self, runner: Any) -> None:
        """Validate a resumed checkpoint: it was written before its validation."""
        if runner.iter and runner.iter not in validations(runner):
            runner.val_loop.run()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Store the AP, and decide whether to stop."""
        past = validations(runner) | {runner.iter: _ap(metrics)}
        runner.message_hub.update_info(_VALIDATIONS, [list(item) for item in past.items()])
        aps = list(past.values())
        if len(aps) - 1 - aps.index(max(aps)) >= self.patience:
            runner.train_loop.stop_training = True


class KeepBest(Hook):  # type: ignore[misc]
    """Store the weights with the best validation AP, and this AP, in one file that is replaced atomically.

    mmengine's own `save_best` deletes the old file before it writes the new one, and rewrites the last
    checkpoint in place. After a kill in between, the training can neither resume nor end.
    """

    priority = "ABOVE_NORMAL"  # while the model has the averaged weights

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = read_note(path, "ap") if path.is_file() else -math.inf

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Write the weights if the AP is the best so far. Raise TrainingError if they are not finite."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not all(torch.isfinite(parameter).all() for parameter in model.parameters()):
            raise TrainingError(f"the weights are no finite numbers after step {runner.iter}. {_ADVICE}")
        if _ap(metrics) > self.best and is_main_process():
            self.best = _ap(metrics)
            write_weights(self.path, model.state_dict(), ap=self.best)


class ReportProgress(Hook):  # type: ignore[misc]
    """Report progress after every step. Stop on a loss that is NaN or infinite."""

    def __init__(self, callback: Progress | None) -> None:
        self.callback = callback
        self.text = ""

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Check the total loss of the step, and report it."""
        loss = float(outputs["loss"].detach()) if outputs and "loss" in outputs else 0.0
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} in step {runner.iter + 1}, on {_images(data_batch)}. {_ADVICE}"
            )
        if self.callback:
            self.callback(runner.iter + 1, runner.max_iters, f"loss {loss:.2f}{self.text}")

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Show the AP of the validation in later progress reports."""
        self.text = f", AP {_ap(metrics):.3f}"


def _images(batch: Any) -> str:
    """Return the file names of the labelled images that all processes learn from in a step."""
    own = [Path(sample.img_path).name for sample in batch["data_samples"] if "img_path" in sample]
    names = [name for names in all_gather_object(own) for name in names]
    more = len(names) - _MAX_NAMED
    return f"{', '.join(names[:_MAX_NAMED])}{f' and {more} more' if more > 0 else ''}"


def _ap(metrics: dict[str, float] | None) -> float:
    """Return the AP of a validation."""
    return float((metrics or {}).get(KEY, 0.0))
