"""Shared parts of the benchmarks: times, memory, separate processes, labelled files."""

from __future__ import annotations

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
