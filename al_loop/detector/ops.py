"""MMDetection without a compiler: this module stands in for mmcv's compiled extension where it is missing.

mmcv-lite ships the Python half of mmcv's operators but not `mmcv._ext`, and every model of mmdet imports it.
Faster R-CNN needs one function of it, NMS, which torchvision has compiled for CPU and CUDA. RoIAlign is taken
from torchvision through mmcv's own option `use_torchvision`. Full mmcv is used where it is installed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import torch
from torchvision.ops import nms as torchvision_nms

from al_loop.core.errors import ModelError

_EXTENSION = "mmcv._ext"


def install_ops() -> None:
    """Register the stand-in unless a compiled `mmcv._ext` is there; call before importing mmdet."""
    if _EXTENSION not in sys.modules and importlib.util.find_spec(_EXTENSION) is None:
        sys.modules[_EXTENSION] = sys.modules[__name__]


def has_compiled_ops() -> bool:
    """Return whether mmcv's own compiled operators are in use."""
    install_ops()
    return sys.modules.get(_EXTENSION) is not sys.modules[__name__]


def nms(bboxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int) -> torch.Tensor:
    """Return the indices kept by NMS, best score first, like mmcv's operator of this name.

    bboxes: (n, 4) xyxy.
    scores: (n,).
    offset: 1 where a box of one pixel has x2 == x1, as in mmdet 1.x, else 0.
    """
    if offset:  # widened boxes follow the other convention
        bboxes = bboxes + bboxes.new_tensor([0, 0, offset, offset])
    kept: torch.Tensor = torchvision_nms(bboxes, scores, iou_threshold)
    return kept


def __getattr__(name: str) -> Callable[..., Any]:
    """Return a placeholder for an operator without an equivalent in torchvision. It raises when called."""
    if name.startswith("__"):
        raise AttributeError(name)

    def operator(*args: object, **kwargs: object) -> Any:
        raise ModelError(
            f"this model needs mmcv's compiled operator {name!r}, which mmcv-lite does not have. "
            "Use a model of plain convolutions and RoIAlign, or install full mmcv: pip install 'mmcv<2.2'"
        )

    return operator
