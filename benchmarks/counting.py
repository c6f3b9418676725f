"""Count R² of the models of a benchmark, on which `coverage` depends.

    .venv/bin/python benchmarks/counting.py BENCH --data POOL.json --val VAL.json

BENCH is the output folder of `al-loop benchmark --data POOL.json --val VAL.json --out BENCH`. For each start
and strategy it prints the number of models, and the range of their count R² on the validation set
(`al_loop.evaluation.detection_counts.count_r2`).
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

from al_loop.benchmark.run.evaluation import count_r2
from al_loop.benchmark.spec.datasets import read_datasets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    args = parser.parse_args()
    record = json.loads((args.bench / "benchmark.json").read_text())
    validation = read_datasets(args.data, args.val, {}, record["settings"]["classes"]).validation
    values: dict[str, list[float]] = defaultdict(list)
    runs = args.bench / "runs"
    for predictions in sorted(runs.rglob("predictions")):
        r2 = count_r2(validation, predictions.parent)
        if r2 is not None:
            values["/".join(predictions.relative_to(runs).parts[:2])].append(r2)
    for name, group in values.items():
        print(f"{name:24} {len(group):3} models  {min(group):.2f} to {max(group):.2f}")


if __name__ == "__main__":
    main()
