"""Load a detector's config by name or path, and complete it with the workspace's classes and image size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from torch import nn

from al_loop.core.errors import ModelError
from al_loop.core.resources import resource
from al_loop.detector.backbones.pretrained import imagenet_weights
from al_loop.detector.backbones.timm_backbone import TimmBackbone
from al_loop.detector.checkpoint import Weights, class_names
from al_loop.detector.config.mask_head import check_mask_head, has_mask_head
from al_loop.detector.config.preprocessing import InferencePipeline, one_size, read_pipeline
from al_loop.detector.config.public_configs import public_config, scale_rate
from al_loop.detector.config.stored_config import (
    PARTS,
    check_config,
    decode_config,
    drop_weights,
    import_modules,
    modules_of,
    read_file,
    to_plain,
)
from al_loop.detector.config.tree import refuse_deep
from al_loop.detector.ops import has_compiled_ops
from al_loop.state.model_registry import SHIPPED

# For a user's config without optim_wrapper: mmdet's default learning rate for a batch of 2.
_OPTIMISER: dict[str, Any] = {
    "type": "OptimWrapper",
    "optimizer": {"type": "SGD", "lr": 0.0025, "momentum": 0.9, "weight_decay": 1e-4},
}
#: Parts of a RoI head that al-loop does not train.
_OTHER_HEADS = (
    "mask_iou_head", "point_head", "grid_head", "semantic_head", "keypoint_head", "track_head",
)  # fmt: skip


def load_model_config(
    name: str,
    classes: tuple[str, ...],
    image_size: tuple[int, int] | None = None,
    *,
    trusted: bool = False,
    masks: bool = False,
) -> Config:
    """Return a model config for these classes.

    name: "lite", "r50", "small", the name of one of mmdet's Faster R-CNN or Mask R-CNN configs, or the path
        of an mmdet config or of a model's `config.json`. A Python file is executed: the caller must know that
        the user named it.
    classes: replace those of the config.
    image_size: (width, height) px; replaces that of the config.
    trusted: import the modules in custom_imports of a JSON file.
    masks: accept a config with a mask head. See `add_mask_head` for one without.
    Raises ModelError for a file that is missing, is no config, or is not of the Faster R-CNN family.
    """
    public = public_config(name)
    path = resource(f"configs/model/{name}.py") if name in SHIPPED else public or Path(name).expanduser()
    if not path.is_file():
        raise ModelError(
            f"no model config {name!r}: expected one of {', '.join(SHIPPED)}, the name of one of mmdet's "
            "Faster R-CNN configs (faster-rcnn_r50_fpn_1x_coco), or the path of an mmdet config. Correct "
            "model.config in al-loop.toml."
        )
    if path.suffix == ".json":
        data = decode_config(read_file(path), str(path))
        if "_base_" in data:
            raise ModelError(
                f"{path} inherits from another config (_base_): JSON configs cannot inherit. Give the config "
                "as Python"
            )
        return complete(data, classes, image_size, str(path), trusted=trusted, masks=masks)
    try:
        # The modules in custom_imports are imported below, where an error can name the module.
        executed = Config.fromfile(path, import_custom_modules=False)
        import_modules(modules_of(executed, str(path)), str(path), trusted=True)
        config = executed.to_dict()
        refuse_deep(config)
        if path == public:
            scale_rate(config)
            drop_weights(config["model"])  # of ImageNet: the layers start from model.load_from
    except ModelError:
        raise
    except Exception as error:  # a config is a Python file: anything can go wrong in it
        raise ModelError(f"{path} cannot be read as an mmengine config: {error}") from error
    return complete(config, classes, image_size, str(path), trusted=True, masks=masks)


def complete(
    config: Mapping[str, Any],
    classes: tuple[str, ...],
    image_size: tuple[int, int] | None,
    source: str,
    *,
    trusted: bool = False,
    masks: bool = False,
) -> Config:
    """Adapt a config to the workspace and to the installed operators. Its notes list the unused parts."""
    _require_faster_rcnn(config, source, masks=masks)
    pipeline = read_pipeline(config)
    parts = {name: to_plain(config[name], name) for name in PARTS if name in config}
    model = parts["model"]
    dropped = drop_weights(model)
    notes = [f"weights that the config names are not loaded: {', '.join(dropped)}"] if dropped else []
    model["roi_head"]["bbox_head"]["num_classes"] = len(classes)
    if not has_compiled_ops():
        _use_torchvision(model["roi_head"])
    if "optimizer" in config and "optim_wrapper" not in config:  # mmdet 2's
        rate = _OPTIMISER["optimizer"]["lr"]
        notes.append(
            f"the config's optimizer is not used, only optim_wrapper would be: SGD with lr {rate:g} is used"
        )
    notes += _set_normalisation(model, config, pipeline, source)
    notes += _set_size(parts, image_size, pipeline, source)
    if has_mask_head(model):
        check_mask_head(model, len(classes), source)
    parts["custom_imports"] = list(modules_of(config, source))
    parts["named_classes"] = named_classes(config)
    stored_parts = {"optim_wrapper": _OPTIMISER} | {k: v for k, v in parts.items() if v not in ([], ())}
    return check_config(stored_parts | {"classes": tuple(classes), "notes": notes}, source, trusted=trusted)


def _use_torchvision(roi_head: dict[str, Any]) -> None:
    for name in ("bbox_roi_extractor", "mask_roi_extractor"):
        layer: Any = _table(roi_head.get(name)).get("roi_layer")
        if isinstance(layer, dict):
            layer["use_torchvision"] = True


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _require_faster_rcnn(config: Mapping[str, Any], source: str, *, masks: bool) -> None:
    """Raise ModelError for another family of detectors, before training fails on it."""
    model = _table(config.get("model"))
    roi_head = _table(model.get("roi_head"))
    got = model.get("type") if model else "no model"
    parts = {
        "rpn_head": model.get("rpn_head"),
        "neck": model.get("neck"),
        "backbone": _table(model.get("backbone")),
        "one bbox_head": _table(roi_head.get("bbox_head")),
        "one roi_layer": _table(_table(roi_head.get("bbox_roi_extractor")).get("roi_layer")),
    }
    if missing := [name for name, part in parts.items() if not part]:
        raise ModelError(
            f"{source} must hold a two-stage detector with an FPN and one box head (Faster R-CNN); got {got} "
            f"without {', '.join(missing)}. Give the config and the checkpoint of a Faster R-CNN with an FPN"
        )
    others = [name for name in _OTHER_HEADS if roi_head.get(name)]
    if others:
        raise ModelError(
            f"{source} must hold a detector that predicts boxes or masks (Faster R-CNN, Mask R-CNN); got "
            f"{got} with {', '.join(others)}, which needs labels that a workspace does not have. Give the "
            "config and the checkpoint of a Faster R-CNN"
        )
    if roi_head.get("mask_head") and not masks:
        # A note could be missed, and the masks with it, after a long training.
        raise ModelError(
            f"{source} predicts masks ({got} with mask_head), and this workspace is for boxes. For masks set "
            'task = "segmentation" in al-loop.toml; for boxes give the config of a Faster R-CNN'
        )


def _set_size(
    parts: dict[str, Any], wanted: tuple[int, int] | None, pipeline: InferencePipeline, source: str
) -> list[str]:
    """Set image_size, enlarge and resize. Return notes for the user.

    Shipped configs have image_size and no pipeline. In an mmdet config, image_size may be a variable of the
    training pipeline.
    """
    config_size = None if len(pipeline.sizes) == 1 else parts.get("image_size")
    parts.setdefault("enlarge", config_size is None)
    parts["image_size"] = tuple(wanted or config_size or one_size(pipeline, source))
    place, keeps_aspect = pipeline.place, pipeline.keeps_aspect
    if wanted or config_size is not None:
        parts["resize"] = "inside" if wanted else parts.get("resize", "inside")
        stretched = f"the config's {place} stretches images (keep_ratio=False)"
        note = f"{stretched}; with image_size their aspect ratio is kept"
    else:
        parts["resize"] = "either-way" if keeps_aspect else "stretch"
        size = "x".join(map(str, parts["image_size"]))
        note = f"images are stretched to {size} px, as the config's {place} does (keep_ratio=False)"
    return [] if keeps_aspect else [note]


def _set_normalisation(
    model: dict[str, Any], config: Mapping[str, Any], pipeline: InferencePipeline, source: str
) -> list[str]:
    """Set the normalisation and the channel order of a config. Return notes for the user."""
    preprocessor = model.get("data_preprocessor") or to_plain(
        config.get("data_preprocessor"), "data_preprocessor"
    )
    normalise, load, notes = pipeline.step("Normalize"), pipeline.step("LoadImageFromFile"), []
    if normalise and (preprocessor or {}).get("mean") is not None:
        raise ModelError(
            f"{source} normalises images twice: in {pipeline.place} (Normalize) and in "
            "model.data_preprocessor. Remove one of them"
        )
    if normalise:
        preprocessor = {
            "type": "DetDataPreprocessor",
            "mean": list(normalise["mean"]),
            "std": list(normalise["std"]),
            "bgr_to_rgb": bool(normalise.get("to_rgb", True)),
            "pad_size_divisor": int(pipeline.step("Pad").get("size_divisor") or 32),
        }
        notes.append(
            f"images are normalised as Normalize in {pipeline.place} says, in model.data_preprocessor"
        )
    if not preprocessor:
        raise ModelError(
            f"{source}: expected model.data_preprocessor with the mean and std of the images "
            "(DetDataPreprocessor), got none"
        )
    model["data_preprocessor"] = preprocessor
    if load.get("color_type") in ("grayscale", "unchanged_grayscale"):
        raise ModelError(
            f"{source} reads images as grey ({load['color_type']}): al-loop gives detectors three channels"
        )
    if load.get("channel_order", "bgr") != "bgr":
        swapped = bool(preprocessor.pop("bgr_to_rgb", False) or preprocessor.pop("rgb_to_bgr", False))
        preprocessor["bgr_to_rgb"] = not swapped
        notes.append("images are read as BGR; data_preprocessor converts them to the order of channel_order")
    skipped = [name for name in pipeline.left_out if not (name == "Pad" and normalise)]
    if skipped:
        notes.append(f"steps of the config's {pipeline.place} that are not applied: {', '.join(skipped)}")
    return notes


def named_classes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the class names of a config's data sets, or of the config itself. Empty if it has none."""
    data, parts = _table(config.get("data")), ("test", "val", "train")
    places = [config.get(f"{part}_dataloader") for part in parts] + [data.get(part) for part in parts]
    return next(filter(None, map(_data_classes, places)), ()) or class_names(config)


