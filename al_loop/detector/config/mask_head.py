"""The mask head of a detector (Mask R-CNN, He 2017): that of a config, or one that fits its box head."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from al_loop.core.errors import ModelError
from al_loop.structures.masks import SIDE, THRESHOLD

#: Side of the crops from which masks of twice the side are predicted.
_CROP = SIDE // 2
#: Weight of the loss of masks. With few labels and a weight of 1 it outweighs that of the classes: boxes and
#: masks become worse (docs/results).
_LOSS_WEIGHT = 0.25
#: Convolutions of the default head, by the smallest number of channels of the feature pyramid: those of the
#: paper, and half of them in small models, where they would take as long as the rest of the forward pass.
_CONVOLUTIONS = ((128, 4), (0, 2))


def has_mask_head(model: Mapping[str, Any]) -> bool:
    """Return whether a model config predicts masks."""
    return bool(model["roi_head"].get("mask_head"))


def add_mask_head(model: dict[str, Any]) -> list[str]:
    """Add a mask head to a model config unless it has one. Return a note on the head.

    It is as wide as the feature pyramid, and predicts a mask of each class if the box head regresses boxes of
    each class.
    """
    if has_mask_head(model):
        return []
    heads = model["roi_head"]
    channels, box_head = heads["bbox_roi_extractor"]["out_channels"], heads["bbox_head"]
    convolutions = next(count for least, count in _CONVOLUTIONS if channels >= least)
    heads["mask_roi_extractor"] = deepcopy(heads["bbox_roi_extractor"])
    heads["mask_roi_extractor"]["roi_layer"]["output_size"] = _CROP
    heads["mask_head"] = {
        "type": "FCNMaskHead",
        "num_convs": convolutions,
        "in_channels": channels,
        "conv_out_channels": channels,
        "num_classes": box_head["num_classes"],
        "class_agnostic": bool(box_head.get("reg_class_agnostic", False)),
        "loss_mask": {"type": "CrossEntropyLoss", "use_mask": True, "loss_weight": _LOSS_WEIGHT},
    }
    _set_sizes(model)
    _rename(model, "FasterRCNN", "MaskRCNN")
    return [f"the config has no mask head: {convolutions} convolutions of {channels} channels are added"]


def drop_mask_head(model: dict[str, Any]) -> None:
    """Remove the mask head of a model config."""
    for name in ("mask_head", "mask_roi_extractor"):
        model["roi_head"].pop(name, None)
    _rename(model, "MaskRCNN", "FasterRCNN")


def _rename(model: dict[str, Any], old: str, new: str) -> None:
    if model["type"] == old:
        model["type"] = new


def check_mask_head(model: dict[str, Any], classes: int, source: str) -> None:
    """Adapt the mask head of a config to the workspace.

    Raises ModelError for another head than that of Mask R-CNN with masks of SIDE x SIDE cells.
    """
    head, extractor = (model["roi_head"].get(name) for name in ("mask_head", "mask_roi_extractor"))
    kind = str(head.get("type")) if isinstance(head, Mapping) else type(head).__name__
    if kind.rpartition(".")[2] != "FCNMaskHead" or not isinstance(extractor, Mapping):
        raise ModelError(
            f"{source}: expected an FCNMaskHead with a mask_roi_extractor of its own, got {kind}"
            f"{'' if extractor else ' without one'}. Give the config of a plain Mask R-CNN"
        )
    if (side := _side(head, extractor)) != SIDE:
        raise ModelError(
            f"{source}: expected masks of {SIDE} x {SIDE} cells (RoIAlign of {_CROP}, scale_factor 2), got "
            f"{side} x {side}. Change output_size of its mask_roi_extractor, or upsample_cfg of its mask_head"
        )
    head["num_classes"] = classes
    _set_sizes(model)


def _side(head: Mapping[str, Any], extractor: Mapping[str, Any]) -> int:
    """Return the side of the masks that a head predicts, 0 if it cannot be told."""
    crop = (extractor.get("roi_layer") or {}).get("output_size")
    crop = crop[0] if isinstance(crop, list | tuple) and crop else crop
    upsample = head.get("upsample_cfg") or {"type": "deconv", "scale_factor": 2}
    factor = upsample.get("scale_factor", 1) if upsample.get("type") else 1
    return int(crop * factor) if isinstance(crop, int) and isinstance(factor, int) else 0


def _set_sizes(model: dict[str, Any]) -> None:
    """Set the size of masks in training, and the threshold at which mmdet makes them binary."""
    model["train_cfg"]["rcnn"]["mask_size"] = SIDE
    model["test_cfg"]["rcnn"]["mask_thr_binary"] = THRESHOLD
    model["data_preprocessor"].pop("pad_mask", None)  # masks are cropped at the size of their image
