"""Logins of an embedded server: random, created once, readable by the owner only."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from al_loop.core.errors import LabelStudioError
from al_loop.core.files import read_regular, write_atomically
from al_loop.labelling.client.client import START_COMMAND

EMAIL = "al-loop@localhost"
FILE_NAME = "credentials.json"
_MOST_BYTES = 65_536


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
        logins = json.loads(read_regular(path, _MOST_BYTES))
        values = logins["email"], logins["password"], logins["token"]
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"expected three texts, got {sorted(logins)}")
        return Credentials(*values)
    except FileNotFoundError:
        raise LabelStudioError(f"no {path}: start the server first with: {START_COMMAND}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LabelStudioError(
            f"cannot read {path} ({type(error).__name__}); restore it from a backup"
        ) from None


def have_credentials(home: Path) -> bool:
    """Whether `home` has logins."""
    return os.path.lexists(home / FILE_NAME)


def ensure_credentials(home: Path) -> None:
    """Create logins for `home` where there are none."""
    if have_credentials(home):
        return
    logins = {"email": EMAIL, "password": secrets.token_urlsafe(15), "token": secrets.token_hex(20)}
    write_atomically(home / FILE_NAME, json.dumps(logins, indent=2).encode(), mode=0o600)
