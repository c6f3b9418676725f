"""Scoring a pool beside mmdet's own inferencer and the bare forward pass: the same model, weights and files, in one run.

    .venv/bin/python benchmarks/scoring.py --photographs FOLDER [--workspace WORKSPACE | --config r50]
        [--images 48] [--repeats 5] [--truth COCO.json] [--malloc system]

  inferencer     mmdet's DetInferencer on the files, without pictures and files of its own, at its best batch size
  scoring        al-loop's: files to shards, with whole distributions, margins' scores and pooled features; in fp32 and bf16
  bare           the forward pass alone on pictures that are decoded and resized already: mmdet's, and al-loop's
  boxes alone    the bare pass of al-loop without distributions and embeddings put aside, batch for batch beside the other

They take turns, and a ratio is of one turn. mmdet runs in a process of its own with glibc's usual allocator. al-loop tells
glibc to keep memory (al_loop/detector/allocator.py); with --malloc system it does not. The inferencer also runs in al-loop's
process ("memory kept"). Without a workspace the weights are random, and the classifier leans to the background, as a trained
one does. With --truth, a labelled set: AP in bf16 and fp32, and how many picks of each strategy are the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

# A script's folder comes first on the path, and it holds a render.py.
sys.path.sort(key=str(Path(__file__).parent).__eq__)

import cv2
import numpy as np
import torch
from apart import process
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch.profiler import ProfilerActivity, profile
from torchvision.ops import roi_align as torchvision_align

from al_loop.core.config import CycleConfig
from al_loop.detector.config.model_config import build_model, load_model_config
from al_loop.detector.cpu import default_workers
from al_loop.detector.inference import forward_pass
from al_loop.detector.inference.predict import Detector, detect, fused, predict, pyramid
from al_loop.detector.inference.roi_align import by_rows
from al_loop.detector.inference.scoring import ScoreSettings, score_images
from al_loop.detector.precision import convolution_seconds, precision_here
from al_loop.detector.transforms import Picture, fit, read_picture
from al_loop.evaluation.evaluate import evaluate
from al_loop.images.coco import read_coco
from al_loop.loop.selection import pick
from al_loop.models.scoring import load_detector
from al_loop.state.model_registry import current_model
from al_loop.state.prediction_store import ShardStore
from al_loop.state.workspace import open_workspace
from al_loop.structures.images import ImageFile, LabelledImage
from al_loop.structures.predictions import ScoredImages
from strategies import STRATEGIES

BATCH, THRESHOLD = 8, 0.05
KEPT = ", memory kept"


@dataclass(frozen=True)
class Asked:
    """What is scored: files of the model's size, by the current model of a workspace or one with random weights."""

    workspace: Path | None
    config: str
    paths: tuple[Path, ...]


