"""Layers of a detector that a training begins anew."""

from __future__ import annotations

from copy import deepcopy

from mmengine.config import Config

from al_loop.core.training_config import Freeze
from al_loop.detector.checkpoint import Weights
from al_loop.detector.config.model_config import build_model
from al_loop.detector.training.freeze import with_frozen_layers


def random_start(config: Config, seed: int) -> tuple[Config, Weights]:
    """Return random weights, and the config to train them with: all of it, with the statistics of batches."""
    changed = deepcopy(with_frozen_layers(config, "nothing"))
    changed.model.backbone.norm_eval = False
    return changed, build_model(changed, seed).state_dict()


def with_new_decoder(config: Config, weights: Weights, seed: int) -> Weights:
    """Return the weights of the backbone, and random ones for all other layers.

    seed: of the random weights.
    """
    new: Weights = build_model(config, seed).state_dict()
    return {name: weights[name] if name.startswith("backbone.") else new[name] for name in new}


def count_trained(config: Config, freeze: Freeze | None) -> int:
    """Return the number of parameters that a training with this setting changes."""
    parameters = build_model(with_frozen_layers(config, freeze)).parameters()
    return sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
