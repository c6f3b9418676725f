"""What can go wrong, as a tree with one base.

RenderError
├── RecipeError          the recipe cannot be read or holds a wrong key or value
├── DatasetError         the output folder belongs to another dataset, or cannot be written
└── WorkerError          the process that holds Blender failed
    ├── BlenderMissingError   its Python has no bpy
    └── WorkerCrashedError    it died, or went silent, again and again
"""


class RenderError(Exception):
    """Base of every error this package raises; the message says what to do next."""


class RecipeError(RenderError):
    """The recipe cannot be read, or a key or value in it is wrong."""


class DatasetError(RenderError):
    """The output folder does not fit what was asked."""


class WorkerError(RenderError):
    """The process that holds Blender failed."""


class BlenderMissingError(WorkerError):
    """The worker's Python cannot import bpy."""


class WorkerCrashedError(WorkerError):
    """The worker died or went silent on scene after scene."""
