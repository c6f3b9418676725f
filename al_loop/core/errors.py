"""The errors that a user can see.

A message gives expected, actual and the next command to type. The command line prints it without a traceback
and exits with status 1.
"""


class AlLoopError(Exception):
    """Base of all errors for a user to read."""


class ConfigError(AlLoopError):
    """al-loop.toml is wrong, or a command's arguments are."""


class WorkspaceError(AlLoopError):
    """The workspace is missing, damaged, or from a newer version."""


class LockedError(WorkspaceError):
    """Another process holds the workspace."""


class DataError(AlLoopError):
    """Images or annotations cannot be used."""


class ModelError(AlLoopError):
    """A checkpoint or a model config cannot be used."""


class TrainingError(AlLoopError):
    """A training failed: its loss is not finite, or there is nothing to learn from."""


class LabelStudioError(AlLoopError):
    """The labelling server is unreachable, refuses requests, or sends what cannot be read."""


class RenderingError(AlLoopError):
    """The renderer stopped."""


class ClusterError(AlLoopError):
    """A Ray cluster or its nodes cannot be used, or were lost."""


def first_line(error: object) -> str:
    """Return the first line of an error's text, or its type where it has none; at most 200 characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
