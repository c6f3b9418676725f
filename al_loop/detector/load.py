"""A detector from a model's folder."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config

from al_loop.detector.checkpoint import load_into, read_weights
from al_loop.detector.model_config import build_model
from al_loop.detector.predict import Detector
from al_loop.detector.train import choose_device
from al_loop.errors import ModelError
from al_loop.models import CONFIG, WEIGHTS


def load_detector(folder: Path, weights_sha256: str, name: str, device: str) -> Detector:
    """Load the weights and the config in a folder; name: what errors call the model.

    device: as in al-loop.toml. Raises ModelError when the files were changed.
    """
    weights = read_weights(folder / WEIGHTS, weights_sha256)
    config = read_config(folder)
    network = build_model(config)
    load_into(network, weights, name)
    chosen = torch.device(choose_device(device))
    return Detector(network.to(chosen), config, chosen)


def read_config(folder: Path) -> Config:
    """Return the resolved config of a model; ModelError where it cannot be read."""
    try:
        return Config.fromfile(folder / CONFIG)
    except (OSError, SyntaxError) as error:
        raise ModelError(f"{folder / CONFIG} cannot be read ({error}). Go back: al-loop rollback") from None
