"""An HTTP client whose answers end: they are bounded in size and in time, however a server sends them."""

from __future__ import annotations

import time
from typing import Any

import httpx

# A page of 100 tasks that people have painted on is some 50 MB; more than this is no answer to us.
MOST_BYTES = 256_000_000
# For all of an answer's body. A body that trickles never meets the time limit between two pieces.
MOST_S = 600.0


class EndlessAnswerError(httpx.TransportError):
    """An answer that is too long, or takes too long; the message says which."""


class BoundedClient(httpx.Client):
    """Reads an answer to its end, or to the limits, whichever comes first: nothing is read that would not fit."""

    def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        """Send a request and return the answer, unpacked; raises EndlessAnswerError beyond the limits."""
        answer = super().send(request, stream=True, **options)
        if stream:
            return answer
        try:
            body = _read(answer)
        finally:
            answer.close()
        # The body is unpacked: what said how it was packed, and how long that was, no longer holds.
        headers = [
            (k, v) for k, v in answer.headers.raw if k.lower() not in (b"content-encoding", b"content-length")
        ]
        return httpx.Response(
            answer.status_code, headers=headers, content=body, request=request, history=answer.history
        )


def csrf_token(cookies: httpx.Cookies) -> str:
    """Return the token that forms of a Label Studio server want; the embedded one has put its workspace behind the name."""
    return next((c.value or "" for c in cookies.jar if c.name.partition("-")[0] == "csrftoken"), "")


def _read(answer: httpx.Response) -> bytes:
    deadline = time.monotonic() + MOST_S
    pieces, size = [], 0
    for piece in answer.iter_bytes():
        size += len(piece)
        if size > MOST_BYTES:
            raise EndlessAnswerError(f"the answer is longer than {MOST_BYTES // 1_000_000} MB")
        if time.monotonic() > deadline:
            raise EndlessAnswerError(f"the answer takes longer than {MOST_S:.0f} s")
        pieces.append(piece)
    return b"".join(pieces)
