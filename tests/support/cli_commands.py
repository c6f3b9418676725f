"""Every command of the command line, with its full name."""

from __future__ import annotations

from collections.abc import Iterator

import click


def commands(group: click.Group, prefix: str = "al-loop") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield f"{prefix} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
