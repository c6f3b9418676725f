"""Speed of scoring a pool, compared with mmdet's inferencer and bare forward passes of the same model.

    .venv/bin/python benchmarks/scoring.py --photographs FOLDER [--workspace WORKSPACE | --config r50]
        [--images 48] [--repeats 5] [--truth COCO.json] [--malloc system] [--masks]

  inferencer     mmdet's DetInferencer on the files, without output files, at its best batch size
  scoring        al-loop's: files to shards, with distributions, margins and pooled features; fp32 and bf16
  bare           the forward pass alone on decoded and resized images: mmdet's, and al-loop's
  boxes alone    al-loop's bare pass without distributions and embeddings, batch for batch

They run alternately, and a ratio is of one turn. mmdet runs in a process of its own with glibc's usual
allocator. al-loop tells glibc to keep memory (al_loop/detector/allocator.py), but not with --malloc system.
The inferencer also runs in al-loop's process ("memory kept"). Without a workspace the weights are random, and
the classifier mostly predicts background, as a trained one does. With --truth, a labelled set: AP in bf16 and
fp32, and how many picks of each strategy are the same. With --masks only the time of scoring with masks, in
relation to that without, for several numbers of boxes per image, or for a workspace as its model finds them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
import torch
from measuring import labelled_images, print_profile, random_model, ratios, separate_process, spread
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch.profiler import ProfilerActivity, profile
from torchvision.ops import roi_align as torchvision_align

from al_loop.core.config import CycleConfig
from al_loop.detector.config.mask_head import add_mask_head
from al_loop.detector.config.model_config import build_model, load_model_config
from al_loop.detector.device import default_workers
from al_loop.detector.inference import forward_pass
from al_loop.detector.inference.predict import Detector, as_input, detect, fuse_detector, predict
from al_loop.detector.inference.scoring import ScoreSettings, score_images
from al_loop.detector.precision import convolution_seconds, precision_here
from al_loop.detector.roi_align import by_rows
from al_loop.detector.transforms import Picture, fit, read_picture
from al_loop.evaluation.evaluate import evaluate
from al_loop.loop.selection import pick
from al_loop.models.scoring import load_detector
from al_loop.state.model_registry import current_model
from al_loop.state.prediction_store import ShardStore
from al_loop.state.workspace import open_workspace
from al_loop.structures.images import ImageFile
from al_loop.structures.predictions import ScoredImages
from strategies import STRATEGIES

BATCH, THRESHOLD = 8, 0.05
MEMORY_KEPT = ", memory kept"


@dataclass(frozen=True)
class BenchmarkSpec:
    """The model: the current one of a workspace, or one with random weights; and files of its size.

    size: (width, height) px in place of the config's, for a model with random weights.
    batch: images of a forward pass.
    """

    workspace: Path | None
    config: str
    paths: tuple[Path, ...]
    size: tuple[int, int] | None = None
    batch: int = BATCH


def make_detector(spec: BenchmarkSpec) -> Detector:
    """Return the current model of a workspace, or one with random weights."""
    if spec.workspace:
        workspace = open_workspace(spec.workspace)
        return load_detector(workspace, current_model(workspace))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = load_model_config(spec.config, tuple("abcdef"), spec.size)
    return Detector(random_model(config).to(device), config, device)


def inferencer(detector: Detector, size: int) -> Callable[[Sequence[Path]], object]:
    """Return mmdet's inferencer with the detector's model."""
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
        infer = DetInferencer(config, None, str(detector.device), scope="mmdet", show_progress=False)
    infer.model = detector.model
    return lambda paths: infer(
        [str(path) for path in paths], batch_size=size, no_save_vis=True, no_save_pred=True, return_vis=False
    )


class ForwardPasses:
    """Forward passes on batches of images of one size in memory."""

    def __init__(self, detector: Detector, images: Sequence[ImageFile], batch: int) -> None:
        box, enlarge = tuple(detector.config.image_size), bool(detector.config.enlarge)
        pictures = [fit(read_picture(image.path), box, enlarge) for image in images]
        self.batches = [
            (images[i : i + batch], pictures[i : i + batch]) for i in range(0, len(images), batch)
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

    def by_al_loop(self, detector: Detector) -> None:
        for images, pictures in self.batches:
            predict(detector, images, pictures, THRESHOLD)

    def boxes_ratio(self, detector: Detector) -> float:
        """Return seconds of `boxes_alone` / seconds of `full`, batch for batch, in both orders."""
        times = {self.boxes_alone: 0.0, self.full: 0.0}
        for order in (list(times), list(times)[::-1]):
            for images, pictures in self.batches:
                for run in order:
                    times[run] += timed(partial(run, detector, images, pictures))
        return times[self.boxes_alone] / times[self.full]

    def full(self, detector: Detector, images: Sequence[ImageFile], pictures: Sequence[Picture]) -> None:
        predict(detector, images, pictures, THRESHOLD)

    @torch.inference_mode()
    def boxes_alone(self, detector: Detector, _: object, pictures: Sequence[Picture]) -> None:
        height, width = pictures[0].shape[:2]
        maps = detector.fused.extract_feat(as_input(detector, pictures))
        _, detections = detect(detector, maps, len(pictures), (width, height), THRESHOLD)
        (detections.boxes.cpu(), detections.scores.cpu())


def scored(
    detector: Detector,
    images: Sequence[ImageFile],
    precision: str,
    batch: int = BATCH,
    *,
    masks: bool = False,
) -> ScoredImages:
    """Return the scores of images, in their order."""
    settings = ScoreSettings(THRESHOLD, batch, default_workers(), 256, precision=precision, masks=masks)
    with tempfile.TemporaryDirectory() as folder:
        failed = score_images(detector, images, ShardStore(Path(folder)), settings)
        assert not failed, failed
        return ShardStore(Path(folder)).load().subset([image.id for image in images])


def compare(detector: Detector, truth: Path) -> None:
    """Print AP and common picks of both precisions on a labelled set."""
    labelled = labelled_images(truth, detector.classes)
    both = {kind: scored(detector, [item.image for item in labelled], kind) for kind in ("fp32", "bf16")}
    for kind, scores in both.items():
        ap = evaluate(labelled, scores.boxes_by_image(), detector.classes).ap
        print(f"{kind}: AP {ap:.4f} on {len(labelled)} images")
    for k in (10, 25, 50):
        for name in (name for name, strategy in STRATEGIES.items() if strategy.bf16):
            settings = CycleConfig(k=k, strategy=name, random_audit_fraction=0.0)  # type: ignore[arg-type]
            one, other = ({p.image_id for p in pick(both[kind], k, settings, 1)} for kind in both)
            print(f"{name}, k = {k}: {len(one & other)} of {k} picks are the same in bf16")


def race_masks(detector: Detector, images: Sequence[ImageFile], repeats: int, boxes: int | None) -> None:
    """Print the time of scoring with masks in relation to that without, in each precision.

    boxes: of each image, the best of a model with random weights. None: as many as the model finds.
    """
    if boxes is not None:
        detector.model.roi_head.test_cfg.max_per_img = boxes
    for kind in forward_pass.PRECISIONS:
        found: list[float] = []
        for number in range(repeats + 1):  # the first warms up
            plain, masked = (
                timed(partial(scored, detector, images, kind, masks=masks)) for masks in (False, True)
            )
            found += [masked / plain] if number else []
        count = len(scored(detector, images, kind).labels) / len(images)
        print(f"{kind}, {count:.1f} boxes per image: with masks / without: {spread(found, 3)}")


def mask_model(spec: BenchmarkSpec) -> Detector:
    """Return the current model of a workspace, or one with random weights that finds many boxes."""
    if spec.workspace:
        return make_detector(spec)
    config = load_model_config(spec.config, tuple("abcdef"), spec.size)
    add_mask_head(config.model)
    return Detector(build_model(config, 0), config, torch.device("cpu"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--config", default="r50")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--masks", action="store_true", help="Only compare scoring with and without masks.")
    parser.add_argument(
        "--malloc", choices=("", "system"), default="", help="Memory allocation of al-loop's process."
    )
    parser.add_argument(
        "--profile", choices=tuple(forward_pass.PRECISIONS), help="Only print a profile of scoring."
    )
    args = parser.parse_args()
    spec = BenchmarkSpec(args.workspace, args.config, ())
    detector = mask_model(spec) if args.masks else make_detector(spec)
    fp32_s, bf16_s = convolution_seconds()
    fastest = precision_here("auto", detector.device)
    print(
        f"{fastest} is fastest here (on the CPU a bf16 convolution takes {bf16_s / fp32_s:.2f} times as long)"
    )
    print(f"{torch.get_num_threads()} threads")
    files = sorted(path for path in args.photographs.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    with tempfile.TemporaryDirectory() as folder:
        images = [resized(detector, path, Path(folder), n) for n, path in enumerate(files[: args.images])]
        if args.masks:
            for boxes in (None,) if args.workspace else (10, 30, 100):
                race_masks(detector, images, args.repeats, boxes)
            return
        if args.profile:
            scored(detector, images, args.profile)
            with profile(activities=[ProfilerActivity.CPU]) as profiled:
                scored(detector, images, args.profile)
            print_profile(profiled)
            return
        race(replace(spec, paths=tuple(image.path for image in images)), args.repeats, args.malloc)
    race_align(args.repeats)
    if args.truth:
        compare(detector, args.truth)


def resized(detector: Detector, path: Path, folder: Path, number: int) -> ImageFile:
    """Write a JPEG of the model's size, so that the size of photographs does not matter."""
    width, height = detector.config.image_size
    picture = cv2.resize(read_picture(path), (width, height), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / f"{number:04}.jpg"), picture)
    return ImageFile(f"{number:04}", folder / f"{number:04}.jpg", width, height)


