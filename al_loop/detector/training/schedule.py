"""Number of steps of a training, and the learning rate in each step."""

from __future__ import annotations

from typing import Any

from al_loop.detector.training.job import RunSettings


def partial_epoch(run: RunSettings, images: int) -> tuple[int, int] | None:
    """Return the index (from 0) and the number of images of a shortened last epoch. None if it is complete.

    All batches of the shortened epoch are full.
    """
    if run.steps is None:
        return None
    settings = run.settings
    steps_per_epoch = -(-settings.repeat * images // settings.batch_size)
    left = run.steps - (settings.epochs - 1) * steps_per_epoch
    return None if left == steps_per_epoch else (settings.epochs - 1, left * settings.batch_size)


def schedule(epochs: int, steps: int | None = None) -> list[dict[str, Any]]:
    """Return mmengine's schedulers: linear warm-up over the first tenth, then a cosine to a hundredth.

    steps: total number of steps; warm-up and cosine are then counted in steps. None: count in epochs.
    The warm-up takes at least one step or epoch.
    """
    end, by_epoch = (epochs, True) if steps is None else (steps, False)
    warm_up = max(1, end // 10)
    common = {"by_epoch": True, "convert_to_iter_based": True} if by_epoch else {"by_epoch": False}
    rise = {"type": "LinearLR", "start_factor": 0.1, "begin": 0, "end": warm_up, **common}
    if end == warm_up:  # no epoch or step is left for the cosine
        return [rise]
    span = {"begin": warm_up, "end": end, "T_max": end - warm_up}
    return [rise, {"type": "CosineAnnealingLR", "eta_min_ratio": 0.01, **span, **common}]
