"""List and read object stores with fsspec, within limits of size and time, on one host."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from al_loop.core.errors import ConfigError, DataError
from al_loop.core.files import printable
from al_loop.core.urls import masked_error, same_host
from render.pixels.decode import MAX_BYTES

#: Time limits of one object and of a listing. Listing ten million objects of S3 takes half an hour.
FETCH_S, LISTING_S = 600.0, 3600.0
#: Maximum depth of folders on a web server, which may generate folders without end.
_DEPTH = 32
_HTTP = ("http", "https")


def read(url: str) -> bytes:
    """Return the bytes of an object. Raises DataError if it cannot be fetched. Thread-safe."""
    try:
        filesystem, path = _filesystem_of(url)
        # One byte above the limit shows that an object is too large. HTTP servers may not support ranges, so
        # `_client` counts their bytes.
        limits = {} if url.startswith(_HTTP) else {"end": MAX_BYTES + 1}
        data: bytes = _call(filesystem, "cat_file", FETCH_S, path, **limits)
    except FileNotFoundError:
        raise DataError("cannot be fetched (it does not exist)") from None
    except Exception as error:  # stores have no common errors for permissions, network or buckets
        raise DataError(f"cannot be fetched ({_reason(error, url, FETCH_S)})") from None
    if len(data) > MAX_BYTES:
        raise DataError(f"cannot be fetched (it has more than {MAX_BYTES >> 20} MiB)")
    return data


def list_objects(url: str) -> tuple[Any, Mapping[str, Mapping[str, Any]]]:
    """Return the file system, and the entries of all objects below a URL or matching it, by path.

    Raises ConfigError for an unknown kind of store, DataError if it cannot be listed.
    """
    filesystem, path = _filesystem_of(url)
    # In a web address a question mark begins the parameters, such as a signature.
    method = "glob" if glob.has_magic(path.partition("?")[0] if url.startswith(_HTTP) else path) else "find"
    limits: dict[str, Any] = {}
    errors: list[OSError] = []
    if url.startswith(_HTTP):
        limits = {"on_error": errors.append}  # fsspec treats a page that it cannot get as one without links
        limits |= {"maxdepth": _DEPTH} if method == "find" or "**" in path else {}
    try:
        entries: Mapping[str, Mapping[str, Any]] = _call(
            filesystem, method, LISTING_S, path, detail=True, **limits
        )
        errors = [error for error in errors if not isinstance(error, FileNotFoundError)]
        if errors and not entries:
            raise errors[0]
    except Exception as error:  # as in `read`
        raise DataError(f"cannot be listed ({_reason(error, url, LISTING_S)})") from None
    return filesystem, entries


def _filesystem_of(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL and the path in it. Raises ConfigError for an unknown kind."""
    import fsspec

    scheme = url.partition("://")[0]
    options: dict[str, Any] = {name: {"get_client": _client} for name in _HTTP if f"{name}://" in url}
    if scheme in _HTTP and "::" not in url:
        options = options[scheme]
    try:
        filesystem, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise ConfigError(f"needs another package ({error}). Install it and run again") from None
    except ValueError as error:
        raise ConfigError(f"{error}; expected a path, or a URL such as s3://bucket/folder") from None
    return filesystem, path


def _call(filesystem: Any, name: str, limit_s: float, *args: Any, **options: Any) -> Any:
    """Call a method of a file system. Abandon an asynchronous method after `limit_s`."""
    from fsspec.asyn import AsyncFileSystem, sync

    if isinstance(filesystem, AsyncFileSystem):
        return sync(filesystem.loop, getattr(filesystem, f"_{name}"), *args, timeout=limit_s, **options)
    return getattr(filesystem, name)(*args, **options)


def _reason(error: Exception, url: str, limit_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"it took more than {limit_s:g} s"
    return printable(masked_error(error, url)) or type(error).__name__


async def _client(**options: Any) -> Any:
    """Return an HTTP client that refuses redirects to other hosts, and answers larger than MAX_BYTES."""
    import aiohttp

    class Bounded(aiohttp.ClientResponse):
        async def read(self) -> bytes:
            if self._body is None:
                pieces, size = [], 0
                async for piece in self.content.iter_any():
                    size += len(piece)
                    if size > MAX_BYTES:
                        self.close()
                        raise ValueError(f"it has more than {MAX_BYTES >> 20} MiB")
                    pieces.append(piece)
                self._body = b"".join(pieces)
            return self._body

    async def refuse(_: object, __: object, step: aiohttp.TraceRequestRedirectParams) -> None:
        target = urljoin(str(step.url), step.response.headers.get("Location", ""))
        if not same_host(str(step.url), target):
            host = urlsplit(target).netloc.rpartition("@")[2]
            raise ValueError(f"it is redirected to another host, {host}")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    options.setdefault("timeout", aiohttp.ClientTimeout(total=FETCH_S, sock_connect=30, sock_read=60))
    return aiohttp.ClientSession(trace_configs=[trace], response_class=Bounded, **options)
