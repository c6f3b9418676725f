"""Strategies, and rendered images beside photographs, on real photographs; a repeated call continues.

    .venv/bin/python benchmarks/photographs.py WORK --data DATA [--seeds 2] [--cycles 4] [--jobs 1]
        [--parts dice,batch,every,scratch,alone,mix,steel,steel-scratch,tiles] [--results docs/results]

DATA holds dice/, neu-det/ and magnetic-tile/, each with pool.json and val.json (COCO).
  dice     M0 from 320 rendered dice; strategies in cycles of 25 images, 240 steps each
  batch    the same M0; dbal, the images of all cycles at once, as many steps in total
  every    the same M0; one batch of 25 by strategies of each kind, 240 steps
  scratch  dice from ImageNet weights; strategies in cycles, 400 steps each
  alone    25 photographs of dice alone, 1740 steps: as many as M0 and a cycle together
  mix      25 photographs alone, and after the rendered dice, 1740 steps per cell
  steel    NEU-DET, M0 from 400 rendered images of steel; strategies in cycles, 400 steps each
  steel-scratch  NEU-DET from ImageNet weights; strategies in cycles, 800 steps each
  tiles    magnetic tiles from ImageNet weights; strategies in cycles, 400 steps each
The strategies are dbal, coverage, calibrated and random. Each part is one `al-loop benchmark`, whose command
is printed. A repeated call continues in WORK, and adds more seeds or cycles. Tables and figures go to
--results. On a GPU use more seeds: --seeds 5.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Dice seen from above have no upper side.
DICE_SETTINGS = """[pretrain]
augment.rotate90 = true

