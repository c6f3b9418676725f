"""What can go wrong between us and a server: one exception per kind, and one sentence that says what to do.

LabelStudioError
├── UnreachableError    nothing answers, or it broke off: asking again may help
├── ServerFaultError    the server answered with a fault of its own (5xx)
├── UnauthorizedError   the token is wrong, revoked or lacks a right
└── NotFoundError       no such project, view or task

Nothing here ever prints an SDK error as it is: its text holds the session cookie and the token's place.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from al_loop.core.errors import LabelStudioError
from al_loop.core.files import printable
from al_loop.labelling.client.responses import StrangeAnswerError

START_COMMAND = "al-loop label-studio start"
NEW_PROJECT_COMMAND = "al-loop label-studio new-project"


class UnreachableError(LabelStudioError):
    """Nothing answered, or the answer was cut off: what was asked may or may not have happened."""


class ServerFaultError(LabelStudioError):
    """The server answered that it failed: what was asked may or may not have happened."""


class UnauthorizedError(LabelStudioError):
    """The token is wrong, was revoked, or lacks a right."""


class NotFoundError(LabelStudioError):
    """The server has no such thing."""


@contextmanager
def explained(url: str, doing: str) -> Iterator[None]:
    """Turn every failure of a request to the server at `url` into a LabelStudioError that says what to do."""
    import httpx

    from al_loop.labelling.client.http import EndlessAnswerError

    try:
        with sdk_warnings_off():
            yield
    except EndlessAnswerError as error:
        raise LabelStudioError(
            f"{url} does not end its answer ({error}, while trying to {doing}); check the address and any proxy before it"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        kind = type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise UnreachableError(
                f"the certificate of {url} is not trusted here, and nothing was sent to it. Where your plant "
                "signs its own, name the file of its authority: export SSL_CERT_FILE=..."
            ) from None
        raise UnreachableError(
            f"Label Studio does not answer at {url} ({kind} while trying to {doing}). "
            f"Start the embedded server with: {START_COMMAND}; "
            "or correct the address of your own in al-loop.toml"
        ) from None
    except StrangeAnswerError as error:
        raise stranger(url, doing, str(error)) from None
    except sdk().core.ApiError as error:
        raise _of_status(url, error.status_code, error.body, doing) from None


def _of_status(url: str, status: int | None, body: object, doing: str) -> LabelStudioError:
    detail = _detail(body)
    if status in (401, 403):
        return UnauthorizedError(
            f"Label Studio at {url} refuses the token ({status}: {detail}) while trying to {doing}. "
            "Make a new one in Label Studio under Account & Settings, Access token; "
            f"the embedded server's own is set up again by: {START_COMMAND}"
        )
    if status == 404 and isinstance(body, Mapping):
        return NotFoundError(
            f"Label Studio at {url} has no such thing (404: {detail}) while trying to {doing}"
        )
    if status is not None and 300 <= status < 400:
        return LabelStudioError(
            f"{url} redirects elsewhere, and the token is not sent there; "
            "put the address it finally has into al-loop.toml"
        )
    if status is not None and status >= 500:
        return ServerFaultError(
            f"Label Studio at {url} failed ({status}: {detail}) while trying to {doing}. "
            "Its log says why; nothing is lost, run the command again"
        )
    if not isinstance(body, Mapping):
        return stranger(url, doing, f"status {status}")
    return LabelStudioError(f"Label Studio at {url} refused to {doing} ({status}: {detail})")


def stranger(url: str, doing: str, why: str) -> LabelStudioError:
    """Return the error of an answer that no Label Studio gives."""
    return LabelStudioError(
        f"what answers at {url} does not speak as Label Studio does (while trying to {doing}: {why}); "
        "check the address and any proxy before it"
    )


def decoded(content: bytes) -> Any:
    """Return the JSON of an answer; StrangeAnswerError where it is none, or too deep or its numbers too long to read.

    Half a character, as a page leaves where it cuts a text, becomes a question mark: no file and no database takes it.
    """
    try:
        answer = json.loads(content)
        if b"\\ud" in content or b"\\uD" in content:
            answer = json.loads(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))
        return answer
    except (ValueError, RecursionError) as error:
        raise StrangeAnswerError(f"no JSON that can be read: {type(error).__name__}") from None


def sdk() -> Any:
    """Return the SDK; imported late, for it takes more than a second."""
    with sdk_warnings_off():
        import label_studio_sdk
    return label_studio_sdk


@contextmanager
def sdk_warnings_off() -> Iterator[None]:
    """Silence what the SDK makes Python say at its import and in use."""
    # The SDK uses what pydantic has deprecated, at its import and at every token exchange.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="label_studio_sdk")
        yield


def _detail(body: object) -> str:
    """Return what the server says about a failure, and nothing else of its answer."""
    if not isinstance(body, Mapping):
        return "no detail"
    parts = [str(body.get("detail", "no detail"))]
    errors = body.get("validation_errors")
    if isinstance(errors, Mapping):
        parts += [
            f"{name}: {' '.join(map(str, says))}" for name, says in errors.items() if isinstance(says, list)
        ]
    return printable("; ".join(parts)[:500])
