"""Failures of requests: one exception for each kind, with the next step in its message.

LabelStudioError
├── UnreachableError    no answer, or an incomplete one: a retry may help
├── ServerFaultError    the server failed (5xx)
├── UnauthorizedError   the token is wrong, revoked or lacks a right
└── NotFoundError       the project, view or task does not exist

Errors of the SDK are never printed: their text contains the session cookie.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from al_loop.core.errors import LabelStudioError
from al_loop.core.files import printable
from al_loop.labelling.client.responses import UnexpectedAnswerError

START_COMMAND = "al-loop label-studio start"
NEW_PROJECT_COMMAND = "al-loop label-studio new-project"


class UnreachableError(LabelStudioError):
    """No answer arrived, or it was cut off. The request may have taken effect."""


class ServerFaultError(LabelStudioError):
    """The server failed. The request may have taken effect."""


class UnauthorizedError(LabelStudioError):
    """The token is wrong, revoked or lacks a right."""


class NotFoundError(LabelStudioError):
    """The project, view or task does not exist."""


@contextmanager
def explain_failures(url: str, doing: str) -> Iterator[None]:
    """Convert every failure of a request to the server at `url` to a LabelStudioError with the next step.

    doing: what the request does, an infinitive such as "list the users".
    """
    import httpx

    from al_loop.labelling.client.http import AnswerLimitError

    try:
        with sdk_warnings_off():
            yield
    except AnswerLimitError as error:
        raise LabelStudioError(
            f"{url} does not end its answer ({error}, while trying to {doing}). Check address and proxy"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise UnreachableError(
                f"the certificate of {url} is not trusted here, and nothing was sent. If your plant signs "
                "its own certificates, name the file of its authority: export SSL_CERT_FILE=..."
            ) from None
        raise UnreachableError(
            f"Label Studio does not answer at {url} ({type(error).__name__} while trying to {doing}). "
            f"Start the embedded server: {START_COMMAND}; or correct label_studio.url in al-loop.toml"
        ) from None
    except UnexpectedAnswerError as error:
        raise _not_label_studio(url, doing, str(error)) from None
    except sdk().core.ApiError as error:
        raise _error_of_status(url, error.status_code, error.body, doing) from None


def _error_of_status(url: str, status: int | None, body: object, doing: str) -> LabelStudioError:
    """Return the error for an answer with a status that means failure."""
    reason = f"({status}: {_server_reason(body)}) while trying to {doing}"
    if status in (401, 403):
        return UnauthorizedError(
            f"Label Studio at {url} refuses the token {reason}. Create a new one in Label Studio under "
            f"Account & Settings, Access token. For the embedded server, restore it: {START_COMMAND}"
        )
    if status == 404 and isinstance(body, Mapping):
        return NotFoundError(f"Label Studio at {url} does not have this {reason}")
    if status is not None and 300 <= status < 400:
        return LabelStudioError(
            f"{url} redirects elsewhere, and the token is not sent there. "
            "Set label_studio.url in al-loop.toml to the final address"
        )
    if status is not None and status >= 500:
        return ServerFaultError(
            f"Label Studio at {url} failed {reason}. Read its log. Nothing is lost: run the command again"
        )
    if not isinstance(body, Mapping):
        return _not_label_studio(url, doing, f"status {status}")
    return LabelStudioError(f"Label Studio at {url} rejects the request {reason}")


def _not_label_studio(url: str, doing: str, why: str) -> LabelStudioError:
    return LabelStudioError(
        f"the server at {url} does not answer like Label Studio (while trying to {doing}: {why}). "
        "Check the address and any proxy"
    )


def sdk() -> Any:
    """Return the SDK. Its import takes more than a second."""
    with sdk_warnings_off():
        import label_studio_sdk
    return label_studio_sdk


@contextmanager
def sdk_warnings_off() -> Iterator[None]:
    """Suppress deprecation warnings of the SDK, which its import and every token exchange emit."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="label_studio_sdk")
        yield


def _server_reason(body: object) -> str:
    """Return the server's reason for a failure, without the rest of its answer."""
    if not isinstance(body, Mapping):
        return "no detail"
    parts = [str(body.get("detail", "no detail"))]
    errors = body.get("validation_errors")
    if isinstance(errors, Mapping):
        lists = {name: texts for name, texts in errors.items() if isinstance(texts, list)}
        parts += [f"{name}: {' '.join(map(str, texts))}" for name, texts in lists.items()]
    return printable("; ".join(parts)[:500])
