"""From a name or a path to a detector's config, completed with the workspace's classes and sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from torch import nn

from al_loop.detector.ops import has_compiled_ops
from al_loop.errors import ModelError
from al_loop.resources import resource

SHIPPED = ("r50", "small")
# For a user's config that says nothing of training: mmdet's usual rate for a batch of 2.
_OPTIMISER = {
    "type": "OptimWrapper",
    "optimizer": {"type": "SGD", "lr": 0.0025, "momentum": 0.9, "weight_decay": 1e-4},
}


def load_model_config(
    name: str, classes: tuple[str, ...], image_size: tuple[int, int] | None = None
) -> Config:
    """Return the config called `name` ("r50", "small", or the path of an mmdet config).

    The classes replace the config's; image_size (width, height) px replaces its own where given.
    Raises ModelError for a file that is missing, is no config, or is not of the Faster R-CNN family.
    """
    path = resource(f"configs/model/{name}.py") if name in SHIPPED else Path(name).expanduser()
    if not path.is_file():
        raise ModelError(
            f"no model config {name!r}: expected one of {', '.join(SHIPPED)} or the path of an mmdet config. "
            "Correct model.config in al-loop.toml."
        )
    try:
        config = Config.fromfile(path)
    except Exception as error:  # a config is a Python file: anything can go wrong in it
        raise ModelError(f"{path} cannot be read as an mmengine config: {error}") from error
    return complete(config, classes, image_size, source=str(path))


def complete(
    config: Config, classes: tuple[str, ...], image_size: tuple[int, int] | None, source: str
) -> Config:
    """Fit a config to the workspace and to the operators that are installed."""
    model = config.get("model")
    head = model.get("roi_head", {}).get("bbox_head") if model else None
    if not isinstance(head, dict) or "rpn_head" not in model or "neck" not in model:
        raise ModelError(
            f"{source} must hold a two-stage detector with an FPN and one box head (Faster R-CNN); "
            f"got {model.get('type') if model else 'no model'}"
        )
    head["num_classes"] = len(classes)
    # Weights come from a checkpoint that al-loop checks, never from a hub behind its back.
    model.backbone.pop("init_cfg", None)
    model.pop("pretrained", None)
    if not has_compiled_ops():
        model.roi_head.bbox_roi_extractor.roi_layer.use_torchvision = True
    config.setdefault("optim_wrapper", _OPTIMISER)
    config.setdefault("enlarge", "image_size" not in config)
    config.image_size = tuple(image_size or config.get("image_size") or _test_scale(config))
    config.classes = tuple(classes)
    config.default_scope = "mmdet"
    return config


def _test_scale(config: Config) -> tuple[int, int]:
    """Return the (width, height) px that a plain mmdet config tests at."""
    for step in config.get("test_pipeline", []):
        if step.get("type") == "Resize" and step.get("scale"):
            return int(step["scale"][0]), int(step["scale"][1])
    return 1333, 800


def build_model(config: Config) -> nn.Module:
    """Build the detector with random weights, in evaluation mode, on the CPU."""
    register_all_modules(init_default_scope=True)
    # mmengine logs the initialisation of every single tensor.
    if not MMLogger.check_instance_created("al_loop"):
        MMLogger.get_instance("al_loop", log_level="WARNING")
    try:
        model = MODELS.build(ConfigDict(config.model.copy()))
        model.init_weights()
    except Exception as error:  # mmengine wraps whatever the modules raise
        raise ModelError(f"the model config cannot be built: {error}") from error
    model.eval()
    return _as_module(model)


def _as_module(model: Any) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise ModelError(f"the model config must build a torch module, got {type(model).__name__}")
    return model
