"""AP over labels of selections from bf16 scores beside selections from fp32 scores, in pairs.

    .venv/bin/python benchmarks/precision.py WORK --data SET [--strategies dbal] [--seeds 5] [--cycles 2]

SET holds pool.json and val.json (COCO). One initial model is trained on 2 k random images. Each seed draws a pool
from the others. Both arms score it with the same model, one in fp32 and one in bf16, pick k images each, and train
on them with the same settings and seed. From the second cycle on each arm has its own model and labels.
WORK/results.jsonl has a line per cycle of an arm. A second call continues a killed one, and arms with the same picks
share a training. Run it with OMP_NUM_THREADS=1 where other processes use the cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

# A script's folder comes first on the path, and it holds a render.py.
sys.path.remove(str(Path(__file__).parent))

import msgspec
import numpy as np
import torch
from mmengine.config import Config

from al_loop.benchmark.results.statistics import over_seeds
from al_loop.core.config import CycleConfig, TrainConfig
from al_loop.detector.checkpoint import Weights, load_into, read_weights, write_weights
from al_loop.detector.config.model_config import build_model, load_model_config
from al_loop.detector.inference.predict import Detector
from al_loop.detector.inference.scoring import ScoreSettings, score_images
from al_loop.detector.training.job import TrainingJob
from al_loop.detector.training.settings import RunSettings
from al_loop.detector.training.train import train
from al_loop.evaluation.evaluate import evaluate
from al_loop.images.coco import read_coco
from al_loop.loop.selection import pick
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.images import ImageFile, LabelledImage
from al_loop.structures.predictions import ScoredImages

ARMS = ("fp32", "bf16")


@dataclass(frozen=True)
class Trial:
    """One seed of one strategy."""

    strategy: str
    seed: int


@dataclass(frozen=True)
class Study:
    """The settings of all trials."""

    work: Path
    config: Config
    pool: tuple[LabelledImage, ...]
    validation: tuple[LabelledImage, ...]
    args: argparse.Namespace

    def trained(
        self, name: str, labelled: Sequence[LabelledImage], start: Weights | None, seed: int
    ) -> Weights:
        """Train once; a second call reads the weights."""
        file = self.work / f"{name}.pth"
        if not file.is_file():
            steps = self.args.start_steps if start is None else self.args.steps
            epochs = ceil(steps / ceil(len(labelled) / 8))
            settings = TrainConfig(epochs=epochs, batch_size=8, val_every=epochs, seed=seed)
            lr = 2e-3 if start is None else 5e-4
            run = RunSettings(settings, "cpu", lr, 0, precision="fp32", steps=steps)
            folder = self.work / f"{name}-training"  # a killed training is resumed there
            done = train(TrainingJob(self.config, start, labelled, self.validation[:4], run, folder))
            write_weights(file, done.weights, self.config.classes)
            shutil.rmtree(folder)
        return read_weights(file)

    def scored(self, weights: Weights, images: Sequence[ImageFile], precision: str) -> ScoredImages:
        """Score images with a model of these weights."""
        network: Any = build_model(self.config)
        load_into(network, weights, "the trial's model")
        detector = Detector(network.eval(), self.config, torch.device("cpu"))
        settings = ScoreSettings(0.05, 8, 0, 256, precision=precision)
        with tempfile.TemporaryDirectory() as folder:
            store = ShardStore(Path(folder))
            score_images(detector, images, store, settings)
            return store.load().subset([image.id for image in images])

    def ap(self, weights: Weights) -> float:
        """Return AP on the validation set, scored in fp32."""
        scores = self.scored(weights, [item.image for item in self.validation], "fp32")
        return evaluate(self.validation, scores.boxes_by_image(), self.config.classes).ap


def read_set(path: Path, classes: Sequence[str]) -> list[LabelledImage]:
    """Return the labelled images of a COCO file."""
    return [
        LabelledImage(ImageFile(f"{n:05}", i.path, i.width, i.height), i.boxes)
        for n, i in enumerate(read_coco(path, classes).images)
    ]


def run_trial(study: Study, trial: Trial, done: list[dict[str, Any]], note: Any) -> None:
    """Run what is missing of one trial; `note` writes a line of results."""
    args, seed = study.args, trial.seed
    order = np.random.default_rng(0).permutation(len(study.pool))
    first, others = order[: 2 * args.k], order[2 * args.k :]
    drawn = np.random.default_rng([seed, 1]).choice(others, min(args.pool, len(others)), replace=False)
    pool = {study.pool[i].image.id: study.pool[i] for i in (*first, *drawn)}
    initial = [study.pool[i].image.id for i in first]
    start = study.trained("start", [pool[name] for name in initial], None, 0)
    labels = dict.fromkeys(ARMS, initial)
    names = dict.fromkeys(ARMS, "start")
    for cycle in range(1, args.cycles + 1):
        picked: dict[str, list[str]] = {}
        for arm in ARMS:
            before = [d for d in done if (d["strategy"], d["seed"], d["cycle"], d["arm"]) == (trial.strategy, seed, cycle, arm)]  # fmt: skip
            rest = [pool[name].image for name in pool if name not in labels[arm]]
            settings = msgspec.convert({"k": args.k, "strategy": trial.strategy, "seed": seed}, CycleConfig)
            weights = start if cycle == 1 else read_weights(study.work / f"{names[arm]}.pth")
            if before:
                picked[arm], names[arm] = before[0]["picks"], before[0]["weights"]
            else:
                found = pick(study.scored(weights, rest, arm), args.k, settings, cycle)
                picked[arm] = sorted(p.image_id for p in found)
                same = arm != ARMS[0] and {*labels[arm], *picked[arm]} == {*labels[ARMS[0]], *picked[ARMS[0]]}
                names[arm] = names[ARMS[0]] if same else f"{trial.strategy}-{seed}-{cycle}-{arm}"
                chosen = sorted({*labels[arm], *picked[arm]})
                weights = study.trained(names[arm], [pool[name] for name in chosen], weights, seed)
                note({"strategy": trial.strategy, "seed": seed, "cycle": cycle, "arm": arm, "ap": study.ap(weights),
                      "picks": picked[arm], "weights": names[arm]})  # fmt: skip
        labels = {arm: [*labels[arm], *picked[arm]] for arm in ARMS}


def shown(differences: Sequence[float]) -> str:
    """Return a mean of paired differences with its 95 % interval."""
    found = over_seeds(differences)
    interval = (
        f" ({found.low:+.4f} to {found.high:+.4f})"
        if found.low is not None and found.high is not None
        else ""
    )
    return f"{found.mean:+.4f}{interval}"


def report(done: Sequence[dict[str, Any]]) -> None:
    """Print the mean AP of both arms, the picks that differ, and the paired interval, for each cycle and over all."""
    table = {(d["strategy"], d["seed"], d["cycle"], d["arm"]): d for d in done}
    for strategy in sorted({d["strategy"] for d in done}):
        by_seed: dict[int, list[float]] = {}
        for cycle in sorted({d["cycle"] for d in done}):
            pairs = [
                (seed, *(table[strategy, seed, cycle, arm] for arm in ARMS))
                for seed in sorted({d["seed"] for d in done})
                if all((strategy, seed, cycle, arm) in table for arm in ARMS)
            ]
            if not pairs:
                continue
            differing = [len({*a["picks"]} - {*b["picks"]}) for _, a, b in pairs]
            differences = [b["ap"] - a["ap"] for _, a, b in pairs]
            for (seed, *_), difference in zip(pairs, differences, strict=True):
                by_seed.setdefault(seed, []).append(difference)
            print(
                f"{strategy}, cycle {cycle}, {len(pairs)} seeds: "
                f"fp32 {np.mean([a['ap'] for _, a, _ in pairs]):.4f}, bf16 {np.mean([b['ap'] for *_, b in pairs]):.4f}, "
                f"bf16 - fp32 {shown(differences)}; picks that differ, of {len(pairs[0][1]['picks'])}: {differing}"
            )
        print(
            f"{strategy}, mean of the cycles: bf16 - fp32 {shown([float(np.mean(v)) for v in by_seed.values()])}"
        )


def main() -> None:
    """Run the trials that are missing, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--strategies", default="dbal")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cycles", type=int, default=2)
    parser.add_argument("--k", type=int, default=20, help="Images picked in a cycle.")
    parser.add_argument("--pool", type=int, default=150, help="Images in the pool of a seed.")
    parser.add_argument("--val", type=int, default=100, help="Images of the validation set.")
    parser.add_argument("--size", type=int, default=96, help="Width and height of the model's input, px.")
    parser.add_argument("--start-steps", type=int, default=200)
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    classes = tuple(c["name"] for c in json.loads((args.data / "pool.json").read_bytes())["categories"])
    config = load_model_config("small", classes, (args.size, args.size))
    pool, validation = (tuple(read_set(args.data / f"{name}.json", classes)) for name in ("pool", "val"))
    study = Study(
        args.work, config, pool, validation[:: max(1, len(validation) // args.val)][: args.val], args
    )
    results = args.work / "results.jsonl"
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []

    def note(row: dict[str, Any]) -> None:
        done.append(row)
        with results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print({name: value for name, value in row.items() if name != "picks"}, flush=True)

    for strategy in args.strategies.split(","):
        for seed in range(args.seeds):
            run_trial(study, Trial(strategy, seed), done, note)
    report(done)


if __name__ == "__main__":
    main()
