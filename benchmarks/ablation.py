"""AP of trainings with one setting changed, compared with the base in pairs of equal images and seeds.

    .venv/bin/python benchmarks/ablation.py WORK --data SET [SET ...] [--labels 25] [--seeds 3]
        [--start M0.pth] [--rendered COCO] --base train.steps=300 --variant train.lr=5e-4,config.enlarge=true

SET holds pool.json and val.json (COCO). A seed draws the images from pool.json and seeds the training. The
weights of the last step are evaluated on val.json: no training stops early.

train.KEY is a setting of [train] in al-loop.toml, with dots for its tables. config.KEY is a value in the
config of the model. pick=typiclust labels the images that the first cycle of a workspace without a model
picks, in place of random ones. labels=50 takes another number of images, and the first of them are those of
a smaller number. trainer=mmdet trains with mmdet's own Runner, scaled and coloured images, and images that
are enlarged to the model's size. start=imagenet ignores --start. masks=true adds a mask head, learns from the
outlines of the labels, and prints mask AP50 and the mean Dice of the pixels, too. WORK/results.jsonl has a
line per training, and a repeated call continues.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from measuring import (
    Results,
    class_names,
    interval,
    labelled_images,
    random_order,
    scored_by,
    trial_parser,
)
from mmengine.config import Config
from plain_mmdet import MmdetTraining, train_with_mmdet, usual

from al_loop.core.training_config import TrainConfig
from al_loop.detector.checkpoint import CLASS_LAYERS, Weights, read_weights, write_weights
from al_loop.detector.config.mask_head import add_mask_head, has_mask_head
from al_loop.detector.config.model_config import imagenet_start, load_model_config
from al_loop.detector.device import choose_device, default_workers
from al_loop.detector.training.job import RunSettings, TrainingJob
from al_loop.detector.training.optimiser import training_precision
from al_loop.detector.training.train import train
from al_loop.evaluation.measure import measure
from al_loop.images.coco import write_coco
from al_loop.models.evaluation import boxes_of
from al_loop.structures.images import LabelledImage
from strategies import Candidates
from strategies.registry import select

BASE = "base"


def parsed(text: str) -> dict[str, Any]:
    """Return the settings of "key=value,key=value". Values are JSON, or text."""
    settings = {}
    for item in filter(None, text.split(",")):
        key, _, value = item.partition("=")
        try:
            settings[key] = json.loads(value.replace(";", ","))
        except ValueError:
            settings[key] = value
    return settings


def set_value(tree: Any, key: str, value: Any) -> None:
    """Set a value in nested tables. key: names joined by dots."""
    *tables, name = key.split(".")
    for table in tables:
        tree.setdefault(table, {})
        tree = tree[table]  # mmengine stores a copy of the default
    tree[name] = value


def train_and_evaluate(
    args: argparse.Namespace, data: Path, settings: dict[str, Any], seed: int, folder: Path
) -> dict[str, Any]:
    """Train on images that the seed draws. Return AP, AP50, AP75, and the seconds of the training."""
    classes = class_names(data / "pool.json")
    config = load_model_config(args.config, classes, tuple(args.size) if args.size else None)
    plain: dict[str, Any] = {}
    pick, labels = settings.get("pick", "random"), settings.get("labels", args.labels)
    by_mmdet = settings.get("trainer") == "mmdet"
    from_m0 = bool(args.start) and settings.get("start") != "imagenet"
    if by_mmdet:
        config.enlarge = True
    if settings.get("masks"):
        add_mask_head(config.model)
    for key, value in settings.items():
        if key in {"pick", "labels", "trainer", "start", "masks"}:
            continue
        place, _, rest = key.partition(".")
        set_value({"train": plain, "config": config}[place], rest, value)
    run = msgspec.convert({"val_every": 10**6, "seed": seed, **plain}, TrainConfig)
    pool, validation = (labelled_images(data / f"{name}.json", classes) for name in ("pool", "val"))
    start = imagenet_start(config, seed)
    drawn = picked(pick, pool, labels, config, start, seed, folder / "features")
    if from_m0:
        start |= {n: t for n, t in read_weights(args.start).items() if _fits(n, t, start)}
    lr = run.lr or (config.fine_tune_lr if from_m0 else config.optim_wrapper.optimizer.lr)
    device = choose_device("auto")
    workers = default_workers() if args.workers is None else args.workers
    job = TrainingJob(
        config,
        start,
        [pool[i] for i in drawn],
        validation[:1],
        RunSettings(run, device, lr, workers, training_precision(run.precision, device)),
        folder / "training",
        labelled_images(args.rendered, classes) if args.rendered else (),
    )
    began = time.monotonic()
    weights = mmdets_weights(job) if by_mmdet else train(job, show).weights
    seconds = time.monotonic() - began
    write_weights(folder / "weights.pth", weights, classes)
    shutil.rmtree(job.folder)
    return evaluated(config, weights, validation, folder / "scores") | {"seconds": seconds}


def evaluated(
    config: Config, weights: Weights, validation: Sequence[LabelledImage], folder: Path
) -> dict[str, float]:
    """Return AP, AP50 and AP75 of a model; if it predicts masks, also their AP, AP50, and mean Dice."""
    masks = has_mask_head(config.model)
    predicted = boxes_of(scored_by(config, weights, validation, folder, masks=masks), validation, masks=masks)
    shutil.rmtree(folder)
    metrics = measure(validation, predicted, config.classes, outlined=masks, intervals=False)
    row = {"ap": metrics.ap, "ap50": metrics.ap50, "ap75": metrics.ap75}
    if (found := metrics.masks) is not None:
        row |= {"mask_ap": found.ap, "mask_ap50": found.ap50, "dice": found.mean_dice.value}
    return row


def show(done: int, total: int, text: str) -> None:
    """Print the progress of a training."""
    print(f"\r{done}/{total} {text}   ", end="", flush=True)


def mmdets_weights(job: TrainingJob) -> Weights:
    """Return the weights of a training of the same job by mmdet's Runner."""
    job.folder.mkdir(parents=True)
    assert job.start is not None
    write_weights(job.folder / "start.pth", job.start)
    write_coco(job.folder / "train.json", job.training, job.config.classes)
    changes = usual(tuple(job.config.image_size))
    files = job.folder / "start.pth", job.folder / "train.json", job.folder / "runner"
    seed = job.run.settings.seed
    runner = train_with_mmdet(MmdetTraining(job.config, *files, job.steps, changes, seed=seed))
    weights: Weights = runner.model.state_dict()
    return weights


