"""Types of the server's JSON answers. Only the fields that al-loop reads are checked; others are kept."""

from __future__ import annotations

import json
from typing import Any, NotRequired, TypedDict

import msgspec

Json = dict[str, Any]


class Item(TypedDict):
    """An object with an id."""

    id: int


class Task(Item):
    """A task in a list."""

    data: Json


class TaskPage(TypedDict):
    """A page of a task list; `total` counts the tasks of all pages."""

    tasks: list[Task]
    total: int


class Project(Item):
    """A project."""

    title: str | None
    label_config: str


class ProjectPage(TypedDict):
    """A page of a project list."""

    results: list[Project]


class User(Item):
    """A user."""

    email: str


class Storage(Item):
    """A storage of images: a folder of the server's machine, or a bucket."""

    path: NotRequired[str | None]
    bucket: NotRequired[str | None]
    prefix: NotRequired[str | None]


class UploadedFile(TypedDict):
    """An uploaded file."""

    file: str


class Invitation(TypedDict):
    """The token of an invitation link."""

    token: str


class UnexpectedAnswerError(Exception):
    """The answer is not JSON of the expected type; the message says where."""


def read_answer(content: bytes, shape: Any = Any) -> Any:
    """Return the JSON of an answer; raise UnexpectedAnswerError if it does not have the given type.

    An unpaired surrogate, as in a truncated text, becomes a question mark: files and databases refuse it.
    """
    try:
        answer = json.loads(content)
        if b"\\ud" in content or b"\\uD" in content:
            answer = json.loads(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))
        msgspec.convert(answer, shape)
        return answer
    except msgspec.ValidationError as error:
        raise UnexpectedAnswerError(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise UnexpectedAnswerError(f"invalid JSON: {type(error).__name__}") from None
