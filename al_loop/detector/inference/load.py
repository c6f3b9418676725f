"""A detector from a model of the workspace."""

from __future__ import annotations

import torch

from al_loop.detector.checkpoint import load_into, read_weights
from al_loop.detector.config.model_config import build_model
from al_loop.detector.config.stored_config import read_config
from al_loop.detector.device import choose_device
from al_loop.detector.inference.predict import Detector
from al_loop.state.model_registry import Model


def load_detector(model: Model, device: str, *, trusted: bool = False) -> Detector:
    """Load the weights and the config of a model; ModelError when its files were changed.

    device: as in al-loop.toml.
    trusted: see `read_config`.
    """
    weights = read_weights(model.weights, model.weights_sha256)
    config = read_config(model.folder, model.config_sha256, trusted=trusted)
    network = build_model(config)
    load_into(network, weights, model.id)
    chosen = torch.device(choose_device(device))
    return Detector(network.to(chosen), config, chosen)
