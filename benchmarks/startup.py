"""Time of everyday commands: median and range of whole processes.

    .venv/bin/python benchmarks/startup.py [--runs 11] [--imports 12]

--imports: also print the slowest imports of `al-loop --help` and `status`, by `python -X importtime`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from measuring import seconds, spread


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def print_imports(words: list[str], count: int) -> None:
    """Print the slowest imports, each with everything that it imports."""
    command = [sys.executable, "-X", "importtime", "-m", "al_loop", *words]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stderr.splitlines()[1:]
    rows = [line.removeprefix("import time:").split("|") for line in lines if line.startswith("import time:")]
    print(f"\nal-loop {words[-1]}: {len(rows)} modules")
    for _, cumulative, name in sorted(rows, key=lambda row: -int(row[1]))[:count]:
        print(f"  {int(cumulative) / 1e6:6.3f} s  {name.strip()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--imports", type=int, default=0)
    args = parser.parse_args()
    program = str(Path(sys.executable).with_name("al-loop"))
    with tempfile.TemporaryDirectory() as folder:
        workspace = f"{folder}/w"
        run([program, "init", workspace, "--classes", "a,b"])
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "al-loop --help": [program, "--help"],
            "al-loop status": [program, "-w", workspace, "status"],
            "al-loop pool list": [program, "-w", workspace, "pool", "list"],
        }
        for command in commands.values():
            run(command)  # fills the disk cache
        # Alternately, so that a slow phase of the machine affects all alike.
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(args.runs):
            for name, command in commands.items():
                times[name].append(seconds(partial(run, command)))
        if args.imports:
            for words in (["--help"], ["-w", workspace, "status"]):
                print_imports(words, args.imports)
            print()
    base = statistics.median(times["python -c pass"])
    for name, values in times.items():
        print(f"{name:<20} {spread(values, 3)} s  {statistics.median(values) / base:5.1f} x python")


if __name__ == "__main__":
    main()