def picked(
    strategy: str,
    pool: Sequence[LabelledImage],
    count: int,
    config: Config,
    start: Weights,
    seed: int,
    folder: Path,
) -> Sequence[int]:
    """Return the indices of the images to label. Strategies compare them by the features of the start."""
    if strategy == "random":
        return random_order(len(pool), seed)[:count]
    scored = scored_by(Config({**config, "untrained": True}), start, pool, folder)
    candidates = Candidates(scored.image_ids, scored.uncertainty, scored.embeddings)
    rng = np.random.default_rng(seed)
    chosen = [scored.image_ids[int(i)] for i in select(strategy, candidates, count, rng)]
    ids = [item.image.id for item in pool]
    return [ids.index(name) for name in chosen]


def _fits(name: str, tensor: Any, start: Any) -> bool:
    return not (name.startswith(CLASS_LAYERS) and tensor.shape != start[name].shape)


def report(rows: Sequence[dict[str, Any]], column: str, names: Sequence[str], base: str) -> None:
    """Print the means of each set and name in a column, and the paired difference of AP to `base`."""
    for data in dict.fromkeys(row["data"] for row in rows):
        of_set = {(row[column], row["seed"]): row for row in rows if row["data"] == data}
        print(f"\n{data}, {rows[0]['labels']} labels")
        for name in names:
            found = [row for (other, _), row in of_set.items() if other == name]
            if not found:
                continue
            ap, ap50, ap75, seconds = (
                np.mean([row.get(key, np.nan) for row in found]) for key in ("ap", "ap50", "ap75", "seconds")
            )
            pairs = [
                row["ap"] - of_set[base, row["seed"]]["ap"] for row in found if (base, row["seed"]) in of_set
            ]
            change = f"  AP - {base} {interval(pairs)}" if pairs and name != base else ""
            text = f"  {name}: AP {ap:.3f}, AP50 {ap50:.3f}, AP75 {ap75:.3f}"
            if all("dice" in row for row in found):
                ap50, dice = (np.mean([row[key] for row in found]) for key in ("mask_ap50", "dice"))
                text += f", mask AP50 {ap50:.3f}, Dice {dice:.3f}"
            print(f"{text}, {seconds:.0f} s{change}")


def main() -> None:
    """Run the trainings that are missing, and print the comparison."""
    parser = trial_parser(__doc__.splitlines()[0])
    parser.add_argument("--rendered", type=Path, help="COCO file for train.replay and copy_paste.")
    parser.add_argument("--variant", action="append", default=[], help="Settings to change: key=value,...")
    args = parser.parse_args()
    results = Results(args.work)
    variants = [BASE, *args.variant]
    for seed in range(args.seeds):
        for data in args.data:
            for variant in variants:
                key = {"data": data.name, "labels": args.labels, "seed": seed, "variant": variant}
                if results.has(key):
                    continue
                settings = parsed(args.base) | ({} if variant == BASE else parsed(variant))
                folder = args.work / f"{data.name}-{args.labels}-{seed}-{variants.index(variant)}"
                results.add(key | train_and_evaluate(args, data, settings, seed, folder))
    report(results.rows, "variant", variants, BASE)


if __name__ == "__main__":
    main()
