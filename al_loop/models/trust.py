"""Find the Python code that commands in a workspace would execute, and record the user's approval."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from al_loop.core.errors import ModelError
from al_loop.core.files import file_sha256
from al_loop.core.python_literals import literals
from al_loop.state.approvals import approve
from al_loop.state.model_registry import SHIPPED, all_models
from al_loop.state.workspace import Workspace


def is_data(name: str) -> bool:
    """Whether a model config is data: the name of a shipped config, or a JSON file. Others are executed."""
    return name in SHIPPED or Path(name).suffix == ".json"


def would_run(workspace: Workspace) -> list[str]:
    """Return a line for each file or module that commands in this workspace execute."""
    name = workspace.config.model.config
    path = workspace.root / Path(name).expanduser()
    lines = []
    if not is_data(name) and path.is_file():
        lines.append(f"model.config: {path}, SHA-256 {file_sha256(path)}")
    for model in all_models(workspace):
        modules = _custom_imports(model.config)
        if modules:
            lines.append(f"custom_imports of {model.id}: {', '.join(modules)}")
    return lines


def require(workspace: Workspace) -> None:
    """Raise ModelError if a workspace without the user's approval would execute Python code."""
    lines = [] if workspace.trusted else would_run(workspace)
    if lines:
        raise ModelError(
            f"{workspace.root} was not made here by you, and would run: {'; '.join(lines)}. Look at it; then "
            f"approve of the workspace: {_command(workspace)}"
        )


def trust(workspace: Workspace) -> list[str]:
    """Approve a workspace. Return a line for each file or module that it may execute from now on."""
    lines = would_run(workspace)
    approve(Path(workspace.store.path), workspace.mark)
    return lines


def refusal(workspace: Workspace, path: Path) -> ModelError:
    """Return the error for a Python config that the settings of an unapproved workspace name."""
    return ModelError(
        f"model.config names {path} (SHA-256 {file_sha256(path)}), a Python file that would be executed, and "
        f"this workspace was not made here by you. Look at the file; then approve of the workspace: "
        f"{_command(workspace)}"
    )


def _command(workspace: Workspace) -> str:
    return f"al-loop --workspace {shlex.quote(str(workspace.root))} models trust"


def _custom_imports(path: Path) -> list[str]:
    """Return the custom_imports of a stored config. Empty if it is unreadable, which loading it reports."""
    try:
        data = path.read_bytes()
        config: Any = json.loads(data) if path.suffix == ".json" else literals(data)
        modules = config.get("custom_imports") or []
        modules = modules.get("imports", []) if isinstance(modules, dict) else modules
        return [modules] if isinstance(modules, str) else [str(name) for name in modules]
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError, AttributeError, TypeError):
        return []
