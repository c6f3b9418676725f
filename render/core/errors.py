"""What can go wrong, as a tree with one base.

RenderError
├── RecipeError          the recipe cannot be read or holds a wrong key or value
├── AssetError           a mesh, picture folder or lamp file of the recipe is missing, broken or nonsense
├── PictureError         a file that holds no picture, or none that can be used
├── DatasetError         the output folder belongs to another dataset, or cannot be written
└── WorkerError          the process that holds Blender failed
    ├── BlenderMissingError   its Python has no bpy
    └── WorkerCrashedError    it died, or went silent, again and again
"""

from __future__ import annotations


class RenderError(Exception):
    """Base of every error this package raises; the message says what to do next."""


class RecipeError(RenderError):
    """The recipe cannot be read, or a key or value in it is wrong."""


class AssetError(RenderError):
    """A file or folder that the recipe names is missing, cannot be read, or holds nothing of use."""


class PictureError(RenderError):
    """A file holds no picture that can be used; the message goes after the file's name: "is damaged ..."."""


class DatasetError(RenderError):
    """The output folder does not fit what was asked."""


class WorkerError(RenderError):
    """The process that holds Blender failed."""


class BlenderMissingError(WorkerError):
    """The worker's Python cannot import bpy."""

    @classmethod
    def of(cls, python: str, reason: str, task: str = "") -> BlenderMissingError:
        """Say what was needed, for which task, and how to get it."""
        return cls(
            f"expected a Python with Blender's module bpy 4.5 and what else al-loop needs{task}, "
            f"got {python}: {reason}; "
            "bpy has wheels for Python 3.11 only: install al-loop there, or into one that has the rest "
            "`python3.11 -m pip install 'bpy>=4.5,<4.6'`; or name a Python that has both: --python PATH"
        )


class WorkerCrashedError(WorkerError):
    """The worker died or went silent on scene after scene."""
