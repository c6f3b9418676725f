"""The worker: reads scenes from stdin, a JSON line each, renders and commits them, answers with a JSON line.

First line in: {"out": folder, "threads": n}; first answer: {"ready": bpy version} or {"missing": reason}.
Then {"spec": SceneSpec} is answered by {"done": index}, {"failed": index, "reason": text} or, when the disk
rather than the scene is at fault, {"unwritable": text}.
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

from render import labels, sensor
from render.errors import DatasetError
from render.spec import SceneSpec
from render.writers import Record, commit


def main() -> None:
    """Run until stdin ends."""
    answers = _claim_stdout()
    _die_with_parent()
    setup = json.loads(sys.stdin.readline() or "null")
    if setup is None:
        return
    try:
        studio = Studio(Path(setup["out"]), setup["threads"])
    except ImportError as error:
        _answer(answers, {"missing": str(error)})
        return
    _answer(answers, {"ready": studio.version})
    for line in sys.stdin:
        spec = msgspec.convert(json.loads(line)["spec"], SceneSpec)
        try:
            studio.make(spec)
        except DatasetError as error:
            _answer(answers, {"unwritable": str(error)})
        except Exception:
            # Whatever a scene breaks is reported with the scene; the next one gets its chance.
            _answer(answers, {"failed": spec.index, "reason": traceback.format_exc()})
        else:
            _answer(answers, {"done": spec.index})


class Studio:
    """Blender, ready to make images into one dataset folder; raises ImportError without bpy."""

    def __init__(self, out: Path, threads: int) -> None:
        """Import Blender and set up the stage."""
        import bpy  # its absence is reported, not a crash

        from render.worker.passes import configure
        from render.worker.scene import Stage

        self.version = str(bpy.app.version_string)
        self._out = out
        self._stage = Stage()
        configure(self._stage.scene, threads)

    def make(self, spec: SceneSpec) -> None:
        """Render, label, expose and commit one image."""
        from render.worker.passes import shoot

        self._stage.set(spec)
        light, mask = shoot(self._stage.scene, spec)
        pixels = sensor.expose(light, spec.sensor)
        picture = sensor.to_bytes(pixels, spec.format, spec.sensor.jpeg_quality)
        found = labels.boxes(mask, spec)
        record = Record(
            spec.index, spec.seed, "done", spec.width, spec.height, boxes=found, unplaced=spec.unplaced
        )
        commit(self._out, record, picture)


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


def _answer(stream: IO[str], message: dict[str, Any]) -> None:
    stream.write(json.dumps(message) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
