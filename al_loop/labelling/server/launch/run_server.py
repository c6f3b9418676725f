"""Run Label Studio with cookies named after the workspace.

Run by the server's own Python and by nothing else, from a folder that holds no other module: a script's
folder is on its path. A browser sends the cookies of a host to all its ports. Under the names that Django
gives them, who logs in on the server of one workspace would be logged out on that of another.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module


def main() -> int:
    """Name the cookies, and do what the program `label-studio` does."""
    mark = os.environ["AL_LOOP_COOKIES"]
    defaults = import_module("django.conf.global_settings")  # Label Studio's settings name no cookie
    vars(defaults).update(SESSION_COOKIE_NAME=f"sessionid-{mark}", CSRF_COOKIE_NAME=f"csrftoken-{mark}")
    return int(import_module("label_studio.server").main() or 0)


if __name__ == "__main__":
    sys.exit(main())
