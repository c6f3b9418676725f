"""List and read object stores by fsspec, within limits of size and time, on one host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from al_loop.core.errors import ConfigError, DataError
from al_loop.core.files import printable
from al_loop.core.urls import masked_error, same_host
from render.pixels.decode import MAX_BYTES

#: Seconds for one object, and for a listing: ten million objects of S3 take half an hour.
FETCH_S, LISTING_S = 600.0, 3600.0
#: Folders within folders of a web server's pages; one that makes up ever new ones has no end.
_DEPTH = 32
_HTTP = ("http", "https")


def filesystem_of(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it; ConfigError for an unknown or missing kind.

    fsspec has one interface for all stores, and torch depends on it.
    """
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


def read(url: str) -> bytes:
    """Return the bytes of an object; DataError with the reason where it cannot be fetched. Thread-safe."""
    try:
        filesystem, path = filesystem_of(url)
        # One byte above the limit shows an object that is too large. HTTP servers may not support ranges:
        # the client counts there.
        limits = {} if url.startswith(_HTTP) else {"end": MAX_BYTES + 1}
        data: bytes = _called(filesystem, "cat_file", FETCH_S, path, **limits)
    except FileNotFoundError:
        raise DataError("cannot be fetched (it is not there)") from None
    # Other errors of a store are in no interface: no rights, no network, no such bucket.
    except Exception as error:
        raise DataError(f"cannot be fetched ({_reason(error, url, FETCH_S)})") from None
    if len(data) > MAX_BYTES:
        raise DataError(f"cannot be fetched (it has more than {MAX_BYTES >> 20} MiB)")
    return data


def listed(url: str, is_pattern: Callable[[str], bool]) -> tuple[Any, Mapping[str, Mapping[str, Any]]]:
    """Return the file system, and the entries of all objects below a URL or matching it, by path."""
    filesystem, path = filesystem_of(url)
    # In an address of the web a question mark begins its parameters, as of one that is signed.
    look = "glob" if is_pattern(path.partition("?")[0] if url.startswith(_HTTP) else path) else "find"
    limits: dict[str, Any] = {}
    lost: list[OSError] = []
    if url.startswith(_HTTP):
        limits = {"on_error": lost.append}  # fsspec takes a page that it cannot get for one without links
        limits |= {"maxdepth": _DEPTH} if look == "find" or "**" in path else {}
    try:
        entries: Mapping[str, Mapping[str, Any]] = _called(
            filesystem, look, LISTING_S, path, detail=True, **limits
        )
        lost = [error for error in lost if not isinstance(error, FileNotFoundError)]
        if lost and not entries:
            raise lost[0]
    except Exception as error:  # as in `read`
        raise DataError(f"cannot be listed ({_reason(error, url, LISTING_S)})") from None
    return filesystem, entries


def _called(filesystem: Any, name: str, limit_s: float, *args: Any, **options: Any) -> Any:
    """Call a method of a file system; an asynchronous one is abandoned after `limit_s`."""
    from fsspec.asyn import AsyncFileSystem, sync

    if isinstance(filesystem, AsyncFileSystem):
        return sync(filesystem.loop, getattr(filesystem, f"_{name}"), *args, timeout=limit_s, **options)
    return getattr(filesystem, name)(*args, **options)


def _reason(error: Exception, url: str, limit_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"it took more than {limit_s:g} s"
    return printable(masked_error(error, url)) or type(error).__name__


async def _client(**options: Any) -> Any:
    """Return an HTTP client that refuses other hosts and answers above the limit of an image."""
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
        here = str(step.url)
        there = urljoin(here, step.response.headers.get("Location", ""))
        if not same_host(here, there):
            raise ValueError(f"it is redirected to another host, {urlsplit(there).netloc.rpartition('@')[2]}")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    options.setdefault("timeout", aiohttp.ClientTimeout(total=FETCH_S, sock_connect=30, sock_read=60))
    return aiohttp.ClientSession(trace_configs=[trace], response_class=Bounded, **options)
