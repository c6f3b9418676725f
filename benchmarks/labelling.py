"""A push of 1000 tasks beside one raw import of the same tasks, on the real server.

    .venv/bin/python benchmarks/labelling.py [--tasks 1000] [--rounds 5]

The raw import is one request of the SDK with the same tasks, boxes included, into an empty project: no image is put where the
server can show it, nothing is checked, nobody gets a queue. A push does all of that: hard links, one image asked for, what is
there listed, tasks imported in pieces, listed again, tab made. A repeated push finds everything there. The two take turns,
and each round has projects of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# A script's folder comes first on the path, and it holds a render.py.
sys.path.remove(str(Path(__file__).parent))

import numpy as np
from PIL import Image

from al_loop.labelling.client.image_serving import LocalFiles
from al_loop.labelling.client.task import OutgoingTask
from al_loop.labelling.server import server
from al_loop.labelling.tasks.convert import to_prediction
from al_loop.labelling.tasks.project import ensure_project
from al_loop.labelling.tasks.push import batch_filter, push, to_task
from al_loop.structures.boxes import Boxes

CLASSES = ("scratch", "dent", "stain")
BOXES = 5


def make_tasks(folder: Path, count: int) -> list[OutgoingTask]:
    """Tasks with an image file each, and five boxes of a model."""
    rng = np.random.default_rng(0)
    tasks = []
    for rank in range(count):
        path = folder / f"{rank:05}.png"
        Image.fromarray(rng.integers(0, 255, (18, 32, 3), dtype=np.uint8)).save(path)
        low = rng.uniform(0, [20, 10], (BOXES, 2))
        boxes = Boxes(np.hstack([low, low + 5]), rng.integers(0, 3, BOXES), rng.uniform(0.3, 1, BOXES))
        tasks.append(
            OutgoingTask(
                f"c1/{rank}", f"{rank:064x}", path, path.name, 32, 18, boxes, 1.0, rank, "margin 0.1"
            )
        )
    return tasks


def seconds(what: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "label-studio"
        connection = server.start(home).connection
        try:
            images = LocalFiles(server.media_root(home))
            tasks = make_tasks(Path(folder), args.tasks)
            raw_s, push_s, again_s = [], [], []
            for number in range(-1, args.rounds):  # the first round warms the server up and does not count
                raw, ours = (
                    ensure_project(connection, f"{name} {number}", CLASSES) for name in ("raw", "push")
                )
                body = [
                    to_task(t, "c1", f"/data/{t.file_name}", to_prediction(t, CLASSES, "m1")) for t in tasks
                ]

                def send(project: int = ours) -> None:
                    push(
                        connection, project, "c1", tasks,
                        model_version="m1", classes=CLASSES, images=images, title="Cycle 1",
                    )  # fmt: skip

                with connection.open() as api:
                    first = seconds(lambda: api.import_tasks(raw, body))  # noqa: B023
                    there = api.tasks(raw, batch_filter("c1"), whole=False)
                second, third = seconds(send), seconds(send)
                with connection.open() as api:
                    pushed = api.tasks(ours, batch_filter("c1"), whole=False)
                assert len(there) == len(pushed) == len({t["data"]["al_key"] for t in pushed}) == args.tasks
                if number >= 0:
                    raw_s.append(first), push_s.append(second), again_s.append(third)
                print(
                    f"round {number}: raw {first:.2f} s, push {second:.2f} s, again {third:.2f} s", flush=True
                )
        finally:
            server.stop(home)
    for name, times in (("push", push_s), ("repeated push", again_s)):
        ratio = np.array(times) / np.array(raw_s)
        print(
            f"{name} of {args.tasks} tasks: {np.median(times):.2f} s, {np.median(ratio):.2f} times one raw import "
            f"({ratio.min():.2f} to {ratio.max():.2f} in {args.rounds} rounds)"
        )


if __name__ == "__main__":
    main()
