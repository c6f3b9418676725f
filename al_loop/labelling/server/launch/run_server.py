"""Run Label Studio with cookies named after the workspace.

The server's Python runs this script. Its folder contains no other modules, since Python adds the folder of a
script to its path. A browser sends the cookies of a host to all its ports: with Django's names, a login on
the server of one workspace would end the login on another.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module


def main() -> int:
    """Set the names of the cookies and run `label-studio`."""
    mark = os.environ["AL_LOOP_COOKIES"]
    defaults = import_module("django.conf.global_settings")  # Label Studio's settings do not name the cookies
    vars(defaults).update(SESSION_COOKIE_NAME=f"sessionid-{mark}", CSRF_COOKIE_NAME=f"csrftoken-{mark}")
    return int(import_module("label_studio.server").main() or 0)


if __name__ == "__main__":
    sys.exit(main())
