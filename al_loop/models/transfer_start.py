"""Models to begin a training with, whose encoder is pretrained in one way or another."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from al_loop.core.console import Progress
from al_loop.core.errors import ConfigError
from al_loop.core.files import file_sha256
from al_loop.core.training_config import Freeze
from al_loop.models.starting_point import fit_mask_head, named_config, start_weights
from al_loop.state.model_registry import WEIGHTS, Model
from al_loop.state.workspace import Workspace

#: Layers that keep their weights; the others get random ones.
Keep = Literal["all", "encoder", "nothing"]


def write_start(
    workspace: Workspace, folder: Path, source: Model | None, keep: Keep, seed: int, progress: Progress
) -> Model:
    """Write the model to a folder, and return it. Its config is the one that the settings name.

    source: has the weights to keep. None: those with which `pretrain` begins, of ImageNet.
    seed: of the random weights.
    Raises ConfigError if the model of the settings begins with random weights, and some are to be kept.
    """
    from al_loop.detector.checkpoint import read_weights, write_weights
    from al_loop.detector.config.model_config import build_model
    from al_loop.detector.config.stored_config import write_config
    from al_loop.detector.training.initial_layers import random_start, with_new_decoder

    config = named_config(workspace)
    weights: Any = None
    if keep == "nothing":
        config, weights = random_start(config, seed)
    else:
        if source is None:
            weights, _ = start_weights(workspace, config, seed, progress)
        else:
            weights = read_weights(source.weights, source.weights_sha256)
            weights, _ = fit_mask_head(weights, build_model(config, seed).state_dict(), source.id)
        if weights is None:
            raise ConfigError(
                f'model.config = "{workspace.config.model.config}" has no ImageNet weights. '
                'Set model.config = "lite" in al-loop.toml, and run again'
            )
        weights = with_new_decoder(config, weights, seed) if keep == "encoder" else weights
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / WEIGHTS, weights, config.classes)
    weights_sha256, config_sha256 = file_sha256(folder / WEIGHTS), write_config(folder, config)
    return Model(
        "start", None, "pretrain", None, weights_sha256, "", config_sha256=config_sha256, folder=folder
    )


def pretraining_rate(workspace: Workspace) -> float:
    """Return the learning rate of layers with random weights."""
    return workspace.config.pretrain.lr or float(named_config(workspace).optim_wrapper.optimizer.lr)


def trained_parameters(workspace: Workspace, model: Model, freeze: Freeze | None) -> int:
    """Return the number of parameters of a model that a training changes."""
    from al_loop.detector.config.stored_config import read_config
    from al_loop.detector.training.initial_layers import count_trained

    return count_trained(read_config(model.folder, model.config_sha256, trusted=workspace.trusted), freeze)
