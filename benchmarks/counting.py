"""How well the models of a benchmark count the boxes of the validation set, which `coverage` goes by.

    .venv/bin/python benchmarks/counting.py BENCH --data POOL.json --val VAL.json

BENCH is the folder that `al-loop benchmark --data POOL.json --val VAL.json --out BENCH` has filled. Printed by start and
strategy: the number of models, and the least and the greatest share of the variance of the number of boxes per image that
their boxes explain (`al_loop.evaluation.detection_counts.count_r2`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

# A script's folder comes first on the path, and it holds a render.py.
sys.path.remove(str(Path(__file__).parent))

from al_loop.benchmark.run.evaluation import counting
from al_loop.benchmark.spec.datasets import read_sets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    args = parser.parse_args()
    asked = json.loads((args.bench / "benchmark.json").read_text())
    sets = read_sets(args.data, args.val, {}, asked["settings"]["classes"])
    found: dict[str, list[float]] = defaultdict(list)
    units = args.bench / "units"
    for judged in sorted(units.rglob("judged")):
        share = counting(sets, judged.parent)
        if share is not None:
            found["/".join(judged.relative_to(units).parts[:2])].append(share)
    for name, shares in found.items():
        print(f"{name:24} {len(shares):3} models  {min(shares):.2f} to {max(shares):.2f}")


if __name__ == "__main__":
    main()