[train]
augment.rotate90 = true
"""


@dataclass(frozen=True)
class Photographs:
    """A set of photographs. folder: below DATA; recipe, count: of the rendered images for M0, "" for none."""

    folder: str
    classes: tuple[str, ...]
    settings: str
    recipe: str
    count: int


SETS = {
    "dice": Photographs("dice", ("one", "two", "three", "four", "five", "six"), DICE_SETTINGS, "dice", 320),
    "steel": Photographs(
        "neu-det",
        ("crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches"),
        "",
        "steel-slab",
        400,
    ),
    "tiles": Photographs(
        "magnetic-tile", ("blowhole", "break", "crack", "fray", "uneven"), "", recipe="", count=0
    ),
}
FIGURES = {
    "dice": "Dice, start: M0 from rendered dice",
    "dice-scratch": "Dice, start: ImageNet weights",
    "steel": "NEU-DET, start: M0 from rendered steel",
    "steel-scratch": "NEU-DET, start: ImageNet weights",
    "tiles": "Magnetic tiles, start: ImageNet weights",
}
LOOP = "dbal,coverage,calibrated,random"
EVERY = (
    "random,most-boxes,margin,margin-mean,entropy,coreset,kmeans,typiclust,dbal,badge,ppal,cald,coverage,"
    "calibrated"
)


@dataclass(frozen=True)
class Part:
    """One benchmark. photographs: key of SETS; m0: whether it needs the pretrained model."""

    photographs: str
    name: str
    options: str
    m0: bool = True
    table: str = "results.csv"


def parts(cycles: int) -> dict[str, Part]:
    """Return all parts by name."""
    loop = f"--strategies {LOOP} --k 25 --cycles {cycles}"
    m0, scratch = "--start synthetic:pretrain-1", "--start scratch"
    batch = f"--strategies dbal --batch {25 * cycles} --iterations {240 * cycles}"
    grid = "--mix --real 0,25 --synthetic 0,100% --schedules pretrain --iterations 1740"
    alone = f"--strategies random --batch 25 --iterations 1740 {scratch}"
    return {
        "dice": Part("dice", "dice", f"{loop} {m0} --iterations 240"),
        "batch": Part("dice", "dice-batch", f"{batch} {m0}"),
        "every": Part("dice", "dice-every", f"--strategies {EVERY} --batch 25 --iterations 240 {m0}"),
        "scratch": Part("dice", "dice-scratch", f"{loop} {scratch} --iterations 400", m0=False),
        "alone": Part("dice", "dice-alone", alone, m0=False),
        "mix": Part("dice", "dice-mix", grid, table="mix.csv"),
        "steel": Part("steel", "steel", f"{loop} {m0} --iterations 400"),
        "steel-scratch": Part("steel", "steel-scratch", f"{loop} {scratch} --iterations 800", m0=False),
        "tiles": Part("tiles", "tiles", f"{loop} {scratch} --iterations 400", m0=False),
    }


def al_loop(*words: str) -> None:
    """Run a command of al-loop as a person would type it."""
    print(f"\n$ al-loop {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "al_loop", *words], check=True)


def prepare(home: Path, photographs: Photographs, data: Path, *, m0: bool) -> None:
    """Make the workspace of a set, unless it exists; m0: also render images and pretrain on them."""
    if not (home / "al-loop.toml").is_file():
        al_loop("init", str(home), "--classes", ",".join(photographs.classes))
        names = ", ".join(f'"{name}"' for name in photographs.classes)
        text = f'name = "{home.name}"\nclasses = [{names}]\n\n{photographs.settings}'
        (home / "al-loop.toml").write_text(text)
    if m0:
        al_loop("-w", str(home), "pool", "add-val", str(data / "val.json"))
        al_loop("-w", str(home), "render", photographs.recipe, "--count", str(photographs.count))
        al_loop("-w", str(home), "pretrain")


def draw_figure(table: Path, title: str, batch: Path) -> None:
    """Draw AP over labelled images beside a table: the mean of the seeds as a line, every seed as a dot.

    batch: table of a benchmark in one cycle; if it exists, its points are drawn as crosses.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for strategy, points in curves(table):
        labels = sorted(points)
        (line,) = axes.plot(labels, [np.mean(points[n]) for n in labels], label=strategy)
        for n in labels:
            axes.plot([n] * len(points[n]), points[n], "o", markersize=3, color=line.get_color(), alpha=0.6)
    for strategy, points in curves(batch) if batch.is_file() else ():
        crosses = [(n, ap) for n in points if n for ap in points[n]]
        axes.plot(*zip(*crosses, strict=True), "kx", label=f"{strategy}, one batch", markersize=5)
    axes.set(xlabel="labelled images", ylabel="AP on the validation set", title=title)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(table.with_suffix(".png"), dpi=110, metadata={"Software": None})


def curves(table: Path) -> list[tuple[str, dict[int, list[float]]]]:
    """Return the AP of each seed on the validation set, by labelled images, by strategy."""
    points: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    with table.open() as file:
        for row in csv.DictReader(file):
            if row["set"] == "validation" and row["ap"]:
                points[row["strategy"]][int(row["labels"])].append(float(row["ap"]))
    return sorted(points.items())


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
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    args.results.mkdir(parents=True, exist_ok=True)
    names = args.parts.split(",")
    chosen = [part for name, part in parts(args.cycles).items() if name in names]
    for key, photographs in SETS.items():
        home, data = work / key, args.data.resolve() / photographs.folder
        group = [part for part in chosen if part.photographs == key]
        if group:
            prepare(home, photographs, data, m0=any(part.m0 for part in group))
        for part in group:
            out = work / f"bench-{part.name}"
            resume = ["--resume"] if (out / "benchmark.json").is_file() else []
            sets = ["--data", str(data / "pool.json"), "--val", str(data / "val.json")]
            common = ["--seeds", str(args.seeds), "--jobs", str(args.jobs), "--out", str(out), *resume]
            al_loop("-w", str(home), "benchmark", *sets, *part.options.split(), *common)
            shutil.copy(out / part.table, args.results / f"{part.name}.csv")
    for name, title in FIGURES.items():
        if (table := args.results / f"{name}.csv").is_file():
            draw_figure(table, title, args.results / f"{name}-batch.csv")


if __name__ == "__main__":
    main()
