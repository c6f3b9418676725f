"""The process that runs Blender; only this folder imports bpy."""

import os
import sys
from typing import NoReturn


def leave(status: int = 0) -> NoReturn:
    """End this process without Blender's destructors, which may wait for ever for a thread that has ended."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
