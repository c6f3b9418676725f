"""MMDetection's own Faster R-CNN and Mask R-CNN configs by name, and the addresses of their COCO checkpoints.

mmdet's wheel holds the configs, and a list of checkpoints whose file names end in digits of their SHA-256.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmdet
from mmengine.fileio import load

from al_loop.core.errors import ConfigError
from al_loop.core.training_config import TrainConfig

_CONFIGS = Path(mmdet.__file__).parent / ".mim" / "configs"
_FAMILIES = ("faster_rcnn", "mask_rcnn")
#: Shipped configs of the same architecture as one of mmdet's, without and with masks.
_SAME_AS = {"r50": ("faster-rcnn_r50_fpn_1x_coco", "mask-rcnn_r50_fpn_1x_coco")}


def public_config(name: str) -> Path | None:
    """Return the path of one of mmdet's configs by its name. None if these families have none of it."""
    paths = (path for family in _FAMILIES for path in (_CONFIGS / family).glob("*.py"))
    return next((path for path in paths if path.stem == name), None)


def coco_checkpoint(name: str, *, masks: bool = False) -> str:
    """Return the address of the COCO checkpoint of a model config.

    name: "r50", or the name of one of mmdet's configs.
    masks: whether the model of a shipped config has a mask head.
    Raises ConfigError if mmdet lists no checkpoint for it.
    """
    listed = {Path(model["Config"]).stem: model["Weights"] for model in _models() if "Weights" in model}
    same = _SAME_AS[name][masks] if name in _SAME_AS else name
    address = listed.get(same)
    if address is None:
        fitting = sorted(each for each in listed if masks or each.startswith("faster"))
        raise ConfigError(
            f'model.load_from = "coco": mmdet lists no checkpoint for model.config = {name!r}. Expected '
            f"{', '.join(_SAME_AS)} or one of {', '.join(fitting)}. Set one of them, or give a file "
            "of weights: model.load_from = PATH"
        )
    return str(address)


def scale_rate(config: dict[str, Any]) -> None:
    """Scale a config's learning rate from mmdet's batch on 8 GPUs to al-loop's usual batch, in proportion.

    Source: Goyal 2017, section 2.1; mmdet's `auto_scale_lr`.
    """
    base = config["auto_scale_lr"]["base_batch_size"]
    config["optim_wrapper"]["optimizer"]["lr"] *= TrainConfig().batch_size / base


def _models() -> list[dict[str, Any]]:
    """Return the entries of mmdet's lists of these families. Empty if mmdet is installed without them."""
    paths = [_CONFIGS / family / "metafile.yml" for family in _FAMILIES]
    return [model for path in paths if path.is_file() for model in load(path)["Models"]]