def _data_classes(place: Any) -> tuple[str, ...]:
    """Return the class names of a data set, which may be inside wrappers."""
    if not isinstance(place, Mapping):
        return ()
    return class_names(place.get("metainfo")) or class_names(place) or _data_classes(place.get("dataset"))


def set_backbone(config: Config, name: str) -> None:
    """Set another timm network as the backbone of a config, with its channels and its normalisation.

    Raises ModelError for a config with another backbone, and for a network without feature maps of the
    strides 4 to 32.
    """
    backbone = config.model.backbone
    if backbone.type != "TimmBackbone":
        raise ModelError(
            f'model.backbone = {name!r} needs model.config = "lite"; this config has a {backbone.type}'
        )
    network = TimmBackbone(name)
    if network.strides != [4, 8, 16, 32]:
        strides = ", ".join(map(str, network.strides))
        raise ModelError(f"model.backbone = {name!r}: expected strides of 4, 8, 16, 32, got {strides}")
    backbone.name = name
    config.model.neck.in_channels = network.channels
    config.model.data_preprocessor.update(mean=network.mean, std=network.std)


def build_model(config: Config, seed: int | None = None) -> nn.Module:
    """Build the detector with random weights, in evaluation mode, on the CPU.

    seed: of the random weights.
    """
    if seed is not None:
        torch.manual_seed(seed)
    register_all_modules(init_default_scope=True)
    # mmengine logs the initialisation of each tensor.
    if not MMLogger.check_instance_created("al_loop"):
        MMLogger.get_instance("al_loop", log_level="WARNING")
    try:
        model = MODELS.build(ConfigDict(config.model.copy()))
        model.init_weights()
    except Exception as error:  # modules may raise anything
        raise ModelError(f"the model config cannot be built: {error}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"the model config must build a torch module, got {type(model).__name__}")
    return model.eval()


def imagenet_start(config: Config, seed: int) -> Weights:
    """Return the initial weights of a detector: ImageNet's for its `TimmBackbone`, random ones for the rest.

    seed: of the random weights.
    Raises ModelError if the ImageNet weights cannot be read.
    """
    model: Any = build_model(config, seed)
    network = model.backbone.network
    network.load_state_dict(imagenet_weights(config.model.backbone.name, network))
    weights: Weights = model.state_dict()
    return weights
