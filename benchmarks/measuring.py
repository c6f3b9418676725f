"""Shared parts of the benchmarks: times, memory, separate processes, labelled files."""

from __future__ import annotations

import argparse
import gc
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from al_loop.structures.images import LabelledImage
    from al_loop.structures.predictions import ScoredImages


def seconds(call: Callable[[], object]) -> float:
    """Return the seconds of a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return median, least and greatest value: 0.95 (0.90 to 1.01)."""
    median, least, greatest = (f"{v:.{digits}f}" for v in (np.median(values), min(values), max(values)))
    return f"{median} ({least} to {greatest})"


def ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Return first / second of each turn."""
    return [a / b for a, b in zip(first, second, strict=True)]


def interval(differences: Sequence[float]) -> str:
    """Return a mean of paired differences with its 95 % interval."""
    from al_loop.benchmark.results.statistics import over_seeds

    mean = over_seeds(differences)
    if mean.low is None or mean.high is None:
        return f"{mean.mean:+.4f}"
    return f"{mean.mean:+.4f} ({mean.low:+.4f} to {mean.high:+.4f})"


def memory_mib() -> tuple[float, float]:
    """Return the resident memory of this process: its own, and mapped files, MiB."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    own, files = (int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
    return own, files


class PeakMemory:
    """Growth of this process while it is entered, MiB: `own` memory, mapped `files`, and `total`."""

    def __enter__(self) -> PeakMemory:
        gc.collect()
        self._first = self._peak = self._now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.own, self.files, self.total = (self._peak - self._first).tolist()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self._peak = np.maximum(self._peak, self._now())

    def _now(self) -> np.ndarray:
        own, files = memory_mib()
        return np.array([own, files, own + files])


def separate_process(malloc: str) -> ProcessPoolExecutor:
    """Start a process for one side of a comparison, so that its memory does not affect the other side.

    malloc: "" if al-loop tells the allocator to keep memory, "system" if it leaves it alone.
    """
    os.environ.pop("MALLOC_PERTURB_", None)
    if malloc == "system":
        os.environ["MALLOC_PERTURB_"] = "0"  # glibc's default; al-loop leaves an allocator with options alone
    executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    executor.submit(os.getpid).result()  # it starts now, with this environment
    return executor


class Results:
    """The lines of WORK/results.jsonl: a repeated call continues with those that are missing."""

    def __init__(self, work: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self._file = work / "results.jsonl"
        lines = self._file.read_text().splitlines() if self._file.is_file() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def has(self, key: dict[str, Any]) -> bool:
        """Whether a row has these values."""
        return any(all(row.get(name) == value for name, value in key.items()) for row in self.rows)

    def add(self, row: dict[str, Any]) -> None:
        """Store and print a row."""
        self.rows.append(row)
        with self._file.open("a") as lines:
            lines.write(json.dumps(row) + "\n")
        print(f"\r{row}", flush=True)


def class_names(coco: Path) -> tuple[str, ...]:
    """Return the names of the categories of a COCO file."""
    return tuple(category["name"] for category in json.loads(coco.read_bytes())["categories"])


def labelled_images(coco: Path, classes: Sequence[str]) -> list[LabelledImage]:
    """Return the images of a COCO file, with outlines, and with ids by their number."""
    from al_loop.images.coco import read_coco
    from al_loop.structures.images import ImageFile, LabelledImage

    return [
        LabelledImage(ImageFile(f"{n:05}", image.path, image.width, image.height), image.boxes)
        for n, image in enumerate(read_coco(coco, classes, outlines=True).images)
    ]


def scored_by(
    config: Any, weights: Any, images: Sequence[LabelledImage], folder: Path, *, masks: bool = False
) -> ScoredImages:
    """Return what a model predicts for images, in their order. folder: new, for the scores."""
    from al_loop.detector.checkpoint import load_into
    from al_loop.detector.config.model_config import build_model
    from al_loop.detector.device import choose_device
    from al_loop.detector.inference.predict import Detector
    from al_loop.detector.inference.scoring import ScoreSettings, score_images
    from al_loop.state.prediction_store import ShardStore

    network, device = build_model(config), choose_device("auto")
    load_into(network, weights, "the model")
    detector, store = Detector(network.to(device).eval(), config, device), ShardStore(folder)
    files = [item.image for item in images]
    score_images(detector, files, store, ScoreSettings(0.05, 8, 0, 256, masks=masks))
    return store.load([file.id for file in files])


def random_order(count: int, seed: int) -> list[int]:
    """Return the order in which the images of a pool are drawn as labels."""
    return [int(i) for i in np.random.default_rng(seed).permutation(count)]


def trial_parser(description: str) -> argparse.ArgumentParser:
    """Return the options of trainings that are compared."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--labels", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--config", default="lite")
    parser.add_argument("--size", type=int, nargs=2, help="Width and height of the model's input, px.")
    parser.add_argument("--start", type=Path, help="Weights to start from. Default: ImageNet's.")
    parser.add_argument("--workers", type=int, help="Decoding processes.")
    parser.add_argument("--base", default="", help="Settings of all trainings: key=value,...")
    return parser


def parser_of_a_model(description: str, trained: int) -> argparse.ArgumentParser:
    """Return the options that name a set of photographs and a trained model.

    trained: usual number of images of the set that it was trained on.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--config", default="lite")
    parser.add_argument("--size", type=int, nargs=2, help="Width and height of the model's input, px.")
    parser.add_argument("--trained", type=int, default=trained)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float)
    parser.add_argument("--seeds", type=int, default=3)
    return parser


def random_model(config: Any) -> Any:
    """Return a model with random weights that mostly predicts background, as a trained one does."""
    import torch

    from al_loop.detector.config.model_config import build_model

    torch.manual_seed(0)
    model = build_model(config)
    with torch.no_grad():
        model.roi_head.bbox_head.fc_cls.bias[-1] += 3
    return model


def print_profile(profiled: Any) -> None:
    """Print the slowest operators of a torch profile."""
    averages = profiled.key_averages()
    print(averages.table(sort_by="self_cpu_time_total", row_limit=16, max_name_column_width=60))
