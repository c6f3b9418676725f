"""The process that holds Blender; the only place that imports bpy."""

import os
import sys
from typing import NoReturn


def leave(status: int = 0) -> NoReturn:
    """End this process without Blender's destructors: they may wait for ever for a thread that has gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