def the_detector(args: Asked) -> Detector:
    """The current model of a workspace, or one with random weights."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if args.workspace:
        workspace = open_workspace(args.workspace)
        return load_detector(workspace, current_model(workspace))
    torch.manual_seed(0)
    config = load_model_config(args.config, tuple("abcdef"), None)
    network: Any = build_model(config)
    with torch.no_grad():
        network.roi_head.bbox_head.fc_cls.bias[-1] += 3
    return Detector(network.to(device), config, device)


def inferencer(detector: Detector, size: int) -> Callable[[Sequence[Path]], object]:
    """mmdet's own, with the detector's model in the place of the one it makes."""
    from mmdet.apis import DetInferencer

    config = Config(detector.config.to_dict())
    steps = [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": tuple(config.image_size), "keep_ratio": True},
        {
            "type": "PackDetInputs",
            "meta_keys": ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
        },
    ]
    config.test_dataloader = {
        "dataset": {"type": "CocoDataset", "metainfo": {"classes": detector.classes}, "pipeline": steps}
    }
    config.visualizer = {"type": "DetLocalVisualizer", "name": f"bench-{size}", "vis_backends": []}
    config.test_cfg = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = DetInferencer(config, None, str(detector.device), scope="mmdet", show_progress=False)
    made.model = detector.model
    return lambda paths: made(
        [str(path) for path in paths], batch_size=size, no_save_vis=True, no_save_pred=True, return_vis=False
    )


class ForwardPasses:
    """The forward pass alone, on batches of pictures of one size that are in memory already."""

    def __init__(self, detector: Detector, images: Sequence[ImageFile]) -> None:
        box, enlarge = tuple(detector.config.image_size), bool(detector.config.enlarge)
        pictures = [fit(read_picture(image.path), box, enlarge) for image in images]
        self.batches = [
            (images[i : i + BATCH], pictures[i : i + BATCH]) for i in range(0, len(images), BATCH)
        ]

    @torch.inference_mode()
    def by_mmdet(self, detector: Detector, dtype: torch.dtype) -> None:
        for images, pictures in self.batches:
            shapes = [
                {
                    "img_shape": p.shape[:2],
                    "ori_shape": (i.height, i.width),
                    "scale_factor": (p.shape[1] / i.width, p.shape[0] / i.height),
                }
                for i, p in zip(images, pictures, strict=True)
            ]
            samples = [DetDataSample(metainfo=shape) for shape in shapes]
            inputs = [torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1))) for p in pictures]
            with torch.autocast(detector.device.type, dtype, enabled=dtype != torch.float32):
                data = detector.model.data_preprocessor({"inputs": inputs, "data_samples": samples}, False)
                detector.model.predict(data["inputs"], samples)

    def by_us(self, detector: Detector) -> None:
        for images, pictures in self.batches:
            predict(detector, images, pictures, THRESHOLD)

    def in_turns(self, detector: Detector) -> float:
        """Seconds of the boxes alone / seconds of all, batch for batch one after the other, each the first as often."""
        seconds = {self.boxes_alone: 0.0, self.all_of: 0.0}
        for order in (list(seconds), list(seconds)[::-1]):
            for images, pictures in self.batches:
                for run in order:
                    seconds[run] += timed(partial(run, detector, images, pictures))
        return seconds[self.boxes_alone] / seconds[self.all_of]

    def all_of(self, detector: Detector, images: Sequence[ImageFile], pictures: Sequence[Picture]) -> None:
        predict(detector, images, pictures, THRESHOLD)

    @torch.inference_mode()
    def boxes_alone(self, detector: Detector, _: object, pictures: Sequence[Picture]) -> None:
        height, width = pictures[0].shape[:2]
        maps, _ = pyramid(detector, pictures)
        _, kept = detect(detector, maps, len(pictures), (width, height), THRESHOLD)
        (kept.boxes.cpu(), kept.scores.cpu())


def scored(detector: Detector, images: Sequence[ImageFile], precision: str) -> ScoredImages:
    """What scoring says of images, in their order."""
    settings = ScoreSettings(THRESHOLD, BATCH, default_workers(), 256, precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        failed = score_images(detector, images, ShardStore(Path(folder)), settings)
        assert not failed, failed
        return ShardStore(Path(folder)).load().subset([image.id for image in images])


def compare(detector: Detector, truth: Path) -> None:
    """AP and picks of both precisions on a labelled set."""
    found = read_coco(truth, detector.classes)
    labelled = [
        LabelledImage(ImageFile(str(n), i.path, i.width, i.height), i.boxes)
        for n, i in enumerate(found.images)
    ]
    both = {kind: scored(detector, [item.image for item in labelled], kind) for kind in ("fp32", "bf16")}
    for kind, scores in both.items():
        predicted = scores.boxes_by_image()
        print(
            f"{kind}: AP {evaluate(labelled, predicted, detector.classes).ap:.4f} on {len(labelled)} images"
        )
    for k in (10, 25, 50):
        for name in (name for name, strategy in STRATEGIES.items() if strategy.bf16):
            settings = CycleConfig(k=k, strategy=name, random_audit_fraction=0.0)  # type: ignore[arg-type]
            one, other = ({p.image_id for p in pick(both[kind], k, settings, 1)} for kind in both)
            print(f"{name}, k = {k}: {len(one & other)} of {k} picks are the same in bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--config", default="r50")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--malloc", choices=("", "system"), default="", help="Of al-loop's process, too.")
    parser.add_argument(
        "--profile", choices=tuple(forward_pass.PRECISIONS), help="Only say where the time of scoring goes."
    )
    args = parser.parse_args()
    asked = Asked(args.workspace, args.config, ())
    detector = the_detector(asked)
    plain, half = convolution_seconds()
    print(
        f"{precision_here('auto', detector.device)} pays on this machine (on the CPU a convolution takes "
        f"{half / plain:.2f} times as long in bf16); {torch.get_num_threads()} threads"
    )
    files = sorted(path for path in args.photographs.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    with tempfile.TemporaryDirectory() as folder:
        images = [at_the_size(detector, path, Path(folder), n) for n, path in enumerate(files[: args.images])]
        if args.profile:
            scored(detector, images, args.profile)
            with profile(activities=[ProfilerActivity.CPU]) as seen:
                scored(detector, images, args.profile)
            print(
                seen.key_averages().table(
                    sort_by="self_cpu_time_total", row_limit=16, max_name_column_width=60
                )
            )
            return
        race(replace(asked, paths=tuple(image.path for image in images)), args.repeats, args.malloc)
    align_alone(args.repeats)
    if args.truth:
        compare(detector, args.truth)


def at_the_size(detector: Detector, path: Path, folder: Path, number: int) -> ImageFile:
    """A JPEG of the model's own size in the folder: what is timed is the model, not how large cameras are."""
    width, height = detector.config.image_size
    picture = cv2.resize(read_picture(path), (width, height), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / f"{number:04}.jpg"), picture)
    return ImageFile(f"{number:04}", folder / f"{number:04}.jpg", width, height)


