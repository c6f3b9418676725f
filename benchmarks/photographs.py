"""Strategies, and rendered images beside photographs, on the real photographs: everything in one call, resumable.

    .venv/bin/python benchmarks/photographs.py WORK --data DATA [--seeds 2] [--cycles 4] [--jobs 1]
        [--parts dice,batch,every,scratch,alone,mix,steel,steel-scratch] [--results docs/results]

DATA holds dice/ and neu-det/ with pool.json and val.json (COCO).
  dice     M0 from 320 rendered dice; dbal, coverage and random, four cycles of 25, 160 steps each
  batch    the same M0; dbal, all four cycles' images at once, as many steps in all
  every    the same M0; one batch of 25 by strategies of each kind, 160 steps
  scratch  dice without M0; dbal, coverage and random, 400 steps a cycle
  alone    25 photographs of dice alone, 4160 steps: as many as M0 and a cycle take together
  mix      25 photographs alone, and after the rendered dice, 2000 steps a cell
  steel    NEU-DET, M0 from 400 rendered pieces of steel; dbal, coverage and random, four cycles of 25, 400 steps each
  steel-scratch  NEU-DET without M0; dbal, coverage and random, 1200 steps a cycle
Each is one `al-loop benchmark`, whose command is printed. WORK is kept: run again, it goes on; with more seeds or cycles
it adds them. Tables and figures go to --results. On a GPU the same call is faster and may take more: --seeds 5.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

# A script's folder comes first on the path, and it holds a render.py.
sys.path.remove(str(Path(__file__).parent))

import numpy as np

DICE = ("one", "two", "three", "four", "five", "six")
STEEL = ("crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches")
#: Dice seen from above have no upper side. bf16 learns the same, where the machine computes it faster in two thirds of the time.
SETTINGS = {
    "dice": '[pretrain]\nval_every = 10\nturns = true\nprecision = "auto"\n\n'
    '[train]\nturns = true\nprecision = "auto"\n',
    "steel": '[pretrain]\nval_every = 10\nprecision = "auto"\n\n[train]\nprecision = "auto"\n',
}
FIGURES = {
    "dice": "Dice, start: M0 from rendered dice",
    "dice-scratch": "Dice, start: random weights",
    "steel": "NEU-DET, start: M0 from rendered steel",
    "steel-scratch": "NEU-DET, start: random weights",
}
EVERY = "random,most-boxes,margin,margin-mean,entropy,coreset,kmeans,typiclust,dbal,badge,ppal,cald,coverage"
CYCLES = ["--strategies", "dbal,coverage,random", "--k", "25"]


def al_loop(*words: str) -> None:
    """Run a command of al-loop as a person would type it."""
    print(f"\n$ al-loop {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "al_loop", *words], check=True)


def workspace(work: Path, name: str, classes: tuple[str, ...]) -> Path:
    """A workspace with the settings of one set of photographs."""
    folder = work / name
    if not (folder / "al-loop.toml").is_file():
        al_loop("init", str(folder), "--classes", ",".join(classes))
        named = ", ".join(f'"{c}"' for c in classes)
        (folder / "al-loop.toml").write_text(f'name = "{name}"\nclasses = [{named}]\n\n{SETTINGS[name]}')
    return folder


def sets(data: Path) -> list[str]:
    """The two files of a set."""
    return ["--data", str(data / "pool.json"), "--val", str(data / "val.json")]


def resumed(out: Path) -> list[str]:
    """The folder of a benchmark, and whether there is one to go on with."""
    return ["--out", str(out), *(["--resume"] if (out / "benchmark.json").is_file() else [])]


def rendered_start(home: Path, data: Path, recipe: str, count: int) -> None:
    """Render images and pretrain on them, unless that is done."""
    al_loop("-w", str(home), "pool", "add-val", str(data / "val.json"))
    al_loop("-w", str(home), "render", recipe, "--count", str(count))
    al_loop("-w", str(home), "pretrain")


def figure(table: Path, title: str, batch: Path | None = None) -> None:
    """AP over labelled images beside its table: the mean of the seeds as a line, every seed as a dot.

    batch: table of a benchmark in one cycle, if it is there; its points are drawn as crosses.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7, 3.6), layout="constrained")
    axes = drawn.add_subplot()
    for strategy, points in curves(table):
        labels = sorted(points)
        (line,) = axes.plot(labels, [np.mean(points[n]) for n in labels], label=strategy)
        for n in labels:
            axes.plot([n] * len(points[n]), points[n], "o", markersize=3, color=line.get_color(), alpha=0.6)
    for strategy, points in curves(batch) if batch is not None and batch.is_file() else ():
        every = [(n, ap) for n in points if n for ap in points[n]]
        axes.plot(*zip(*every, strict=True), "kx", label=f"{strategy}, one batch", markersize=5)
    axes.set(xlabel="labelled images", ylabel="AP on the validation set", title=title)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    drawn.savefig(table.with_suffix(".png"), dpi=110, metadata={"Software": None})


