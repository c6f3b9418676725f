"""Time of a push of 1000 tasks, compared with one raw import of the same tasks, on the real server.

    .venv/bin/python benchmarks/labelling.py [--tasks 1000] [--rounds 5]

The raw import is one request of the SDK with the same tasks and boxes into an empty project. It provides no
images, checks nothing, and makes no queue. A push does all of this: it makes hard links, requests one image,
lists existing tasks, imports tasks in pieces, lists them again, and makes a tab. A repeated push finds all
tasks. Both run alternately; each round has its own projects.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from measuring import ratios, seconds, spread
from PIL import Image

from al_loop.labelling.client.client import Connection
from al_loop.labelling.client.image_serving import LocalFiles
from al_loop.labelling.client.task import OutgoingTask
from al_loop.labelling.server import server
from al_loop.labelling.tasks.convert import to_prediction
from al_loop.labelling.tasks.project import ensure_project
from al_loop.labelling.tasks.push import Batch, batch_filter, push, to_task
from al_loop.structures.boxes import Boxes

CLASSES = ("scratch", "dent", "stain")
BOXES = 5


def make_tasks(folder: Path, count: int) -> list[OutgoingTask]:
    """Return tasks with an image file and five boxes each."""
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


def round_of(
    connection: Connection, number: int, tasks: list[OutgoingTask], send: Callable[..., object]
) -> list[float]:
    """Return the seconds of a raw import, a push and a repeated push."""
    raw, pushed = (ensure_project(connection, f"{name} {number}", CLASSES) for name in ("raw", "push"))
    body = [to_task(t, "c1", f"/data/{t.file_name}", to_prediction(t, CLASSES, "m1")) for t in tasks]
    with connection.open() as api:
        times = [seconds(partial(api.import_tasks, raw, body))]
    times += [seconds(partial(send, connection, pushed, Batch("c1", tasks, "m1"))) for _ in range(2)]
    with connection.open() as api:
        by_raw, by_push = (api.tasks(project, batch_filter("c1"), whole=False) for project in (raw, pushed))
    assert len(by_raw) == len(by_push) == len({t["data"]["al_key"] for t in by_push}) == len(tasks)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    times = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "label-studio"
        connection = server.start(home).connection
        try:
            tasks = make_tasks(Path(folder), args.tasks)
            images = LocalFiles(server.media_root(home))
            send = partial(push, classes=CLASSES, images=images)
            for number in range(-1, args.rounds):  # the first round warms the server up and does not count
                times.append(round_of(connection, number, tasks, send))
                raw, first, repeated = times[-1]
                print(
                    f"round {number}: raw {raw:.2f} s, push {first:.2f} s, repeated {repeated:.2f} s",
                    flush=True,
                )
        finally:
            server.stop(home)
    raw, *pushes = zip(*times[1:], strict=True)
    for name, seconds_of in zip(("push", "repeated push"), pushes, strict=True):
        factor = f"{spread(ratios(seconds_of, raw))} times one raw import"
        print(f"{name} of {args.tasks} tasks: {np.median(seconds_of):.2f} s, {factor}; {args.rounds} rounds")


if __name__ == "__main__":
    main()
