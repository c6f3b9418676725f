"""Options of a rendering: which Python and machines render, and where the recipe's files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from render.core.errors import DatasetError

#: Default for the seconds that one image may take before its worker counts as hung.
IMAGE_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class RenderOptions:
    """How to render. None of the options changes a pixel or a label.

    python: interpreter that has bpy; None: the running one.
    threads: Cycles' threads per worker, >= 1; None: the worker's share of the cores.
    workers: number of worker processes, >= 1; None: 1 on this machine, one per node on a cluster.
    timeout_s: seconds that one image may take.
    ray: address of a Ray cluster; None: this machine.
    root: folder that the recipe's paths are relative to; None: the recipe's own folder.
    """

    python: str | None = None
    threads: int | None = None
    workers: int | None = None
    timeout_s: float = IMAGE_TIMEOUT_S
    ray: str | None = None
    root: Path | None = None

    def __post_init__(self) -> None:
        """Refuse counts below 1."""
        for name in ("threads", "workers"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise DatasetError(f"expected {name} >= 1, got {number}")
