"""The errors a user can see.

AlLoopError
├── ConfigError        al-loop.toml is wrong, or a command's arguments are
├── WorkspaceError     no workspace, a newer one, a damaged one
│   └── LockedError    another process holds the workspace
├── DataError          images or annotations that cannot be used
├── ModelError         a checkpoint or model config that cannot be used
├── TrainingError      a training that went wrong (non-finite loss, nothing to learn from)
├── LabelStudioError   the labelling server: unreachable, refused us, or holds what we cannot read
├── RenderingError     the renderer stopped
└── ClusterError       a Ray cluster that cannot be reached, or whose nodes cannot be used or were lost

A message gives expected, actual and the next command to type. The command line prints it without a
traceback and exits with status 1.
"""


class AlLoopError(Exception):
    """Base of all errors for a user to read."""


class ConfigError(AlLoopError):
    """A setting or an argument is not usable."""


class WorkspaceError(AlLoopError):
    """The workspace is missing, damaged, or from another version."""


class LockedError(WorkspaceError):
    """Another process holds the workspace."""


class DataError(AlLoopError):
    """Images or annotations cannot be used."""


class ModelError(AlLoopError):
    """A checkpoint or a model config cannot be used."""


class TrainingError(AlLoopError):
    """A training went wrong."""


class LabelStudioError(AlLoopError):
    """The labelling server cannot be used."""


class RenderingError(AlLoopError):
    """The renderer stopped."""


class ClusterError(AlLoopError):
    """A Ray cluster cannot be used, or was lost."""
