"""Installed versions of al-loop and of the packages it computes with."""

from __future__ import annotations

import platform
from collections.abc import Sequence

__version__ = "0.1.0"

_PACKAGES = (
    "al-loop", "torch", "torchvision", "mmdet", "mmengine", "numpy", "scikit-learn", "label-studio-sdk",
)  # fmt: skip


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str | None]:
    """Return the versions of Python and of packages, None for those not installed."""
    from importlib.metadata import PackageNotFoundError, version

    installed: dict[str, str | None] = {"python": platform.python_version()}
    for name in packages:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = None
    return installed
