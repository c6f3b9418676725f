"""AP of models trained on selections from bf16 scores, compared with selections from fp32 scores, in pairs.

    .venv/bin/python benchmarks/precision.py WORK --data SET [--strategies dbal] [--seeds 5] [--cycles 2]

SET holds pool.json and val.json (COCO). One initial model is trained on 2 k random images. Each seed draws a
pool from the others. Both arms score it with the same model, one in fp32 and one in bf16, pick k images each,
and train on them with the same settings and seed. From the second cycle on each arm has its own model and
labels. WORK/results.jsonl has a line per cycle of an arm. A repeated call continues, and arms with the same
picks share a training. Set OMP_NUM_THREADS=1 if other processes use the cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from measuring import class_names, interval, labelled_images
from mmengine.config import Config

from al_loop.core.config import CycleConfig
from al_loop.core.training_config import TrainConfig
from al_loop.detector.checkpoint import Weights, load_into, read_weights, write_weights
from al_loop.detector.config.model_config import build_model, load_model_config
from al_loop.detector.inference.predict import Detector
from al_loop.detector.inference.scoring import ScoreSettings, score_images
from al_loop.detector.training.job import RunSettings, TrainingJob
from al_loop.detector.training.train import train
from al_loop.evaluation.evaluate import evaluate
from al_loop.loop.selection import pick
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.images import ImageFile, LabelledImage
from al_loop.structures.predictions import ScoredImages

ARMS = ("fp32", "bf16")


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
            settings = TrainConfig(steps=steps, batch_size=8, val_every=steps, seed=seed)
            lr = 2e-3 if start is None else 5e-4
            run = RunSettings(settings, "cpu", lr, 0, precision="fp32")
            folder = self.work / f"{name}-training"  # a killed training is resumed there
            done = train(TrainingJob(self.config, start, labelled, self.validation[:4], run, folder))
            write_weights(file, done.weights, self.config.classes)
            shutil.rmtree(folder)
        return read_weights(file)

    def scored(self, weights: Weights, images: Sequence[ImageFile], precision: str) -> ScoredImages:
        """Score images with a model of these weights, in their order."""
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


def run_trial(study: Study, strategy: str, seed: int, results: Results) -> None:
    """Run the missing part of one seed of a strategy."""
    args = study.args
    order = np.random.default_rng(0).permutation(len(study.pool))
    first, others = order[: 2 * args.k], order[2 * args.k :]
    drawn = np.random.default_rng([seed, 1]).choice(others, min(args.pool, len(others)), replace=False)
    pool = {study.pool[i].image.id: study.pool[i] for i in (*first, *drawn)}
    initial = [study.pool[i].image.id for i in first]
    start = study.trained("start", [pool[name] for name in initial], None, 0)
    settings = msgspec.convert({"k": args.k, "strategy": strategy, "seed": seed}, CycleConfig)
    labels = dict.fromkeys(ARMS, initial)
    names = dict.fromkeys(ARMS, "start")
    for cycle in range(1, args.cycles + 1):
        labelled: dict[str, list[str]] = {}
        for arm in ARMS:
            row = results.find(strategy, seed, cycle, arm)
            if row is not None:
                labelled[arm], names[arm] = [*labels[arm], *row["picks"]], row["weights"]
                continue
            rest = [pool[name].image for name in pool if name not in labels[arm]]
            weights = start if cycle == 1 else read_weights(study.work / f"{names[arm]}.pth")
            picks = sorted(
                p.image_id for p in pick(study.scored(weights, rest, arm), args.k, settings, cycle)
            )
            labelled[arm] = [*labels[arm], *picks]
            same = arm != ARMS[0] and {*labelled[arm]} == {*labelled[ARMS[0]]}
            names[arm] = names[ARMS[0]] if same else f"{strategy}-{seed}-{cycle}-{arm}"
            chosen = [pool[name] for name in sorted({*labelled[arm]})]
            weights = study.trained(names[arm], chosen, weights, seed)
            key = {"strategy": strategy, "seed": seed, "cycle": cycle, "arm": arm}
            results.add({**key, "ap": study.ap(weights), "picks": picks, "weights": names[arm]})
        labels = labelled


class Results:
    """The lines of WORK/results.jsonl."""

    def __init__(self, file: Path) -> None:
        self._file = file
        lines = file.read_text().splitlines() if file.is_file() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def find(self, strategy: str, seed: int, cycle: int, arm: str) -> dict[str, Any] | None:
        key = (strategy, seed, cycle, arm)
        rows = (row for row in self.rows if (row["strategy"], row["seed"], row["cycle"], row["arm"]) == key)
        return next(rows, None)

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print({name: value for name, value in row.items() if name != "picks"}, flush=True)


def report(results: Results) -> None:
    """Print for each cycle and over all: mean AP of both arms, the picks that differ, the paired interval."""
    seeds, cycles = (sorted({row[name] for row in results.rows}) for name in ("seed", "cycle"))
    for strategy in sorted({row["strategy"] for row in results.rows}):
        by_seed: dict[int, list[float]] = {}
        for cycle in cycles:
            rows = [[results.find(strategy, seed, cycle, arm) for arm in ARMS] for seed in seeds]
            pairs = [(a, b) for a, b in rows if a is not None and b is not None]
            if not pairs:
                continue
            differences = [b["ap"] - a["ap"] for a, b in pairs]
            for (a, _), difference in zip(pairs, differences, strict=True):
                by_seed.setdefault(a["seed"], []).append(difference)
            means = [f"{arm} {np.mean([pair[i]['ap'] for pair in pairs]):.4f}" for i, arm in enumerate(ARMS)]
            changed = [len({*a["picks"]} - {*b["picks"]}) for a, b in pairs]
            print(f"{strategy}, cycle {cycle}, {len(pairs)} seeds: {', '.join(means)}")
            print(f"  bf16 - fp32 {interval(differences)}")
            print(f"  picks that differ, of {len(pairs[0][1]['picks'])}: {changed}")
        means_of_seeds = [float(np.mean(differences)) for differences in by_seed.values()]
        print(f"{strategy}, mean of the cycles: bf16 - fp32 {interval(means_of_seeds)}")


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
    classes = class_names(args.data / "pool.json")
    config = load_model_config("small", classes, (args.size, args.size))
    pool, validation = (
        tuple(labelled_images(args.data / f"{name}.json", classes)) for name in ("pool", "val")
    )
    validation = validation[:: max(1, len(validation) // args.val)][: args.val]
    study = Study(args.work, config, pool, validation, args)
    results = Results(args.work / "results.jsonl")
    for strategy in args.strategies.split(","):
        for seed in range(args.seeds):
            run_trial(study, strategy, seed, results)
    report(results)


if __name__ == "__main__":
    main()
