"""The worker process: reads scenes from stdin, renders them, commits the images and answers on stdout.

Every request and every answer is one line of JSON:

{"out": folder, "threads": n}                     the first request
{"ready": bpy version} or {"missing": reason}     its answer
{"spec": SceneSpec, "views": [image indices]}     every further request
{"done": scene, "rss_mb": memory}                 the scene is rendered
{"failed": scene, "reason": text}                 the scene cannot be rendered
{"unwritable": text}                              the folder cannot be written

The worker ends when stdin ends: after its parent dies it finishes at most the current image.
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
    """Render scenes until stdin ends."""
    answer_stream = _claim_stdout()
    _die_with_parent()
    setup = json.loads(sys.stdin.readline() or "null")
    if setup is None:
        return
    try:
        import bpy
    except ImportError as error:
        _answer(answer_stream, {"missing": str(error)})
        return
    from render.worker.renderer import SceneRenderer

    renderer = SceneRenderer(Path(setup["out"]), setup["threads"])
    _answer(answer_stream, {"ready": str(bpy.app.version_string)})
    for line in sys.stdin:
        message = json.loads(line)
        spec = msgspec.convert(message["spec"], SceneSpec)
        try:
            renderer.render_scene(spec, frozenset(message["views"]))
        except DatasetError as error:
            _answer(answer_stream, {"unwritable": str(error)})
        except Exception:
            # Report any error together with its scene, and continue with the next scene.
            _answer(answer_stream, {"failed": spec.index, "reason": traceback.format_exc()})
        else:
            _answer(answer_stream, {"done": spec.index, "rss_mb": _resident_mb()})


def _claim_stdout() -> IO[str]:
    """Return a stream for answers; redirect fd 1, to which Blender prints, to stderr, which is the log."""
    answer_stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answer_stream


def _die_with_parent() -> None:
    """On Linux, let the kernel kill this process as soon as its parent dies (prctl(2))."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _resident_mb() -> float:
    """Return the resident memory of this process in MB; 0 if the system does not report it."""
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
