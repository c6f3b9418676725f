"""A model with random weights whose outputs differ from place to place."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch

from al_loop.detector.config.mask_head import add_mask_head
from al_loop.detector.config.model_config import build_model
from al_loop.detector.inference.predict import Detector

_FACTORS = {
    "rpn_head.rpn_cls": 30, "rpn_head.rpn_reg": 10,
    "roi_head.bbox_head.fc_cls": 30, "roi_head.bbox_head.fc_reg": 60, "roi_head.mask_head.conv_logits": 20,
}  # fmt: skip


def lively_masks(config: Any, seed: int = 3, **changes: Any) -> Detector:
    """Return a model with a mask head, on the CPU. changes: of its config, by dotted name below `model`."""
    config = deepcopy(config)
    add_mask_head(config.model)
    config.merge_from_dict({f"model.{name}": value for name, value in changes.items()})
    model = build_model(config, seed)
    with torch.no_grad():
        for name, factor in _FACTORS.items():
            model.get_submodule(name).weight.mul_(factor)  # type: ignore[operator]
    return Detector(model, config, torch.device("cpu"))
