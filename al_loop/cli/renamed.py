"""Commands and options of older versions: refused with the current name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

#: Old command -> its name now.
RENAMED_COMMANDS = {"shift": "corrupt", "pool restore-labels": "labels restore"}


class RenamingGroup(click.Group):
    """A group that refuses a command of an older version with its new name."""

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first argument names; UsageError for an old name."""
        group = context.command_path.removeprefix(context.find_root().command_path)
        old = f"{group} {args[0]}".strip() if args else ""
        if old in RENAMED_COMMANDS:
            raise click.UsageError(f"`al-loop {old}` was renamed: type `al-loop {RENAMED_COMMANDS[old]}`")
        return super().resolve_command(context, args)


def refused_option(old: str, instead: str) -> Callable[[F], F]:
    """Return a hidden option, with or without a value, that is refused with what to do instead."""

    def refuse(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            raise click.UsageError(f"`{old}` {instead}", context)

    return click.option(
        old, is_flag=False, flag_value="", expose_value=False, hidden=True, is_eager=True, callback=refuse
    )
