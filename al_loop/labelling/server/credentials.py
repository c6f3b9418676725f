"""Logins of an embedded server: random, created once, readable only by their owner."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from al_loop.core.errors import LabelStudioError
from al_loop.core.files import read_regular, write_atomically
from al_loop.labelling.client.failures import START_COMMAND

EMAIL = "al-loop@localhost"
FILE_NAME = "credentials.json"
_MAX_BYTES = 65_536


@dataclass(frozen=True)
class Credentials:
    """Logins of people (e-mail, password) and of the loop (token)."""

    email: str
    password: str = field(repr=False)
    token: str = field(repr=False)


def read_credentials(home: Path) -> Credentials:
    """Return the logins of the embedded server of `home`."""
    path = home / FILE_NAME
    try:
        return msgspec.json.decode(read_regular(path, _MAX_BYTES), type=Credentials)
    except FileNotFoundError:
        raise LabelStudioError(f"no {path}: start the server first: {START_COMMAND}") from None
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise LabelStudioError(
            f"cannot read {path} ({type(error).__name__}): restore it from a backup"
        ) from None


def has_credentials(home: Path) -> bool:
    """Whether `home` has a file of logins."""
    return os.path.lexists(home / FILE_NAME)


def ensure_credentials(home: Path) -> None:
    """Create logins for `home` if there are none."""
    if not has_credentials(home):
        logins = Credentials(EMAIL, secrets.token_urlsafe(15), secrets.token_hex(20))
        text = msgspec.json.format(msgspec.json.encode(logins), indent=2)
        write_atomically(home / FILE_NAME, text, mode=0o600)
