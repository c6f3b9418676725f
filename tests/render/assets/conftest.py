"""A cache of meshes for each test, and a stand-in for the process that imports them."""

import stat
import sys

import pytest

from render.assets.meshcache import stored_surface

#: Answers as `render.worker.importing.importing` does. A file holds boxes, one a line: name, then three
#: lengths.
STAND_IN = """
import hashlib, json, os, sys, time
import numpy as np
CORNERS = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
TRIANGLES = np.array([t for a, b, c, d in QUADS for t in ((a, b, c), (a, c, d))])
for line in sys.stdin:
    asked = json.loads(line)
    open(LOG, "a").write(os.path.basename(asked["path"]) + "\\n")
    text = open(asked["path"]).read()
    if text.startswith("kill"):
        os.kill(os.getpid(), 9)
    if text.startswith("broken"):
        print(json.dumps({"refused": ["a mesh that Blender can import", "'not a mesh'"]}), flush=True)
        continue
    if text.startswith("refused"):
        print(json.dumps({"refused": ["a whole", "a half; export it again"]}), flush=True)
        continue
    if text.startswith("sleep"):
        time.sleep(60)
    beside = []
    if "refers" in text:  # to a file with the boxes
        name = text.strip('"}').split()[-1]
        text = open(os.path.join(os.path.dirname(asked["path"]), name)).read()
        beside = [(name, hashlib.sha256(text.encode()).hexdigest())]
    boxes = [line.split() for line in text.splitlines()]
    arrays = {}
    for number, (_, *sides) in enumerate(boxes):
        arrays[f"{number}.vertices"] = 7 + CORNERS * np.array(sides, float)
        arrays[f"{number}.triangles"] = TRIANGLES
    if boxes[0][0] == "dropped":
        arrays["landed"] = np.array([(0, 0, 1), (0, 0, 1), (0, 0, 1), (1, 0, 0)], float)
    np.savez(open(asked["out"], "wb"), **arrays)
    stated = [0.01, "y"] if asked["path"].endswith(".fbx") else None
    remarks = ["something is ignored"] if boxes[0][0] == "remarked" else []
    answer = {"objects": [name for name, *_ in boxes], "stated": stated}
    answer |= {"companions": beside, "remarks": remarks}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AL_LOOP_MESH_CACHE", str(tmp_path / "cache"))
    stored_surface.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def stand_in(tmp_path):
    """The path of a "Python" that runs the stand-in; `stand_in.asked()`: the files it was asked for."""

    class StandIn:
        python = str(tmp_path / "python")

        def asked(self):
            log = tmp_path / "asked"
            names = log.read_text().split() if log.exists() else []
            log.unlink(missing_ok=True)
            return names

    (tmp_path / "stand_in.py").write_text(f"LOG = {str(tmp_path / 'asked')!r}\n{STAND_IN}")
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path / "stand_in.py"}"\n')
    (tmp_path / "python").chmod(stat.S_IRWXU)
    return StandIn()
