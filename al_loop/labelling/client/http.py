"""HTTP client that limits the size and the duration of every answer."""

from __future__ import annotations

import time
from typing import Any

import httpx

# A page of 100 tasks with brush strokes has about 50 MB.
MAX_BYTES = 256_000_000
# For the whole body: a slow one may never exceed the timeout between two parts.
MAX_S = 600.0


class AnswerLimitError(httpx.TransportError):
    """The answer exceeds a limit; the message names the limit."""


class BoundedClient(httpx.Client):
    """Client that stops reading an answer beyond the limits."""

    def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        """Send a request and return the decompressed answer; raise AnswerLimitError beyond the limits."""
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
    """Return the CSRF token for forms of a server. The embedded server adds a suffix to the cookie's name."""
    return next((c.value or "" for c in cookies.jar if c.name.partition("-")[0] == "csrftoken"), "")


def _read(answer: httpx.Response) -> bytes:
    deadline = time.monotonic() + MAX_S
    body = bytearray()
    for piece in answer.iter_bytes():
        body += piece
        if len(body) > MAX_BYTES:
            raise AnswerLimitError(f"the answer is longer than {MAX_BYTES // 1_000_000} MB")
        if time.monotonic() > deadline:
            raise AnswerLimitError(f"the answer takes longer than {MAX_S:.0f} s")
    return bytes(body)
