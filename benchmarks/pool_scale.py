"""Cost of each step of the loop for pools of ten thousand to a million images: seconds and memory.

    .venv/bin/python benchmarks/pool_scale.py [--images 10000,100000,1000000] [--width 256] [--work FOLDER]
    .venv/bin/python benchmarks/pool_scale.py --files 10000 [--relist 1000000] [--score]

The first writes rows and scores without images, which none of these steps reads. It measures each step in a
process of its own: seconds, and peak memory above that after the imports.
The second adds small JPEGs by `al-loop pool add` (wall and processor seconds), then again, and again after
--relist known files. With --score it also scores them with a small model of random weights, and selects.
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
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from measuring import PeakMemory, random_model, seconds
from PIL import Image

from al_loop.core.console import Silent
from al_loop.images import repository
from al_loop.loop.cycle_record import begin_cycle, open_cycle
from al_loop.loop.pool_scoring import StrategyScores, score_candidates, summarise_labels, unscored
from al_loop.loop.selection_stages import score_stage, select_picks
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
    """Write a pool of n rows, some labelled, and a model's scores; return seconds of rows and of scores."""
    began = time.perf_counter()
    with workspace.store.transaction():
        write_images(workspace, "pool", range(n))
        write_labels(workspace, range(LABELLED), cycle=0)
    rows = time.perf_counter() - began
    write_images(workspace, "validation", [n])
    write_labels(workspace, [n], cycle=None)
    workspace.store.execute("INSERT INTO sets VALUES ('validation', ?)", image_id(n))
    model = model_registry.register_model(workspace, "m0", "pretrain", "0" * 64, None, None)
    model_registry.promote(workspace, model, "")
    model_registry.save_metrics(workspace, "m0", "v", Metrics(0.5, 0.5, 0.5, {}, 1, 1))
    return rows, seconds(lambda: append(workspace, range(n), width))


def write_images(workspace: Workspace, role: str, numbers: Sequence[int]) -> None:
    workspace.store.connection.executemany(
        "INSERT INTO images VALUES (?, ?, ?, 640, 360, ?, ?, ?, ?)",
        (
            (i, f"images/{i[:2]}/{i}.jpg", i, f"/line3/2026/{n:08d}.jpg", role, now(), n + 1)
            for n in numbers
            for i in [image_id(n)]
        ),
    )


def write_labels(workspace: Workspace, numbers: Sequence[int], cycle: int | None) -> None:
    workspace.store.connection.executemany(
        "INSERT INTO labels (image_id, status, boxes, cycle, annotator, lead_time_s, updated_at, outlines) "
        "VALUES (?, 'labelled', '[[1, 1, 9, 9, 0]]', ?, NULL, 9.0, ?, NULL)",
        ((image_id(n), cycle, now()) for n in numbers),
    )


def append(workspace: Workspace, numbers: range, width: int) -> None:
    """Append synthetic scores of a model for CLASSES; some images have no detections."""
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
        noise = rng.normal(size=(len(part), width)).astype(np.float32)
        embeddings = centres[rng.integers(0, 40, len(part))] + noise
        ends = np.cumsum(counts)
        predictions = []
        for i, number in enumerate(part):
            rows = slice(ends[i] - counts[i], ends[i])
            boxes = Boxes(xyxy[rows], labels[rows], scores[rows])
            vectors = {"embedding": embeddings[i], "maxima": embeddings[i]}
            predictions.append(Prediction(image_id(number), boxes, shares[rows], **vectors))
        store.append(predictions)


def begin(workspace: Workspace) -> None:
    """Freeze the pool and the settings, as `al-loop cycle` does first."""
    begin_cycle(workspace, K, Silent())


def score_known(workspace: Workspace) -> None:
    """Run the scoring stage when all images are scored; it checks every byte of the scores."""
    cycle = open_cycle(workspace, None, Silent())
    assert cycle is not None
    score_stage(workspace, cycle, Silent(), None)


def check(workspace: Workspace) -> None:
    """Check every byte of the scores."""
    assert ShardStore(workspace.scores_dir(ScoreKey.of(workspace.config, "m0"))).forget_damaged() == 0


def select(workspace: Workspace) -> list[Pick]:
    """Run the selection: map scores, rank and cluster candidates."""
    cycle = open_cycle(workspace, None, Silent())
    assert cycle is not None
    return select_picks(workspace, cycle, summarise_labels(repository.labelled(workspace), len(CLASSES)))


def report(workspace: Workspace) -> None:
    write_report(workspace, workspace.root / "report.html")


STEPS: dict[str, Callable[[Workspace], object]] = {
    "begin": begin,
    "score, all known": score_known,
    "check of scores": check,
    "select": select,
    "report": report,
}


def step(name: str, folder: Path) -> None:
    """Run one step in this process and print what it took; the imports come first."""
    import sklearn.cluster  # noqa: F401 (part of every selection)

    workspace = open_workspace(folder)
    with PeakMemory() as memory:
        began = time.perf_counter()
        picks = STEPS[name](workspace)
        took = time.perf_counter() - began
    if name == "select":
        with workspace.store.transaction():
            for p in picks:  # type: ignore[attr-defined]
                workspace.store.execute(
                    "INSERT OR IGNORE INTO picks VALUES (1, ?, ?, ?, ?, ?, 'selected', ?)",
                    *(p.rank, p.image_id, p.uncertainty, p.reason, p.image_id, int(p.audit)),
                )
                path = workspace.root / "images" / p.image_id[:2] / f"{p.image_id}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_jpeg(path, p.rank, (640, 360))
    print(json.dumps([took, memory.own, memory.files]))


