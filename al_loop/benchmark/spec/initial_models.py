"""Initial models of a benchmark."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import msgspec

from al_loop.core.config import Config
from al_loop.core.errors import ConfigError
from al_loop.models import starting_point
from al_loop.state import model_registry
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace

#: Values of `--start` besides the id of a model.
SCRATCH, COCO = "scratch", "coco"


@dataclass(frozen=True)
class InitialModel:
    """A model, or the model config's own weights, or a checkpoint for other classes."""

    model: Model | None
    checkpoint: str = ""

    @property
    def identity(self) -> str:
        """A hash of the weights; "" for random ones."""
        if self.model:
            return self.model.weights_sha256
        return starting_point.checkpoint_identity(self.checkpoint)

    def training_workspace(self, workspace: Workspace) -> Workspace:
        """The workspace with the checkpoint, if any, in its settings."""
        config = workspace.config
        model = msgspec.structs.replace(config.model, load_from=self.checkpoint or None)
        return workspace.with_settings(msgspec.structs.replace(config, model=model))


def find_initial_model(name: str, home: Workspace, config: Config) -> InitialModel:
    """Return what a value of `--start` stands for; ConfigError if there is no such model."""
    if name == SCRATCH:
        return InitialModel(None)
    if name == COCO:
        if config.model.load_from is None:
            raise ConfigError(
                '--start coco: expected model.load_from in al-loop.toml ("coco", a path or a URL), got none'
            )
        return InitialModel(None, config.model.load_from)
    if Path(name).expanduser().is_file():
        raise ConfigError(
            f"--start {name}: import it into the workspace first: al-loop models import {shlex.quote(name)}"
        )
    if name == "current":
        return InitialModel(model_registry.current_model(home))
    return InitialModel(model_registry.get_model(home, name))
