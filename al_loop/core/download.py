"""Download files over HTTP, from one host, within limits of size and time."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

import httpx

from al_loop.core.errors import DataError
from al_loop.core.files import atomic_file, printable
from al_loop.core.urls import masked, same_host

_REDIRECTS = 5
#: Seconds without data after which a download fails.
_SILENCE_S = 60.0
_CHUNK = 1 << 16


def download(
    url: str,
    target: Path,
    *,
    limit_bytes: int,
    limit_s: float,
    other_hosts: bool = False,
    sha256: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Download a URL into a file, which is complete or does not exist.

    other_hosts: follow redirects to other hosts.
    sha256: first digits that the hash of the file must have.
    progress: called in another thread with the bytes that have come, and all of them as far as known.
    Raises DataError with the reason if the file cannot be fetched, OSError if it cannot be written.
    """
    fetch = _Fetch(url, target, limit_bytes, limit_s, other_hosts, sha256, progress)
    # In a thread, as httpx limits the wait for each byte only: a server may send its headers slowly.
    fetch.start()
    fetch.join(limit_s)
    fetch.stopped = True
    if fetch.is_alive():
        raise DataError(f"cannot be fetched (it took more than {limit_s:g} s)")
    if fetch.problem is not None:
        raise fetch.problem


class _Fetch(threading.Thread):
    def __init__(
        self,
        url: str,
        target: Path,
        limit_bytes: int,
        limit_s: float,
        other_hosts: bool,
        sha256: str,
        progress: Callable[[int, int], None],
    ) -> None:
        super().__init__(daemon=True, name="download")
        self._url, self._target, self._sha256 = url, target, sha256
        self._limit_bytes, self._other_hosts, self._progress = limit_bytes, other_hosts, progress
        self._end, self._silence_s = time.monotonic() + limit_s, min(_SILENCE_S, limit_s)
        self.stopped = False  # the caller no longer waits
        self.problem: Exception | None = None

    def run(self) -> None:
        """Download the file; keep an error for the waiting caller."""
        try:
            with atomic_file(self._target, shared=True) as file:
                self._write(file)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            self.problem = DataError(
                f"cannot be fetched ({masked(printable(error)) or type(error).__name__})"
            )
        except Exception as error:
            self.problem = error

    def _write(self, file: BinaryIO) -> None:
        url = self._url
        # No compressed responses: few bytes may unpack to any number.
        with httpx.Client(timeout=self._silence_s, headers={"Accept-Encoding": "identity"}) as client:
            for _ in range(_REDIRECTS + 1):
                with client.stream("GET", url) as answer:
                    if not answer.has_redirect_location:
                        answer.raise_for_status()
                        self._copy(answer, file)
                        return
                    target = urljoin(url, answer.headers["location"])
                if not (self._other_hosts or same_host(url, target)):
                    host = printable(urlsplit(target).netloc.rpartition("@")[2])
                    raise DataError(f"cannot be fetched (it is redirected to another host, {host})")
                if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
                    raise DataError("cannot be fetched (it is redirected from HTTPS to HTTP)")
                url = target
        raise DataError(f"cannot be fetched (more than {_REDIRECTS} redirects)")

    def _copy(self, answer: httpx.Response, file: BinaryIO) -> None:
        header, size, digest = answer.headers.get("content-length", ""), 0, hashlib.sha256()
        stated = int(header) if header.isdigit() else 0
        self._refuse_large(stated)
        for data in answer.iter_bytes(_CHUNK):
            size += len(data)
            self._refuse_large(size)
            if self.stopped or time.monotonic() > self._end:
                raise DataError("cannot be fetched (it took too long)")
            file.write(data)
            digest.update(data)
            self._progress(size, max(size, stated))
        if not digest.hexdigest().startswith(self._sha256):
            raise DataError(f"has SHA-256 {digest.hexdigest()}, expected {self._sha256}")

    def _refuse_large(self, size: int) -> None:
        if size > self._limit_bytes:
            raise DataError(f"cannot be fetched (it has more than {self._limit_bytes >> 20} MiB)")
