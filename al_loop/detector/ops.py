"""MMDetection without a compiler: stands in for mmcv's compiled extension where it is missing.

mmcv-lite ships the Python half of mmcv's operators but not `mmcv._ext`, and every model of mmdet
imports it. Faster R-CNN needs one function of it, NMS, which torchvision has compiled for CPU and
CUDA; RoIAlign is taken from torchvision through mmcv's own option `use_torchvision`. Where full
mmcv is installed, this module does nothing.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torchvision.ops import nms as torchvision_nms

from al_loop.core.errors import ModelError

_EXTENSION = "mmcv._ext"


def install_ops() -> None:
    """Register the stand-in unless a compiled `mmcv._ext` is there; call before importing mmdet."""
    if _EXTENSION not in sys.modules and importlib.util.find_spec(_EXTENSION) is None:
        loader = _StandIn()
        spec = importlib.machinery.ModuleSpec(_EXTENSION, loader, origin=__file__)
        sys.modules[_EXTENSION] = importlib.util.module_from_spec(spec)
        loader.exec_module(sys.modules[_EXTENSION])


def has_compiled_ops() -> bool:
    """Say whether mmcv's own compiled operators are in use."""
    install_ops()
    spec = sys.modules[_EXTENSION].__spec__ if _EXTENSION in sys.modules else None
    return spec is None or not isinstance(spec.loader, _StandIn)


def nms(bboxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int) -> torch.Tensor:
    """Return the indices kept by NMS, best score first, as mmcv's operator of that name does.

    bboxes: (n, 4) xyxy; scores: (n,). offset: 1 where a box of one pixel has x2 == x1 (the old
    convention of mmdet 1.x), else 0; widening every box by it makes both conventions one.
    """
    if offset:
        bboxes = bboxes + bboxes.new_tensor([0, 0, offset, offset])
    kept: torch.Tensor = torchvision_nms(bboxes, scores, iou_threshold)
    return kept


class _StandIn(importlib.abc.Loader):
    """Loads the stand-in as a module with a real spec, so that tools that look for one find it."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return ModuleType(spec.name, "Stand-in for mmcv's compiled extension.")

    def exec_module(self, module: ModuleType) -> None:
        module.nms = nms  # type: ignore[attr-defined]
        module.__getattr__ = _missing  # type: ignore[method-assign]


def _missing(name: str) -> Callable[..., Any]:
    """Stand for an operator that torchvision has no equivalent of: it fails when called."""
    if name.startswith("__"):
        raise AttributeError(name)

    def operator(*args: object, **kwargs: object) -> Any:
        raise ModelError(
            f"this model needs mmcv's compiled operator {name!r}, which mmcv-lite does not have. "
            "Use a model of plain convolutions and RoIAlign, or install full mmcv: pip install 'mmcv<2.2'"
        )

    return operator
