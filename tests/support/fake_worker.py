"""A worker that speaks the protocol of `render.worker.main` without Blender, and misbehaves on demand."""

from __future__ import annotations

import shlex
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

_PROGRAM = r'''
import hashlib, io, json, os, sys, time
from PIL import Image

HERE = __HERE__
LOG = HERE + "/requests"
ANSWERS = os.fdopen(os.dup(1), "w")

def say(message):
    ANSWERS.write(json.dumps(message) + "\n")
    ANSWERS.flush()

def write(path, data):
    with open(path + ".partial", "wb") as file:
        file.write(data)
    os.replace(path + ".partial", path)

def render(spec, image):
    """Draw a rectangle that depends on the image alone, labelled like the first labelled object."""
    w, h = spec["width"], spec["height"]
    thing = next(o for o in spec["objects"] if o.get("category"))
    side, x, y = 10 + image % 5, 3 + 7 * image % (w - 20), 2 + 5 * image % (h - 20)
    picture = Image.new("RGB", (w, h), (90 + image % 50, 100, 110))
    picture.paste((200, 40, 60), (x, y, x + side, y + 8))
    data = io.BytesIO()
    picture.save(data, "PNG" if spec["format"] == "png" else "JPEG")
    data = data.getvalue()
    name = f"{image:06d}." + ("png" if spec["format"] == "png" else "jpg")
    label = {
        "category": thing["category"], "bbox": [x, y, side, 8], "area": side * 8, "visible_fraction": 1.0,
        "truncation": 0.0, "amodal_bbox": [x, y, side, 8], "object_index": thing["index"],
    }
    if spec["labels"].get("masks", "none") != "none":
        import numpy as np
        from pycocotools import mask
        grid = np.zeros((h, w), np.uint8, order="F")
        grid[y : y + 8, x : x + side] = 1
        label["rle"] = mask.encode(grid)["counts"].decode()
    view = [v["index"] for v in spec["views"]].index(image)
    record = {
        "index": image, "scene": spec["index"], "view": view, "seed": spec["seed"], "status": "done",
        "width": w, "height": h, "file_name": name, "sha256": hashlib.sha256(data).hexdigest(),
        "annotations": [label],
    }
    write(f"{OUT}/images/{name}", data)
    write(f"{OUT}/records/{image:06d}.json", json.dumps(record).encode())

def skip(spec, image, reason):
    view = [v["index"] for v in spec["views"]].index(image)
    record = {
        "index": image, "scene": spec["index"], "view": view, "seed": spec["seed"], "status": "skipped",
        "width": spec["width"], "height": spec["height"], "reason": reason,
    }
    write(f"{OUT}/records/{image:06d}.json", json.dumps(record).encode())

def tries(scene):
    """Return how often this scene was requested, this time included."""
    return sum(line.split()[1] == str(scene) for line in open(LOG))

SAY_READY = {"ready": "fake"}
MEMORY_MB = 100.0
def behave(scene, spec, images): pass
__BEHAVE__

SETUP = json.loads(sys.stdin.readline())
OUT = SETUP["out"]
say(SAY_READY)
for line in sys.stdin:
    message = json.loads(line)
    spec, images = message["spec"], message["views"]
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    with open(LOG, "a") as log:
        log.write(f"{os.getpid()} {spec['index']} {','.join(map(str, images))} {SETUP['threads']} {cores}\n")
    if behave(spec["index"], spec, images) == "answered":
        continue
    for image in images:
        if not os.path.exists(f"{OUT}/records/{image:06d}.json"):
            render(spec, image)
    say({"done": spec["index"], "rss_mb": MEMORY_MB})
'''


class RenderRequest(NamedTuple):
    """A request that the worker was sent."""

    pid: int
    scene: int
    images: tuple[int, ...]
    threads: int
    cores: tuple[int, ...]


class FakeRenderWorker:
    """A program for `RenderOptions.python`.

    behave: Python source that may redefine `behave(scene, spec, images)`.
    """

    def __init__(self, folder: Path, behave: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        script, self._program = folder / "worker.py", folder / "python"
        self._log = folder / "requests"
        source = _PROGRAM.replace("__HERE__", repr(str(folder)))
        script.write_text(source.replace("__BEHAVE__", textwrap.dedent(behave)))
        self._program.write_text(
            f"#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(script))}\n"
        )
        self._program.chmod(0o755)

    @property
    def path(self) -> str:
        """The program to start."""
        return str(self._program)

    @property
    def requests(self) -> list[RenderRequest]:
        """Return all requests, in order, whichever of its processes they were sent to."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        rows = [line.split() for line in lines]
        return [
            RenderRequest(int(a), int(b), _numbers(images), int(threads), _numbers(cores))
            for a, b, images, threads, cores in rows
        ]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))
