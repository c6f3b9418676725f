"""Hooks of a training: progress, early stop, and a stop on a loss that is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mmengine.hooks import Hook

from al_loop.detector.metric import KEY
from al_loop.errors import TrainingError

# Key of the list of validation APs in the Runner's message hub; it is saved with each checkpoint, so
# that a resumed training knows what came before.
VALIDATIONS = "al_loop_validations"


class StopWithoutGain(Hook):  # type: ignore[misc]
    """Stop once `patience` validations in a row brought no better AP."""

    priority = "LOW"

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Remember this validation and decide."""
        past = [*runner.message_hub.get_info(VALIDATIONS, []), float((metrics or {}).get(KEY, 0.0))]
        runner.message_hub.update_info(VALIDATIONS, past)
        best_at = past.index(max(past))
        if len(past) - 1 - best_at >= self.patience:
            runner.train_loop.stop_training = True


class RefuseNonFiniteLoss(Hook):  # type: ignore[misc]
    """Stop a training whose loss is NaN or infinite before it spoils the weights further."""

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Look at the total loss of this step."""
        loss = _loss(outputs)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} in step {runner.iter + 1}. Lower the learning rate "
                "(pretrain.lr or train.lr in al-loop.toml) and run again."
            )


class ReportProgress(Hook):  # type: ignore[misc]
    """Call back after every step with (steps done, steps in all, a short text)."""

    def __init__(self, callback: Callable[[int, int, str], None] | None) -> None:
        self.callback = callback
        self.text = ""

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Report the step."""
        if self.callback:
            self.callback(runner.iter + 1, runner.max_iters, f"loss {_loss(outputs):.2f}{self.text}")

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Report the AP of the validation with the steps that follow."""
        self.text = f", AP {(metrics or {}).get(KEY, 0.0):.3f}"


def _loss(outputs: dict[str, Any] | None) -> float:
    """Return the total loss of a step."""
    return float(outputs["loss"].detach()) if outputs and "loss" in outputs else 0.0
