"""How many steps a training takes, and the learning rate in each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from al_loop.detector.training.settings import TrainSettings


def steps_of_epoch(settings: TrainSettings, images: int) -> int:
    """Return the steps of a whole epoch."""
    return -(-settings.repeat * images // settings.batch_size)


def cut_short(settings: TrainSettings, images: int) -> tuple[int, int] | None:
    """Return which epoch, from 0, is not whole, and how many images it draws; None where all are whole.

    Where one is, its batches are all full.
    """
    if settings.steps is None:
        return None
    before = (settings.epochs - 1) * steps_of_epoch(settings, images)
    left = settings.steps - before
    if left == steps_of_epoch(settings, images):
        return None
    return settings.epochs - 1, left * settings.batch_size


def schedule(epochs: int, steps: int | None = None) -> list[dict[str, Any]]:
    """Warm up over the first tenth, then follow a cosine to a hundredth.

    With `steps` in all both are counted in steps, however few epochs they are; else in epochs, the first at least.
    """
    end, by_epoch = (epochs, True) if steps is None else (steps, False)
    warm_up = max(1, end // 10)
    common = {"by_epoch": True, "convert_to_iter_based": True} if by_epoch else {"by_epoch": False}
    rise = {"type": "LinearLR", "start_factor": 0.1, "begin": 0, "end": warm_up, **common}
    if end == warm_up:  # one has no room for the second part
        return [rise]
    fall = {
        "type": "CosineAnnealingLR",
        "eta_min_ratio": 0.01,
        "begin": warm_up,
        "end": end,
        "T_max": end - warm_up,
        **common,
    }
    return [rise, fall]
