"""Talk to a Label Studio server, ours or another: its address, its token, and the way to it.

The SDK tells legacy tokens from personal access tokens and exchanges the latter. Requests go over its authenticated
transport as plain JSON (api.py); failures are one clear message each (failures.py).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.api import Api
from al_loop.labelling.client.failures import (
    NEW_PROJECT_COMMAND,
    START_COMMAND,
    NotFoundError,
    ServerFaultError,
    UnauthorizedError,
    UnreachableError,
    explained,
    sdk,
    sdk_warnings_off,
)
from al_loop.labelling.client.responses import Json

__all__ = [
    "NEW_PROJECT_COMMAND",
    "START_COMMAND",
    "Api",
    "Connection",
    "Json",
    "NotFoundError",
    "ServerFaultError",
    "UnauthorizedError",
    "UnreachableError",
    "sdk_warnings_off",
]

# An import of 250 tasks takes under a second; a slow disk or a busy server may need far more.
_TIMEOUT_S = 60.0
_IMPORT_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Connection:
    """How to reach a server: its address and an access token, legacy or personal."""

    url: str
    token: str = field(repr=False)
    timeout_s: float = _TIMEOUT_S

    @property
    def base_url(self) -> str:
        """The address without a trailing slash."""
        return self.url.rstrip("/")

    @property
    def import_timeout_s(self) -> float:
        """How long an import or an upload may take."""
        return _IMPORT_TIMEOUT_S

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine: no proxy may stand between."""
        return urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")

    @contextmanager
    def open(self) -> Iterator[Api]:
        """Yield the server's functions; every failure inside them is a LabelStudioError."""
        from al_loop.labelling.client.http import BoundedClient

        if urlsplit(self.url).scheme not in ("http", "https"):
            raise LabelStudioError(f"expected an address like https://labels.example.org, got {self.url!r}")
        # Redirects are not followed: the token must not travel to another host.
        with BoundedClient(
            timeout=self.timeout_s, follow_redirects=False, trust_env=not self.is_local, verify=_trusted()
        ) as http:
            with self.explain("open the connection"):
                # The SDK does not ask the client how long to wait, and would take a minute of its own.
                client = sdk().LabelStudio(
                    base_url=self.base_url, api_key=self.token, httpx_client=http, timeout=self.timeout_s
                )
            yield Api(self, client)

    def check(self) -> str:
        """Return the server's version; raises when it does not answer or refuses the token."""
        with self.open() as api:
            api.whoami()
            return api.version()

    @contextmanager
    def explain(self, doing: str) -> Iterator[None]:
        """Turn every failure of a request into a LabelStudioError that says what to do."""
        with explained(self.url, doing):
            yield


def _trusted() -> ssl.SSLContext | bool:
    """Whose certificates count: the usual authorities', or those of the plant's own file, also for a server on this machine."""
    own = os.environ.get("SSL_CERT_FILE")
    try:
        return ssl.create_default_context(cafile=own) if own else True
    except OSError as error:  # as ssl says of a file that is missing, or no certificate
        raise LabelStudioError(f"SSL_CERT_FILE={own} cannot be read as certificates: {error}") from None
