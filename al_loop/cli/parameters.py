"""What commands share: the workspace they work in, types and options."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from al_loop.state.workspace import Workspace, open_workspace

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(path_type=Path, dir_okay=False)
EXISTING_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
FOLDER = click.Path(path_type=Path, file_okay=False)
EXISTING_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
model_argument = click.argument("model_id", required=False, metavar="[MODEL]")


def with_workspace(command: Callable[Concatenate[Workspace, P], T]) -> Callable[P, T]:
    """Open the workspace of the command line and pass it as the first argument."""

    @wraps(command)
    def opened(*args: P.args, **options: P.kwargs) -> T:
        return command(open_workspace(click.get_current_context().obj), *args, **options)

    return opened


def with_locked_workspace(command: Callable[Concatenate[Workspace, P], T]) -> Callable[P, T]:
    """Do the same, and lock the workspace while the command runs."""

    @with_workspace
    @wraps(command)
    def locked(workspace: Workspace, /, *args: P.args, **options: P.kwargs) -> T:
        with workspace.lock():
            return command(workspace, *args, **options)

    return locked


def number_option(
    name: str, most: int, text: str, default: int | None = None, *, least: int = 1
) -> Callable[[F], F]:
    """Return an option that takes a whole number from `least` to `most`."""
    kind = click.IntRange(least, most)
    return click.option(name, type=kind, default=default, show_default=default is not None, help=text)


def ray_option(text: str) -> Callable[[F], F]:
    """Return the option that names a Ray cluster; text: what runs there."""
    return click.option(
        "--ray",
        metavar="ADDRESS",
        help=f"{text} on a Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local.",
    )


gpus_option = number_option("--gpus", 64, "GPUs that share the training.  [default: gpus of al-loop.toml]")
