"""URLs: their secrets, which are masked wherever a URL is shown or stored, and their hosts."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

#: Replaces a secret.
MASK = "***"
#: Parameters that grant access: those of presigned addresses (S3, Google, Azure), and usual names of tokens;
#: not names such as "key", which may select a file.
_PARAMETERS = (
    r"x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|awsaccesskeyid|"
    r"googleaccessid|sig|signature|(?:access_|auth_|refresh_|id_)?token|api_?key|(?:client_)?secret|"
    r"password|passwd|pwd"
)
# Up to the last @ before the path, as a password may hold an unescaped @. Also past / ? and # if no port
# follows the colon. pathlib removes one of the two slashes of an address.
_LOGIN = re.compile(
    r"(?:(?<=://)|(?<=[A-Za-z0-9]{2}:/))(?:[^\s/?#\"<>]+|[^\s/?#@:\[\"<>]+:(?!\d{0,5}[/?#])[^\s@\"<>]+)@"
)
_SIGNED = re.compile(rf"(?i)(?<=[?&;])({_PARAMETERS})=[^&;\s#'\"<>]+")


def masked(text: str) -> str:
    """Mask logins and signatures in all URLs of a text: https://***@host/x?sig=***."""
    if ":/" not in text:
        return text
    return _SIGNED.sub(rf"\1={MASK}", _LOGIN.sub(f"{MASK}@", text))


def masked_error(error: object, address: str) -> str:
    """Mask the login of a URL in another program's message about it."""
    login = address.partition("://")[2].partition("/")[0].rpartition("@")[0]
    secrets = [login, login.partition(":")[2]]
    text = str(error)
    for secret in filter(None, secrets):
        text = text.replace(secret, MASK)
    return masked(text)


def masked_in(value: Any) -> Any:
    """Mask all strings of plain data, such as settings."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {name: masked_in(item) for name, item in value.items()}
    return [masked_in(item) for item in value] if isinstance(value, list | tuple) else value


def same_host(before: str, after: str) -> bool:
    """Whether a redirect keeps host and port; from HTTP to HTTPS is the same host."""
    old, new = urlsplit(before), urlsplit(after)
    if (old.scheme, new.scheme) == ("http", "https") and (old.port or 80, new.port or 443) == (80, 443):
        return old.hostname == new.hostname
    return (old.scheme, old.hostname, old.port) == (new.scheme, new.hostname, new.port)