@cache
def contenders(asked: Asked) -> dict[str, Callable[[], object]]:
    """All that can run in a process, by name."""
    detector = the_detector(asked)
    width, height = detector.config.image_size
    images = [ImageFile(path.stem, path, width, height) for path in asked.paths]
    passes = ForwardPasses(detector, images)
    runs: dict[str, Callable[[], object]] = {
        f"inferencer, batch {size}": partial(inferencer(detector, size), asked.paths) for size in (1, 4, 8)
    }
    for kind, dtype in forward_pass.PRECISIONS.items():
        quick = fused(detector, kind)
        runs[f"scoring {kind}"] = partial(scored, detector, images, kind)
        runs[f"bare mmdet {kind}"] = partial(passes.by_mmdet, detector, dtype)
        runs[f"bare al-loop {kind}"] = partial(passes.by_us, quick)
        runs[f"boxes alone {kind}"] = partial(passes.in_turns, quick)
    return runs


def turn(asked: Asked, name: str) -> float | list[float]:
    """Seconds of one of them; of the boxes alone, the ratio of seconds with all the rest to those without."""
    run = contenders(asked)[name]
    return run() if name.startswith("boxes alone") else timed(run)  # type: ignore[return-value]


def race(asked: Asked, repeats: int, malloc: str) -> None:
    """All of them in turns, and the ratios; mmdet's in a process as mmdet's users have it."""
    theirs, ours = process("system"), process(malloc)

    def run(name: str) -> float:
        foreign = "inferencer" in name or "mmdet" in name
        where = theirs if foreign and not name.endswith(KEPT) else ours
        return where.submit(turn, asked, name.removesuffix(KEPT)).result()  # type: ignore[return-value]

    # Each twice, for the first call warms up; the better counts.
    sizes = [f"inferencer, batch {size}" for size in (1, 4, 8)]
    first = min(sizes, key=lambda name: min(run(name) for _ in range(2)))
    names = [first, first + KEPT] + [
        f"{what} {kind}"
        for kind in forward_pass.PRECISIONS
        for what in ("scoring", "bare mmdet", "bare al-loop", "boxes alone")
    ]
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(repeats + 1):  # the first warms up
        for name in names:
            found = run(name)
            if number:
                times[name].append(found)
    print(f"\n{len(asked.paths)} JPEGs, {repeats} turns, batches of {BATCH}")
    alone = [name for name in names if name.startswith("boxes alone")]
    for name in names:
        if name not in alone:
            print(f"{name:<22} {len(asked.paths) / np.median(times[name]):7.2f} images/s")
    for kind in forward_pass.PRECISIONS:
        for a, b in ((f"scoring {kind}", first), (f"scoring {kind}", first + KEPT), (f"scoring {kind}", f"bare mmdet {kind}"),
                     (f"scoring {kind}", f"bare al-loop {kind}")):  # fmt: skip
            said(f"{a} / {b}", np.array(times[b]) / np.array(times[a]))
        said(
            f"distributions and embeddings besides, {kind}: speed beside the boxes alone",
            np.array(times[f"boxes alone {kind}"]),
        )
    theirs.shutdown()
    ours.shutdown()


def said(what: str, ratio: np.ndarray) -> None:  # type: ignore[type-arg]
    print(f"{what}: {np.median(ratio):.3f} ({ratio.min():.3f} to {ratio.max():.3f})")


def align_alone(repeats: int) -> None:
    """RoIAlign on the CPU, al-loop's and torchvision's in turns: 2000 RoIs of 20 to 110 px on a P2 map of four pictures."""
    chance = torch.Generator().manual_seed(0)
    level = torch.randn(4, 256, 90, 160, generator=chance).contiguous(memory_format=torch.channels_last)
    corner = torch.rand(2000, 2, generator=chance) * torch.tensor([560.0, 280.0])
    extent = torch.rand(2000, 2, generator=chance) * 90 + 20
    rois = torch.cat([torch.arange(2000)[:, None] % 4, corner, corner + extent], dim=1)
    plain = level.contiguous()
    runs = (
        lambda: by_rows(level, rois, 7, 0.25, 0, True),
        lambda: torchvision_align(plain, rois, 7, 0.25, 0, True),
    )
    times = np.array([[timed(run) for run in runs] for _ in range(repeats + 1)])[1:]
    ratio = times[:, 1] / times[:, 0]
    print(
        f"RoIAlign, torchvision's time / al-loop's: {np.median(ratio):.1f} ({ratio.min():.1f} to {ratio.max():.1f})"
    )


def timed(run: Callable[[], object]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
