"""Learning rate in each step."""

from __future__ import annotations

from typing import Any


def schedule(steps: int) -> list[dict[str, Any]]:
    """Return mmengine's schedulers: linear warm-up over the first tenth, then a cosine to a hundredth.

    steps: of the whole training. The warm-up takes at least one.
    """
    warm_up = max(1, steps // 10)
    rise = {"type": "LinearLR", "start_factor": 0.1, "begin": 0, "end": warm_up, "by_epoch": False}
    if steps == warm_up:  # no step is left for the cosine
        return [rise]
    span = {"begin": warm_up, "end": steps, "T_max": steps - warm_up, "by_epoch": False}
    return [rise, {"type": "CosineAnnealingLR", "eta_min_ratio": 0.01, **span}]