def curves(table: Path) -> list[tuple[str, dict[int, list[float]]]]:
    """AP on the validation set, of each seed, by labelled images, by strategy."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    with table.open() as file:
        for row in csv.DictReader(file):
            if row["set"] == "validation" and row["ap"]:
                found[row["strategy"]][int(row["labels"])].append(float(row["ap"]))
    return sorted(found.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--cycles", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--parts", default="dice,mix,steel")
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    work, data = args.work.resolve(), args.data.resolve()
    cycles = [*CYCLES, "--cycles", str(args.cycles)]
    parts = args.parts.split(",")
    work.mkdir(parents=True, exist_ok=True)
    args.results.mkdir(parents=True, exist_ok=True)

    def compare(
        name: str, home: Path, photographs: Path, options: list[str], table: str = "results.csv"
    ) -> None:
        """One benchmark, begun or gone on with; its table goes to the results."""
        out = work / f"bench-{name}"
        common = ["--seeds", str(args.seeds), "--jobs", str(args.jobs), *resumed(out)]
        al_loop("-w", str(home), "benchmark", *sets(photographs), *options, *common)
        shutil.copy(out / table, args.results / f"{name}.csv")

    if {"dice", "batch", "every", "scratch", "alone", "mix"} & set(parts):
        home = workspace(work, "dice", DICE)
    if {"dice", "batch", "every", "mix"} & set(parts):
        rendered_start(home, data / "dice", "dice", 320)
    m0, scratch = ["--start", "synthetic:pretrain-1"], ["--start", "scratch"]
    if "dice" in parts:
        compare("dice", home, data / "dice", [*cycles, *m0, "--iterations", "160"])
    if "batch" in parts:
        size, steps = str(25 * args.cycles), str(160 * args.cycles)
        once = ["--strategies", "dbal", "--batch", size, "--iterations", steps]
        compare("dice-batch", home, data / "dice", [*once, *m0])
    if "every" in parts:
        once = ["--strategies", EVERY, "--batch", "25", "--iterations", "160"]
        compare("dice-every", home, data / "dice", [*once, *m0])
    if "scratch" in parts:
        compare("dice-scratch", home, data / "dice", [*cycles, *scratch, "--iterations", "400"])
    if "alone" in parts:
        once = ["--strategies", "random", "--batch", "25", "--iterations", "4160"]
        compare("dice-alone", home, data / "dice", [*once, *scratch])
    if "mix" in parts:
        grid = ["--mix", "--real", "0,25", "--synthetic", "0,100%", "--schedules", "pretrain"]
        compare("dice-mix", home, data / "dice", [*grid, "--iterations", "2000"], table="mix.csv")
    if {"steel", "steel-scratch"} & set(parts):
        steel = workspace(work, "steel", STEEL)
    if "steel" in parts:
        rendered_start(steel, data / "neu-det", "steel-slab", 400)
        compare("steel", steel, data / "neu-det", [*cycles, *m0, "--iterations", "400"])
    if "steel-scratch" in parts:
        compare("steel-scratch", steel, data / "neu-det", [*cycles, *scratch, "--iterations", "1200"])
    for name, title in FIGURES.items():
        if (table := args.results / f"{name}.csv").is_file():
            figure(table, title, args.results / "dice-batch.csv" if name == "dice" else None)


if __name__ == "__main__":
    main()
