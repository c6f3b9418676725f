"""What trainings of a benchmark begin with."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import msgspec

from al_loop.core.config import Config
from al_loop.core.errors import ConfigError
from al_loop.models import service
from al_loop.state import model_registry
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace

#: What a start may be called besides a model.
SCRATCH, COCO = "scratch", "coco"


@dataclass(frozen=True)
class Start:
    """What chains begin with: a model; or none yet, with random weights or those of a checkpoint without our head."""

    model: Model | None
    checkpoint: str = ""

    @property
    def identity(self) -> str:
        """A hash of the weights, "" for random ones."""
        return self.model.weights_sha256 if self.model else service.checkpoint_identity(self.checkpoint)

    def training_in(self, workspace: Workspace) -> Workspace:
        """The workspace with the checkpoint that a training begins with, if any."""
        config = workspace.config
        model = msgspec.structs.replace(config.model, load_from=self.checkpoint or None)
        return Workspace(workspace.root, msgspec.structs.replace(config, model=model), workspace.store)


def start_of(what: str, home: Workspace | None, config: Config) -> Start:
    """What `--start` names; raises ConfigError when there is no such thing."""
    if what == SCRATCH:
        return Start(None)
    if what == COCO:
        if config.model.load_from is None:
            raise ConfigError(
                "--start coco: expected model.load_from in al-loop.toml to name a checkpoint, got none"
            )
        return Start(None, config.model.load_from)
    if Path(what).expanduser().is_file():
        raise ConfigError(
            f"--start {what}: import it into the workspace first: al-loop models import {shlex.quote(str(what))}"
        )
    if home is None:
        raise ConfigError(
            f"--start {what}: expected scratch, coco, or a model of a workspace, got no workspace. "
            "Go into one, or name it: al-loop --workspace DIR benchmark ..."
        )
    return Start(
        model_registry.current_model(home) if what == "current" else model_registry.get_model(home, what)
    )
