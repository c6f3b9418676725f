"""A detector from a model's folder."""

from __future__ import annotations

from pathlib import Path

import torch

from al_loop.detector.checkpoint import load_into, read_weights
from al_loop.detector.config.model_config import build_model
from al_loop.detector.config.stored_config import read_config
from al_loop.detector.device import choose_device
from al_loop.detector.inference.predict import Detector
from al_loop.state.model_registry import WEIGHTS


def load_detector(
    folder: Path,
    weights_sha256: str,
    name: str,
    device: str,
    *,
    config_sha256: str | None = None,
    trusted: bool = False,
) -> Detector:
    """Load the weights and the config in a folder.

    name: of the model in errors.
    device: as in al-loop.toml.
    config_sha256: None where no hash is known.
    trusted: see `read_config`.
    Raises ModelError when the files were changed.
    """
    weights = read_weights(folder / WEIGHTS, weights_sha256)
    config = read_config(folder, config_sha256, trusted=trusted)
    network = build_model(config)
    load_into(network, weights, name)
    chosen = torch.device(choose_device(device))
    return Detector(network.to(chosen), config, chosen)
