"""What a server's answers must look like to be read; any other is one error, wherever it would be met.

An answer is plain JSON. Only what al-loop reads of it is described here; the rest of it is kept as it is.
"""

from __future__ import annotations

from typing import Any, TypedDict

import msgspec

Json = dict[str, Any]


class Task(TypedDict):
    """A task, as the lists have it."""

    id: int
    data: Json


class Page(TypedDict):
    """One page of a list of tasks. total: how many there are, on all pages together."""

    tasks: list[Task]
    total: int


class Project(TypedDict):
    """A project."""

    id: int
    title: str | None
    label_config: str


class Projects(TypedDict):
    """A page of projects."""

    results: list[Project]


class Made(TypedDict):
    """What was made: the server's number of it."""

    id: int


class User(TypedDict):
    """A person."""

    id: int
    email: str


class Folder(TypedDict):
    """A storage of files of the server's machine."""

    id: int
    path: str | None


class Bucket(TypedDict):
    """A storage in a bucket."""

    id: int
    bucket: str | None
    prefix: str | None


class File(TypedDict):
    """An uploaded file."""

    file: str


class Invitation(TypedDict):
    """What people sign up with."""

    token: str


class StrangeAnswerError(Exception):
    """An answer that is not of the shape it must have; the message says where."""


def checked(answer: Any, shape: Any) -> Any:
    """Return a decoded answer as it is; StrangeAnswerError where it is not of that shape, a type of this module."""
    try:
        msgspec.convert(answer, shape)
    except (msgspec.ValidationError, RecursionError) as error:
        raise StrangeAnswerError(str(error)) from None
    return answer
