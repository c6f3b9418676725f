"""A proxy before the real server that fails at one request, in the ways that networks and servers do."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qsl, urlencode

import httpx

#: Faults: the request is lost; its answer is lost; a gateway answers; the answer comes after the timeout.
LOST, UNANSWERED, BAD_GATEWAY, UNAVAILABLE, STALLED = "lost", "unanswered", 502, 503, "stalled"
_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?=Z|\+00:00)"
_HOP = {"connection", "transfer-encoding", "content-length", "content-encoding", "host", "keep-alive"}


@dataclass
class Proxy:
    """A proxy whose faults a test sets.

    fault: happens to the requests from number `at` (from 0) on, `times` of them, that `only` accepts.
    seen: method and path of each request.
    meanwhile: called before a faulty request is forwarded.
    skew: added to the times of the server's answers.
    stall_s: delay of a stalled answer, in seconds.
    change: (request line, body) -> body of the answer.
    """

    target: str
    url: str = ""
    fault: str | int | None = None
    at: int = 0
    times: int = 1
    seen: list[str] = field(default_factory=list)
    only: Callable[[str], bool] = lambda _: True
    meanwhile: Callable[[], None] | None = None
    skew: timedelta = timedelta()
    stall_s: float = 2.5
    change: Callable[[str, bytes], bytes] | None = None
    _count: int = 0

    def fails(self, line: str) -> bool:
        """Whether this request is one of those."""
        if (self.fault is None and self.meanwhile is None) or not self.only(line):
            return False
        number, self._count = self._count, self._count + 1
        return self.at <= number < self.at + self.times

    def altered(self, line: str, answer: httpx.Response) -> bytes:
        """Return the body of an answer, with shifted times and as `change` makes it."""
        content = _shifted(answer.text, self.skew).encode() if self.skew else answer.content
        return content if self.change is None else self.change(line, content)

    def asked(self, path: str) -> str:
        """Return the path that is sent to the server, with the times of its own clock."""
        where, _, query = path.partition("?")
        if not query or not self.skew:
            return path
        return f"{where}?{urlencode([(k, _shifted(v, -self.skew)) for k, v in parse_qsl(query)])}"


def _shifted(text: str, by: timedelta) -> str:
    def shift(found: re.Match[str]) -> str:
        return (datetime.fromisoformat(found[0]) + by).isoformat(timespec="microseconds")

    return re.sub(_MOMENT, shift, text) if by else text


class _Handler(BaseHTTPRequestHandler):
    """Forwards each request to `target`, or fails as the proxy says."""

    protocol_version = "HTTP/1.1"
    proxy: ClassVar[Proxy]
    client: ClassVar[httpx.Client]
    lock: ClassVar[threading.Lock]

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        line = f"{self.command} {self.path}"
        with self.lock:
            self.proxy.seen.append(line)
            faulty = self.proxy.fails(line)
        fault = self.proxy.fault if faulty else None
        if fault in (BAD_GATEWAY, UNAVAILABLE):
            self._answer(int(fault), b"<html>gateway</html>", {})
            return
        if fault == LOST:
            self.close_connection = True
            return
        if faulty and self.proxy.meanwhile is not None:
            self.proxy.meanwhile()
        answer = self._request(body)
        if (
            answer is None or fault == UNANSWERED
        ):  # killed by this request; or done, and the client is not told
            self.close_connection = True
            return
        if fault == STALLED:
            time.sleep(self.proxy.stall_s)
        self._answer(answer.status_code, self.proxy.altered(line, answer), dict(answer.headers))

    def _request(self, body: bytes) -> httpx.Response | None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        url = f"{self.proxy.target}{self.proxy.asked(self.path)}"
        with suppress(httpx.HTTPError):
            return self.client.request(self.command, url, content=body, headers=headers)
        return None

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        with suppress(OSError):  # the client has closed the connection
            self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _forward  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def proxied(target: str) -> Iterator[Proxy]:
    """Yield a proxy before the server at `target`."""
    proxy = Proxy(target)
    with httpx.Client(trust_env=False, timeout=60.0) as client:
        parts = {"proxy": proxy, "client": client, "lock": threading.Lock()}
        with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), parts)) as http:
            http.daemon_threads = True
            thread = threading.Thread(target=http.serve_forever, args=(0.05,))
            thread.start()
            proxy.url = f"http://127.0.0.1:{http.server_port}"
            try:
                yield proxy
            finally:
                http.shutdown()
                thread.join()
