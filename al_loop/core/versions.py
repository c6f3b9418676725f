"""Installed versions of al-loop and of the packages it computes with."""

from __future__ import annotations

import platform
from collections.abc import Sequence

__version__ = "0.1.0"

_PACKAGES = (
    "al-loop",
    "torch",
    "torchvision",
    "mmdet",
    "mmengine",
    "numpy",
    "scikit-learn",
    "label-studio-sdk",
)


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str | None]:
    """Return the versions of Python and of packages, None for those not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None
