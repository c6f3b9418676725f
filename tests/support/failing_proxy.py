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
from urllib.parse import parse_qsl, urlencode

import httpx

#: What can happen to a request: it is lost on its way there, or its answer on its way back; a gateway answers; or the
#: answer comes when nobody waits for it any more.
LOST, UNANSWERED, BAD_GATEWAY, UNAVAILABLE, STALLED = "lost", "unanswered", 502, 503, "stalled"
_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?=Z|\+00:00)"
_HOP = {"connection", "transfer-encoding", "content-length", "content-encoding", "host", "keep-alive"}


@dataclass
class Proxy:
    """fault: what happens to request number `at` (from 0), and to `times - 1` after it.  seen: what was asked.

    stall_s: how late an answer comes that is stalled.  meanwhile: called before such a request goes on its way.  skew: how far the server's clock seems to be ahead.
    change: what becomes of an answer, by the request's line.
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

    def told(self, text: str) -> str:
        """What the server says, with the times of its clock as it seems."""
        return _shifted(text, self.skew)

    def asked(self, path: str) -> str:
        """What the server is asked, with the times of its clock as it is."""
        where, _, query = path.partition("?")
        if not query or not self.skew:
            return path
        return f"{where}?{urlencode([(k, _shifted(v, -self.skew)) for k, v in parse_qsl(query)])}"


def _shifted(text: str, by: timedelta) -> str:
    def shift(found: re.Match[str]) -> str:
        return (datetime.fromisoformat(found[0]) + by).isoformat(timespec="microseconds")

    return re.sub(_MOMENT, shift, text) if by else text


@contextmanager
def proxied(target: str) -> Iterator[Proxy]:
    """Yield a proxy before the server at `target`."""
    proxy, lock = Proxy(target), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            line = f"{self.command} {self.path}"
            with lock:
                proxy.seen.append(line)
                bad = proxy.fails(line)
            if bad and proxy.fault in (BAD_GATEWAY, UNAVAILABLE):
                self._answer(int(proxy.fault), b"<html>gateway</html>", {})
                return
            if bad and proxy.fault == LOST:
                self.close_connection = True
                return
            if bad and proxy.meanwhile is not None:
                proxy.meanwhile()
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            path = proxy.asked(self.path)
            try:
                found = client.request(self.command, f"{target}{path}", content=body, headers=headers)
            except httpx.HTTPError:  # the server has died over it
                self.close_connection = True
                return
            if bad and proxy.fault == UNANSWERED:  # the server has done it, and nobody hears of it
                self.close_connection = True
                return
            if bad and proxy.fault == STALLED:
                time.sleep(proxy.stall_s)
            content = proxy.told(found.text).encode() if proxy.skew else found.content
            if proxy.change is not None:
                content = proxy.change(line, content)
            self._answer(found.status_code, content, dict(found.headers))

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with suppress(OSError):  # whoever asked has gone
                self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _forward  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with (
        httpx.Client(trust_env=False, timeout=60.0) as client,
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http,
    ):
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        proxy.url = f"http://127.0.0.1:{http.server_port}"
        try:
            yield proxy
        finally:
            http.shutdown()
            thread.join()
