"""Config and initial weights that the settings name for a training, and hashes that identify them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from al_loop.core.console import Progress
from al_loop.core.errors import ConfigError
from al_loop.core.files import file_sha256
from al_loop.models.checkpoint_cache import fetch
from al_loop.models.trust import is_data, refusal
from al_loop.state.model_registry import SHIPPED
from al_loop.state.workspace import Workspace

#: Value of model.load_from: the COCO checkpoint that mmdet lists for model.config.
COCO = "coco"


def named_config(workspace: Workspace, name: str | None = None, *, masks: bool | None = None) -> Any:
    """Load a model config.

    name: config given on the command line. None: model.config of the settings.
    masks: add a mask head if the config has none. None: if `task` of the settings is "segmentation".
    A Python file is executed. If the settings name it, the user must have made or approved the workspace.
    """
    from al_loop.detector.config.mask_head import add_mask_head
    from al_loop.detector.config.model_config import load_model_config, set_backbone

    settings, trusted, outlined = workspace.config.model, workspace.trusted, workspace.config.outlined
    if name is None:
        name = in_workspace(workspace, settings.config)
        if not trusted and not is_data(name) and Path(name).is_file():
            raise refusal(workspace, Path(name))
    classes, size = workspace.config.classes, settings.image_size
    config = load_model_config(name, classes, size, trusted=trusted, masks=outlined)
    if outlined if masks is None else masks:
        notes = add_mask_head(config.model)
        config.notes = [*config.notes, *(notes if name not in SHIPPED else [])]
    if settings.backbone is not None:
        set_backbone(config, settings.backbone)
    return config


def model_inputs(workspace: Workspace) -> dict[str, Any]:
    """Return the inputs of a training besides its data, for the hash of its stage."""
    model = workspace.config.model
    return {
        "config": model.config,
        **({"backbone": model.backbone} if model.backbone else {}),
        "image_size": model.image_size,
        "load_from": checkpoint_identity(in_workspace(workspace, model.load_from or "")),
        "classes": workspace.config.classes,
        **({"masks": True} if workspace.config.outlined else {}),
        **config_identity(in_workspace(workspace, model.config)),
    }


def config_identity(name: str) -> dict[str, str]:
    """Return the hash of a config file as an input of a stage. Empty for a shipped config."""
    path = Path(name).expanduser()
    return {} if name in SHIPPED or not path.is_file() else {"config_sha256": file_sha256(path)}


def checkpoint_identity(location: str) -> str:
    """Return the hash of a checkpoint on disk, or the location of any other checkpoint."""
    path = Path(location).expanduser()
    return file_sha256(path) if location and path.is_file() else location


def in_workspace(workspace: Workspace, name: str) -> str:
    """Resolve a path in al-loop.toml relative to the workspace. Return other names unchanged."""
    path = workspace.root / Path(name).expanduser()
    return str(path) if name and path.is_file() else name


def start_weights(workspace: Workspace, config: Any, seed: int, progress: Progress) -> tuple[Any, list[str]]:
    """Return the initial weights of a training, and notes. None: random weights.

    The weights are those of model.load_from, adapted to the classes. Without it, a backbone of timm starts
    from ImageNet.
    seed: of the layers that stay random.
    """
    from al_loop.detector.checkpoint import CLASS_LAYERS, load_into, read_checkpoint
    from al_loop.detector.class_order import reorder_classes, same_names
    from al_loop.detector.config.mask_head import has_mask_head
    from al_loop.detector.config.model_config import build_model, imagenet_start
    from al_loop.detector.config.public_configs import coco_checkpoint

    settings, classes = workspace.config.model, workspace.config.classes
    if settings.load_from is None:
        if config.model.backbone.type == "TimmBackbone":
            return imagenet_start(config, seed), []
        if config.model.backbone.get("frozen_stages", -1) >= 0:
            raise ConfigError(
                f'model.config = "{settings.config}" freezes its first layers, and without a checkpoint '
                'these are random: the model would not learn. Set model.load_from = "coco" in al-loop.toml, '
                'or to a checkpoint of yours; or model.config = "lite", which starts from ImageNet weights.'
            )
        return None, []
    location, sha256 = in_workspace(workspace, settings.load_from), settings.load_from_sha256
    if settings.load_from == COCO:
        location = coco_checkpoint(settings.config, masks=has_mask_head(config.model))
    checkpoint = read_checkpoint(fetch(location, sha256, progress), sha256)
    names, weights, notes = checkpoint.classes, checkpoint.weights, list[str]()
    if len(names) == len(classes) and not same_names(names, classes):
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(CLASS_LAYERS)}
        listed = ", ".join(names)
        notes = [f"{settings.load_from} has other classes ({listed}): its box head is not used"]
    elif len(names) in (0, len(classes)):
        weights, notes = reorder_classes(weights, names, classes, settings.load_from)
    network = build_model(config, seed)
    weights, masks = fit_mask_head(weights, network.state_dict(), settings.load_from)
    load_into(network, weights, settings.load_from, new_classes=True)
    return network.state_dict(), [*checkpoint.notes, *notes, *masks]


def fit_mask_head(weights: Any, expected: Any, source: str) -> tuple[Any, list[str]]:
    """Return weights with a mask head if a model has one, and without it otherwise. Return notes, too.

    expected: weights of the model, with a random mask head.
    source: names the weights in the notes.
    """
    from al_loop.detector.checkpoint import predicts_masks, with_mask_head_of

    if predicts_masks(weights) == predicts_masks(expected):
        return weights, []
    note = (
        f"{source} has no mask head: it starts from random weights"
        if predicts_masks(expected)
        else f'the mask head of {source} is left out: task = "segmentation" in al-loop.toml keeps masks'
    )
    return with_mask_head_of(weights, expected), [note]
