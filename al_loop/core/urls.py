"""Addresses: their secrets, refused in al-loop.toml and masked wherever one is shown or written down, and their hosts."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

#: What stands in the place of a secret.
MASK = "***"
#: Parameters that let in whoever has the address: of presigned addresses (S3, Google, Azure), and the usual names of tokens.
#: Names that may as well say which file is meant, such as "key", are none.
_PARAMETERS = (
    r"x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|awsaccesskeyid|googleaccessid|sig|"
    r"signature|(?:access_|auth_|refresh_|id_)?token|api_?key|(?:client_)?secret|password|passwd|pwd"
)
# Up to the last @ before the path, for a password may hold one that was not written as %40; and past a / ? or # where what
# stands behind the colon is no port. A path of an address has lost one of its slashes.
_LOGIN = re.compile(
    r"(?:(?<=://)|(?<=[A-Za-z0-9]{2}:/))(?:[^\s/?#\"<>]+|[^\s/?#@:\[\"<>]+:(?!\d{0,5}[/?#])[^\s@\"<>]+)@"
)
_SIGNED = re.compile(rf"(?i)(?<=[?&;])({_PARAMETERS})=[^&;\s#'\"<>]+")


def masked(text: str) -> str:
    """Return a text in which no address holds a login or a signature: https://***@host/x?sig=***."""
    if ":/" not in text:
        return text
    return _SIGNED.sub(rf"\1={MASK}", _LOGIN.sub(f"{MASK}@", text))


def masked_error(error: object, address: str) -> str:
    """Return what another program says of an address, without the address's login, whatever stands around it."""
    login = address.partition("://")[2].partition("/")[0].rpartition("@")[0]
    secrets = [login, login.partition(":")[2]]
    text = str(error)
    for secret in filter(None, secrets):
        text = text.replace(secret, MASK)
    return masked(text)


def masked_in(value: Any) -> Any:
    """Return plain data, such as settings, with every text in it masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {name: masked_in(one) for name, one in value.items()}
    return [masked_in(one) for one in value] if isinstance(value, list | tuple) else value


def same_host(before: str, after: str) -> bool:
    """Say whether a redirect stays at its host and port; HTTPS in place of HTTP is the same host."""
    one, two = urlsplit(before), urlsplit(after)
    if (one.scheme, two.scheme) == ("http", "https") and (one.port or 80, two.port or 443) == (80, 443):
        return one.hostname == two.hostname
    return (one.scheme, one.hostname, one.port) == (two.scheme, two.hostname, two.port)