def inferencers(spec: BenchmarkSpec) -> dict[str, int]:
    """Return the batch sizes at which mmdet's inferencer runs, by name."""
    return {f"inferencer, batch {size}": size for size in (1, spec.batch // 2, spec.batch)}


@cache
def contenders(spec: BenchmarkSpec) -> dict[str, Callable[[], object]]:
    """Return everything that runs in a process, by name."""
    detector = make_detector(spec)
    width, height = detector.config.image_size
    images = [ImageFile(path.stem, path, width, height) for path in spec.paths]
    passes = ForwardPasses(detector, images, spec.batch)
    runs: dict[str, Callable[[], object]] = {
        name: partial(inferencer(detector, size), spec.paths) for name, size in inferencers(spec).items()
    }
    for kind, dtype in forward_pass.PRECISIONS.items():
        fast = fuse_detector(detector, kind)
        runs[f"scoring {kind}"] = partial(scored, detector, images, kind, spec.batch)
        runs[f"bare mmdet {kind}"] = partial(passes.by_mmdet, detector, dtype)
        runs[f"bare al-loop {kind}"] = partial(passes.by_al_loop, fast)
        runs[f"boxes alone {kind}"] = partial(passes.boxes_ratio, fast)
    return runs


def turn(spec: BenchmarkSpec, name: str) -> float:
    """Return the seconds of one of them; of "boxes alone" the ratio of seconds to those of the full pass."""
    run = contenders(spec)[name]
    return run() if name.startswith("boxes alone") else timed(run)  # type: ignore[return-value]


def race(spec: BenchmarkSpec, repeats: int, malloc: str) -> None:
    """Run all of them alternately and print speeds and ratios."""
    with separate_process("system") as mmdet, separate_process(malloc) as al_loop:

        def run(name: str) -> float:
            by_mmdet = ("inferencer" in name or "mmdet" in name) and not name.endswith(MEMORY_KEPT)
            executor = mmdet if by_mmdet else al_loop
            return executor.submit(turn, spec, name.removesuffix(MEMORY_KEPT)).result()

        # Each twice, as the first call warms up; the better one counts.
        best = min(inferencers(spec), key=lambda name: min(run(name) for _ in range(2)))
        names = [best, best + MEMORY_KEPT] + [
            f"{what} {kind}"
            for kind in forward_pass.PRECISIONS
            for what in ("scoring", "bare mmdet", "bare al-loop", "boxes alone")
        ]
        times: dict[str, list[float]] = {name: [] for name in names}
        for number in range(repeats + 1):  # the first warms up
            for name in names:
                took = run(name)
                if number:
                    times[name].append(took)
    print(f"\n{len(spec.paths)} JPEGs, {repeats} turns, batches of {BATCH}")
    for name in names:
        if not name.startswith("boxes alone"):
            print(f"{name:<22} {len(spec.paths) / np.median(times[name]):7.2f} images/s")
    for kind in forward_pass.PRECISIONS:
        scoring = f"scoring {kind}"
        for other in (best, best + MEMORY_KEPT, f"bare mmdet {kind}", f"bare al-loop {kind}"):
            print(f"{scoring} / {other}: {spread(ratios(times[other], times[scoring]), 3)}")
        boxes = spread(times[f"boxes alone {kind}"], 3)
        print(f"speed with distributions and embeddings / boxes alone, {kind}: {boxes}")


def race_align(repeats: int) -> None:
    """Time al-loop's and torchvision's RoIAlign on the CPU: 2000 RoIs of 20 to 110 px, four P2 maps."""
    generator = torch.Generator().manual_seed(0)
    level = torch.randn(4, 256, 90, 160, generator=generator).contiguous(memory_format=torch.channels_last)
    corner = torch.rand(2000, 2, generator=generator) * torch.tensor([560.0, 280.0])
    extent = torch.rand(2000, 2, generator=generator) * 90 + 20
    rois = torch.cat([torch.arange(2000)[:, None] % 4, corner, corner + extent], dim=1)
    plain = level.contiguous()
    runs = (
        lambda: by_rows(level, rois, 0.25, 0, True, torch.empty(2000, 7, 7, 256)),
        lambda: torchvision_align(plain, rois, 7, 0.25, 0, True),
    )
    al_loop, torchvision = zip(*[[timed(run) for run in runs] for _ in range(repeats + 1)][1:], strict=True)
    print(f"RoIAlign, torchvision's time / al-loop's: {spread(ratios(torchvision, al_loop), 1)}")


def timed(run: Callable[[], object]) -> float:
    """Return the seconds of a call, with its work on a GPU."""
    began = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
