"""JSON answers of the server, checked for the fields that al-loop reads. Other fields are kept."""

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


class StrangeAnswerError(Exception):
    """The answer is not JSON of the expected shape; the message says where."""


def read_answer(content: bytes, shape: Any = Any) -> Any:
    """Return the JSON of an answer; raise StrangeAnswerError if it does not have the given type.

    A lone surrogate, left where a text was cut, becomes a question mark: no file and no database accepts it.
    """
    try:
        answer = json.loads(content)
        if b"\\ud" in content or b"\\uD" in content:
            answer = json.loads(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))
        msgspec.convert(answer, shape)
        return answer
    except msgspec.ValidationError as error:
        raise StrangeAnswerError(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise StrangeAnswerError(f"invalid JSON: {type(error).__name__}") from None
