"""Files over HTTP: from the host that was asked, no larger and no longer than allowed."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from al_loop.core.errors import DataError
from al_loop.core.files import printable
from al_loop.core.urls import masked, same_host

_REDIRECTS = 5
#: A server that says nothing for so long is gone.
_SILENCE_S = 60.0
_CHUNK = 1 << 16


def download(url: str, target: Path, *, limit_bytes: int, limit_s: float, other_hosts: bool = False) -> None:
    """Fetch a URL into a file that is whole or not there.

    other_hosts: follow redirects to other hosts; whoever allows it knows the file's hash.
    Raises DataError that says why the file cannot be had, and OSError where it cannot be written.
    """
    fetch = _Fetch(url, target, limit_bytes, limit_s, other_hosts)
    # In a thread, because httpx waits for a server that drips its headers as long as each byte is in time.
    fetch.start()
    fetch.join(limit_s)
    fetch.stopped = True
    if fetch.is_alive():
        raise DataError(f"cannot be fetched (it took more than {limit_s:g} s)")
    if fetch.problem is not None:
        raise fetch.problem


class _Fetch(threading.Thread):
    def __init__(self, url: str, target: Path, limit_bytes: int, limit_s: float, other_hosts: bool) -> None:
        super().__init__(daemon=True, name="download")
        self._url, self._target = url, target
        self._limit_bytes, self._other_hosts = limit_bytes, other_hosts
        self._end, self._silence_s = time.monotonic() + limit_s, min(_SILENCE_S, limit_s)
        self.stopped = False  # nobody waits any more
        self.problem: Exception | None = None

    def run(self) -> None:
        """Fetch the file; what goes wrong is kept for whoever waits."""
        partial = self._target.with_name(f"{self._target.name}.{os.getpid()}.partial")
        try:
            self._write(partial)
            if not self.stopped:
                os.replace(partial, self._target)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            self.problem = DataError(
                f"cannot be fetched ({masked(printable(error)) or type(error).__name__})"
            )
        except Exception as error:
            self.problem = error
        finally:
            partial.unlink(missing_ok=True)

    def _write(self, partial: Path) -> None:
        url = self._url
        # Compressed answers are not asked for: a few of their bytes may stand for any number.
        with httpx.Client(timeout=self._silence_s, headers={"Accept-Encoding": "identity"}) as client:
            for _ in range(_REDIRECTS + 1):
                with client.stream("GET", url) as answer:
                    if not answer.has_redirect_location:
                        answer.raise_for_status()
                        self._copy(answer, partial)
                        return
                    there = urljoin(url, answer.headers["location"])
                if not (self._other_hosts or same_host(url, there)):
                    raise DataError(
                        f"cannot be fetched (it is redirected to another host, {printable(urlsplit(there).netloc.rpartition('@')[2])})"
                    )
                if urlsplit(url).scheme == "https" and urlsplit(there).scheme != "https":
                    raise DataError("cannot be fetched (it is redirected from HTTPS to HTTP)")
                url = there
        raise DataError(f"cannot be fetched (more than {_REDIRECTS} redirects)")

    def _copy(self, answer: httpx.Response, partial: Path) -> None:
        said, size = answer.headers.get("content-length", ""), 0
        if said.isdigit():
            self._refuse_large(int(said))
        with partial.open("wb") as file:
            for data in answer.iter_bytes(_CHUNK):
                size += len(data)
                self._refuse_large(size)
                if self.stopped or time.monotonic() > self._end:
                    return
                file.write(data)

    def _refuse_large(self, size: int) -> None:
        if size > self._limit_bytes:
            raise DataError(f"cannot be fetched (it has more than {self._limit_bytes >> 20} MiB)")
