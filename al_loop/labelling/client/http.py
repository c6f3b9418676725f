"""HTTP client that limits the size and the duration of every answer."""

from __future__ import annotations

import time
from typing import Any

import httpx

# A page of 100 painted tasks is some 50 MB.
MAX_BYTES = 256_000_000
# For the whole body: one that trickles never exceeds the timeout between two pieces.
MAX_S = 600.0


class EndlessAnswerError(httpx.TransportError):
    """The answer exceeds a limit; the message says which."""


class BoundedClient(httpx.Client):
    """Client that stops reading an answer at the limits."""

    def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        """Send a request and return the decompressed answer; raise EndlessAnswerError beyond the limits."""
        answer = super().send(request, stream=True, **options)
        if stream:
            return answer
        try:
            body = _read(answer)
        finally:
            answer.close()
        # These headers describe the compressed body.
        dropped = (b"content-encoding", b"content-length")
        headers = [(k, v) for k, v in answer.headers.raw if k.lower() not in dropped]
        return httpx.Response(
            answer.status_code, headers=headers, content=body, request=request, history=answer.history
        )


def csrf_token(cookies: httpx.Cookies) -> str:
    """Return the token for forms of a server. The embedded one appends a mark to the cookie's name."""
    return next((c.value or "" for c in cookies.jar if c.name.partition("-")[0] == "csrftoken"), "")


def _read(answer: httpx.Response) -> bytes:
    deadline = time.monotonic() + MAX_S
    body = bytearray()
    for piece in answer.iter_bytes():
        body += piece
        if len(body) > MAX_BYTES:
            raise EndlessAnswerError(f"the answer is longer than {MAX_BYTES // 1_000_000} MB")
        if time.monotonic() > deadline:
            raise EndlessAnswerError(f"the answer takes longer than {MAX_S:.0f} s")
    return bytes(body)
