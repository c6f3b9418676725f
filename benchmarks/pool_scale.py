"""Pools of ten thousand to a million images: what each step of the loop costs, in seconds and memory.

    .venv/bin/python benchmarks/pool_scale.py [--images 10000,100000,1000000] [--width 256] [--work FOLDER]
    .venv/bin/python benchmarks/pool_scale.py --files 10000 [--relist 1000000] [--score]

The first writes rows and scores without pixels, which none of these steps looks at, and measures each step in a process of
its own: seconds, and memory at its most above that of a process that has imported the same.
The second adds real small JPEGs by `al-loop pool add` (wall and processor seconds), again, and again after --relist known
files; with --score also scores them by a small model with random weights, and selects.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

# A script's folder comes first on the path, and it holds a render.py.
sys.path.remove(str(Path(__file__).parent))

import numpy as np
from PIL import Image

from al_loop.core.console import Silent
from al_loop.images import repository
from al_loop.loop.cycle_record import begin_cycle, open_cycle
from al_loop.loop.pool_scoring import score_candidates, summarise_labels
from al_loop.loop.stages import score_stage, select_picks
from al_loop.report.write import write_report
from al_loop.state import model_registry
from al_loop.state.prediction_store import ShardStore
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace, init_workspace, now, open_workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import Prediction
from al_loop.structures.metrics import Metrics
from al_loop.structures.picks import Pick
from strategies import Ids

CLASSES = tuple("abcdef")
SHARD, BOXES, K, LABELLED = 2048, 6, 25, 100


def image_id(number: int) -> str:
    return hashlib.sha256(number.to_bytes(8, "little")).hexdigest()


def fill(workspace: Workspace, n: int, width: int) -> tuple[float, float]:
    """A pool of n rows, some labelled, and a model that has scored all of them; seconds of rows and of scores."""
    store = workspace.store
    began = time.perf_counter()
    with store.transaction():
        store.connection.executemany(
            "INSERT INTO images VALUES (?, ?, ?, 640, 360, ?, 'pool', ?, ?)",
            (
                (i, f"images/{i[:2]}/{i}.jpg", i, f"/line3/2026/{number:08d}.jpg", now(), number + 1)
                for number in range(n)
                for i in [image_id(number)]
            ),
        )
        store.connection.executemany(
            "INSERT INTO labels (image_id, status, boxes, cycle, annotator, lead_time_s, updated_at, outlines) "
            "VALUES (?, 'labelled', '[[1, 1, 9, 9, 0]]', 0, NULL, 9.0, ?, NULL)",
            ((image_id(number), now()) for number in range(LABELLED)),
        )
    rows = time.perf_counter() - began
    validation = image_id(n)
    store.execute(
        "INSERT INTO images VALUES (?, 'images/val.jpg', ?, 640, 360, 'val.jpg', 'validation', ?, ?)",
        *(validation, validation, now(), n + 1),
    )
    store.execute("INSERT INTO labels (image_id, status, boxes, cycle, annotator, lead_time_s, updated_at, outlines) "
        "VALUES (?, 'labelled', '[[1, 1, 9, 9, 0]]', NULL, NULL, NULL, ?, NULL)",
                  validation, now())  # fmt: skip
    store.execute("INSERT INTO sets VALUES ('validation', ?)", validation)
    model_registry.promote(
        workspace, model_registry.register_model(workspace, "m0", "pretrain", "0" * 64, None, None), ""
    )
    model_registry.save_metrics(workspace, "m0", "v", Metrics(0.5, 0.5, 0.5, {}, 1, 1))
    began = time.perf_counter()
    append(workspace, range(n), width)
    return rows, time.perf_counter() - began


def append(workspace: Workspace, numbers: range, width: int) -> None:
    """Made-up scores, as a model on CLASSES gives them: some images show nothing."""
    rng = np.random.default_rng(numbers.start)
    store = ShardStore(workspace.scores_dir(ScoreKey.of(workspace.config, "m0")))
    centres = rng.normal(size=(40, width)).astype(np.float32)
    for start in range(numbers.start, numbers.stop, SHARD):
        part = range(start, min(start + SHARD, numbers.stop))
        counts = np.where(rng.random(len(part)) < 0.05, 0, rng.integers(1, 2 * BOXES, len(part)))
        m = int(counts.sum())
        shares = rng.random((m, len(CLASSES) + 1), dtype=np.float32) ** 4
        shares /= shares.sum(axis=1, keepdims=True)
        corners = rng.uniform(0, 300, (m, 2))
        xyxy = np.concatenate([corners, corners + 30], axis=1)
        labels = shares[:, :-1].argmax(axis=1)
        scores = shares[np.arange(m), labels].astype(np.float64)
        seen = centres[rng.integers(0, 40, len(part))] + rng.normal(size=(len(part), width)).astype(
            np.float32
        )
        ends = np.cumsum(counts)
        store.append(
            [
                Prediction(
                    image_id(number), Boxes(xyxy[rows], labels[rows], scores[rows]), shares[rows], seen[i]
                )
                for i, number in enumerate(part)
                for rows in [slice(ends[i] - counts[i], ends[i])]
            ]
        )


def begin(workspace: Workspace) -> None:
    """What `al-loop cycle` does first: freeze the pool and the settings."""
    begin_cycle(workspace, K, Silent())


def score_known(workspace: Workspace) -> None:
    """The stage that scores, where all is scored already; every byte of the scores is checked."""
    cycle = open_cycle(workspace, None, Silent())
    assert cycle is not None
    score_stage(workspace, cycle, Silent(), None)


def check(workspace: Workspace) -> None:
    """Whether every byte of the scores is what was written."""
    assert ShardStore(workspace.scores_dir(ScoreKey.of(workspace.config, "m0"))).forget_damaged() == 0


def select(workspace: Workspace) -> list[Pick]:
    """The stage that selects: scores mapped, candidates ranked and clustered."""
    cycle = open_cycle(workspace, None, Silent())
    assert cycle is not None
    return select_picks(workspace, cycle, summarise_labels(repository.labelled(workspace), len(CLASSES)))


def report(workspace: Workspace) -> None:
    write_report(workspace, workspace.root / "report.html")


STEPS: dict[str, Callable[[Workspace], object]] = {
    "begin": begin, "score, all known": score_known, "check of scores": check, "select": select, "report": report,
}  # fmt: skip


class Watch:
    """The most memory of this process while it is entered, above what it had: its own, and mapped files, MiB."""

    def __enter__(self) -> Watch:
        self._first = self._most = _memory()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def above(self) -> list[float]:
        return [most - first for most, first in zip(self._most, self._first, strict=True)]

    def _look(self) -> None:
        while not self._stop.wait(0.005):
            self._most = [max(pair) for pair in zip(self._most, _memory(), strict=True)]


def _memory() -> list[float]:
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return [int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")]


def step(name: str, folder: Path) -> None:
    """Run one step in this process and say what it took; the imports come first."""
    import sklearn.cluster  # noqa: F401 (part of every selection)

    workspace = open_workspace(folder)
    with Watch() as watch:
        began = time.perf_counter()
        found = STEPS[name](workspace)
        seconds = time.perf_counter() - began
    if name == "select":
        with workspace.store.transaction():
            for p in found:  # type: ignore[attr-defined]
                workspace.store.execute(
                    "INSERT OR IGNORE INTO picks VALUES (1, ?, ?, ?, ?, ?, 'selected', ?)",
                    *(p.rank, p.image_id, p.uncertainty, p.reason, p.image_id, int(p.audit)),
                )
                path = workspace.root / "images" / p.image_id[:2] / f"{p.image_id}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                jpeg(path, p.rank, (640, 360))
    print(json.dumps([seconds, *watch.above]))


def al_loop(*words: str) -> float:
    """Seconds of a whole command."""
    began = time.perf_counter()
    command = [str(Path(sys.executable).with_name("al-loop")), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def rows_and_scores(work: Path, n: int, width: int) -> None:
    folder = work / f"pool-{n}"
    workspace = init_workspace(folder, CLASSES)
    rows, scores = fill(workspace, n, width)
    workspace.store.close()
    size = sum(p.stat().st_size for p in workspace.scores_dir(ScoreKey.of(workspace.config, "m0")).iterdir())
    database = (folder / "al-loop.db").stat().st_size
    print(
        f"\n{n} images, embeddings of {width}: database {database / n:.0f} bytes an image, scores {size / n:.0f}"
    )
    print(f"  {'rows of the pool':20} {rows:8.2f} s   {1e6 * rows / n:8.1f} us an image")
    print(f"  {'scores, by shards':20} {scores:8.2f} s   {1e6 * scores / n:8.1f} us an image")
    for name in STEPS:
        command = [sys.executable, __file__, "--step", name, "--work", str(folder)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds, own, mapped = json.loads(out.splitlines()[-1])
        more = f"   {(folder / 'report.html').stat().st_size / 1e6:.2f} MB" if name == "report" else ""
        print(
            f"  {name:20} {seconds:8.2f} s   {own:8.0f} MiB, {mapped:5.0f} MiB of mapped files{more}",
            flush=True,
        )
    for words in (["status"], ["pool", "list"]):
        times = [al_loop("-w", str(folder), *words) for _ in range(5)]
        print(
            f"  {'al-loop ' + ' '.join(words):20} {statistics.median(times):8.2f} s   ({min(times):.2f} to {max(times):.2f})"
        )


def jpeg(path: Path, seed: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (size[1] // 16, size[0] // 16, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size).save(path, quality=85)


def timed_add(folder: Path, photographs: Path, n: int, said: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = al_loop("-w", str(folder), "pool", "add", str(photographs))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"  {said:34} {wall:7.2f} s, {cpu:7.2f} s of processors: {n / wall:9.0f} images/s, {n / cpu:9.0f} a core;"
          f" most memory of any so far {after.ru_maxrss / 1024:.0f} MiB", flush=True)  # fmt: skip


def real_files(work: Path, n: int, relist: int, *, score: bool) -> None:
    photographs, folder = work / "photographs", work / "real"
    photographs.mkdir()
    for number in range(n):
        jpeg(photographs / f"{number:07d}.jpg", number, (320, 180))
    kilobytes = sum(p.stat().st_size for p in photographs.iterdir()) / n / 1024
    print(f"\n{n} JPEGs of 320x180, {kilobytes:.1f} KiB each")
    workspace = init_workspace(folder, CLASSES)
    workspace.store.close()
    timed_add(folder, photographs, n, "al-loop pool add")
    timed_add(folder, photographs, n, "the same again")
    if relist:
        many = work / "known"
        links(photographs, many, relist)
        workspace = open_workspace(folder)
        remember(workspace, many)
        workspace.store.close()
        timed_add(folder, many, relist, f"again, {relist} known files")
    if score:
        scored(folder, n)


def links(source: Path, target: Path, count: int) -> None:
    """So many names of the files: only a listing is looked at where all are known."""
    files = sorted(source.iterdir())
    for number in range(count):
        place = target / f"{number // 10_000:04d}"
        if number % 10_000 == 0:
            place.mkdir(parents=True)
        os.link(files[number % len(files)], place / f"{number:08d}.jpg")


def remember(workspace: Workspace, folder: Path) -> None:
    """As `pool add` does when it has taken a file."""
    from al_loop.images.sources import files_at

    with workspace.store.transaction():
        workspace.store.connection.executemany(
            "INSERT INTO inbox VALUES (?, ?, ?, 'taken', '', ?)",
            ((seen.path, seen.size, seen.stamp, now()) for seen in files_at(str(folder))),
        )


def scored(folder: Path, n: int) -> None:
    """Score and select with a small model of random weights, in this process."""
    import torch

    from al_loop.core.files import file_sha256
    from al_loop.detector.checkpoint import write_weights
    from al_loop.detector.config.model_config import build_model, load_model_config
    from al_loop.detector.config.stored_config import write_config

    workspace = open_workspace(folder)
    torch.manual_seed(0)
    config = load_model_config("small", CLASSES, (320, 180))
    network = build_model(config)
    with torch.no_grad():
        network.roi_head.bbox_head.fc_cls.bias[-1] += 3
    home = workspace.model_dir("m0")
    home.mkdir(parents=True)
    write_weights(home / "weights.pth", network.state_dict())
    write_config(home, config)
    digest = file_sha256(home / "weights.pth")
    model = model_registry.register_model(workspace, "m0", "import", digest, None, None)
    ids, kept = (
        Ids.of(repository.unlabelled_ids(workspace)),
        partial(workspace.scores_dir, ScoreKey.of(workspace.config, "m0")),
    )

    def run(said: str, some: Ids) -> None:
        began = time.perf_counter()
        left_out = score_candidates(workspace, model, "dbal", some, kept, Silent())
        seconds = time.perf_counter() - began
        print(
            f"  {said:34} {seconds:7.2f} s, {len(some) / seconds:9.1f} images/s, {len(left_out)} left out",
            flush=True,
        )

    run(f"score {n - 1} of them", ids[:-1])
    run("score, one image is new", ids)
    run("score, all known", ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="10000,100000,1000000")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--files", type=int, default=0)
    parser.add_argument("--relist", type=int, default=0)
    parser.add_argument("--score", action="store_true")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--step", choices=STEPS)
    args = parser.parse_args()
    if args.step:
        step(args.step, args.work)
        return
    work = Path(tempfile.mkdtemp(prefix="al-loop-scale-", dir=args.work))
    try:
        if args.files:
            real_files(work, args.files, args.relist, score=args.score)
        else:
            for n in map(int, args.images.split(",")):
                rows_and_scores(work, n, args.width)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
