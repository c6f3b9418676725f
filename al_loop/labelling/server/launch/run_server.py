"""Run Label Studio with cookies named after the workspace.

Run by the server's Python, from a folder without other modules, since a script's folder is on its path. A
browser sends the cookies of a host to all its ports: under Django's names, a login on the server of one
workspace would end that on another.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module


def main() -> int:
    """Name the cookies, and run `label-studio`."""
    mark = os.environ["AL_LOOP_COOKIES"]
    defaults = import_module("django.conf.global_settings")  # Label Studio's settings name no cookie
    vars(defaults).update(SESSION_COOKIE_NAME=f"sessionid-{mark}", CSRF_COOKIE_NAME=f"csrftoken-{mark}")
    return int(import_module("label_studio.server").main() or 0)


if __name__ == "__main__":
    sys.exit(main())
