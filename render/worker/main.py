"""The worker: reads scenes from stdin, a JSON line each, renders and commits them, answers with a JSON line.

First line in: {"out": folder, "threads": n}; first answer: {"ready": bpy version} or {"missing": reason}.
Then {"spec": SceneSpec, "views": [image indices]} is answered by {"done": scene, "rss_mb": memory}, by
{"failed": scene, "reason": text} or, when the disk rather than the scene is at fault, {"unwritable": text}.
It ends when stdin does, so it never outlives its parent by more than the picture in hand.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import IO, Any

import msgspec

from render.core.errors import DatasetError
from render.core.spec import SceneSpec
from render.worker import leave


def main() -> None:
    """Run until stdin ends."""
    answers = _claim_stdout()
    _die_with_parent()
    setup = json.loads(sys.stdin.readline() or "null")
    if setup is None:
        return
    try:
        import bpy
    except ImportError as error:
        _answer(answers, {"missing": str(error)})
        return
    from render.worker.renderer import SceneRenderer

    studio = SceneRenderer(Path(setup["out"]), setup["threads"])
    _answer(answers, {"ready": str(bpy.app.version_string)})
    for line in sys.stdin:
        message = json.loads(line)
        spec = msgspec.convert(message["spec"], SceneSpec)
        try:
            studio.make(spec, frozenset(message["views"]))
        except DatasetError as error:
            _answer(answers, {"unwritable": str(error)})
        except Exception:
            # Whatever a scene breaks is reported with the scene; the next one gets its chance.
            _answer(answers, {"failed": spec.index, "reason": traceback.format_exc()})
        else:
            _answer(answers, {"done": spec.index, "rss_mb": _resident_mb()})


def _claim_stdout() -> IO[str]:
    """A stream of our own for answers; Blender's prints to fd 1 join stderr, which is the log."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _die_with_parent() -> None:
    """On Linux the kernel kills us with the parent, even in the middle of a picture (prctl(2))."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _resident_mb() -> float:
    """Memory in use now; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _answer(stream: IO[str], message: dict[str, Any]) -> None:
    stream.write(json.dumps(message) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
    leave()