def al_loop(*words: str) -> float:
    """Return the seconds of a command."""
    command = [str(Path(sys.executable).with_name("al-loop")), *words]
    return seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))


def rows_and_scores(work: Path, n: int, width: int) -> None:
    folder = work / f"pool-{n}"
    workspace = init_workspace(folder, CLASSES)
    rows, scores = fill(workspace, n, width)
    workspace.store.close()
    size = sum(p.stat().st_size for p in workspace.scores_dir(ScoreKey.of(workspace.config, "m0")).iterdir())
    database = (folder / "al-loop.db").stat().st_size
    bytes_each = f"database {database / n:.0f}, scores {size / n:.0f}"
    print(f"\n{n} images, embeddings of {width}; bytes per image: {bytes_each}")
    print(f"  {'rows of the pool':20} {rows:8.2f} s   {1e6 * rows / n:8.1f} us per image")
    print(f"  {'scores, by shards':20} {scores:8.2f} s   {1e6 * scores / n:8.1f} us per image")
    for name in STEPS:
        command = [sys.executable, __file__, "--step", name, "--work", str(folder)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        took, own, files = json.loads(out.splitlines()[-1])
        more = f"   {(folder / 'report.html').stat().st_size / 1e6:.2f} MB" if name == "report" else ""
        print(
            f"  {name:20} {took:8.2f} s   {own:8.0f} MiB, {files:5.0f} MiB of mapped files{more}", flush=True
        )
    for words in (["status"], ["pool", "list"]):
        times = [al_loop("-w", str(folder), *words) for _ in range(5)]
        command = f"al-loop {' '.join(words)}"
        print(f"  {command:20} {statistics.median(times):8.2f} s   ({min(times):.2f} to {max(times):.2f})")


def write_jpeg(path: Path, seed: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (size[1] // 16, size[0] // 16, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size).save(path, quality=85)


def print_add(folder: Path, photographs: Path, n: int, what: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = al_loop("-w", str(folder), "pool", "add", str(photographs))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    speed = f"{n / wall:9.0f} images/s, {n / cpu:9.0f} per core"
    memory = f"peak memory until now {after.ru_maxrss / 1024:.0f} MiB"
    print(f"  {what:34} {wall:7.2f} s, {cpu:7.2f} s of processors: {speed}; {memory}", flush=True)


def real_files(work: Path, n: int, relist: int, *, score: bool) -> None:
    photographs, folder = work / "photographs", work / "real"
    photographs.mkdir()
    for number in range(n):
        write_jpeg(photographs / f"{number:07d}.jpg", number, (320, 180))
    kilobytes = sum(p.stat().st_size for p in photographs.iterdir()) / n / 1024
    print(f"\n{n} JPEGs of 320x180, {kilobytes:.1f} KiB each")
    workspace = init_workspace(folder, CLASSES)
    workspace.store.close()
    print_add(folder, photographs, n, "al-loop pool add")
    print_add(folder, photographs, n, "repeated")
    if relist:
        many = work / "known"
        link_files(photographs, many, relist)
        workspace = open_workspace(folder)
        record_files(workspace, many)
        workspace.store.close()
        print_add(folder, many, relist, f"repeated, {relist} known files")
    if score:
        score_real_files(folder, n)


def link_files(source: Path, target: Path, count: int) -> None:
    """Make `count` hard links to the files: known files are only listed, not read."""
    files = sorted(source.iterdir())
    for number in range(count):
        place = target / f"{number // 10_000:04d}"
        if number % 10_000 == 0:
            place.mkdir(parents=True)
        os.link(files[number % len(files)], place / f"{number:08d}.jpg")


def record_files(workspace: Workspace, folder: Path) -> None:
    """Record files as imported, as `pool add` does."""
    from al_loop.images.sources import files_at

    with workspace.store.transaction():
        workspace.store.connection.executemany(
            "INSERT INTO inbox VALUES (?, ?, ?, 'taken', '', ?)",
            ((file.path, file.size, file.stamp, now()) for file in files_at(str(folder))),
        )


def score_real_files(folder: Path, n: int) -> None:
    """Score with a small model of random weights, in this process."""
    from al_loop.core.files import file_sha256
    from al_loop.detector.checkpoint import write_weights
    from al_loop.detector.config.model_config import load_model_config
    from al_loop.detector.config.stored_config import write_config

    workspace = open_workspace(folder)
    config = load_model_config("small", CLASSES, (320, 180))
    home = workspace.model_dir("m0")
    home.mkdir(parents=True)
    write_weights(home / "weights.pth", random_model(config).state_dict())
    write_config(home, config)
    digest = file_sha256(home / "weights.pth")
    model = model_registry.register_model(workspace, "m0", "import", digest, None, None)
    ids = Ids.of(repository.unlabelled_ids(workspace))
    scores = StrategyScores(model, "dbal", partial(workspace.scores_dir, ScoreKey.of(workspace.config, "m0")))

    def run(what: str, some: Ids) -> None:
        began = time.perf_counter()
        failed = score_candidates(workspace, scores, unscored(workspace, scores, some), [], Silent())
        took = time.perf_counter() - began
        speed = f"{len(some) / took:9.1f} images/s"
        print(f"  {what:34} {took:7.2f} s, {speed}, {len(failed)} left out", flush=True)

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
