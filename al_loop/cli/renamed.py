"""Options of older versions: each is refused with its new name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def renamed_option(old: str, new: str) -> Callable[[F], F]:
    """Return the decorator of a hidden option, with or without a value, that is refused with its new name."""

    def refuse(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            raise click.UsageError(f"`{old}` was renamed: use `{new}`", context)

    return click.option(
        old, is_flag=False, flag_value="", expose_value=False, hidden=True, is_eager=True, callback=refuse
    )
