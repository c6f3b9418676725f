"""How long the shell's everyday commands take from nothing: median and range of whole processes.

    .venv/bin/python benchmarks/startup.py [--runs 11] [--imports 12]

With --imports, also the slowest imports of `al-loop --help` and `status`, as `python -X importtime` sees them.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def imports(words: list[str], count: int) -> None:
    """Print what takes the most time to import, with all that it imports in turn."""
    command = [sys.executable, "-X", "importtime", "-m", "al_loop", *words]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr.splitlines()[1:]
    rows = [line.removeprefix("import time:").split("|") for line in told if line.startswith("import time:")]
    print(f"\nal-loop {words[-1]}: {len(rows)} modules")
    for _, cumulative, name in sorted(rows, key=lambda row: -int(row[1]))[:count]:
        print(f"  {int(cumulative) / 1e6:6.3f} s  {name.strip()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--imports", type=int, default=0)
    args = parser.parse_args()
    runs = args.runs
    program = str(Path(sys.executable).with_name("al-loop"))
    with tempfile.TemporaryDirectory() as folder:
        where = f"{folder}/w"
        subprocess.run([program, "init", where, "--classes", "a,b"], check=True, stdout=subprocess.DEVNULL)
        bare = [sys.executable, "-c", "pass"]
        rows = {
            "python -c pass": bare,
            "al-loop --help": [program, "--help"],
            "al-loop status": [program, "-w", where, "status"],
            "al-loop pool list": [program, "-w", where, "pool", "list"],
        }
        for command in rows.values():
            seconds(command)  # warm the disk cache
        # Interleaved, so that a slow spell of the machine hits every row alike.
        times = {name: [] for name in rows}  # type: dict[str, list[float]]
        for _ in range(runs):
            for name, command in rows.items():
                times[name].append(seconds(command))
        if args.imports:
            for words in (["--help"], ["-w", where, "status"]):
                imports(words, args.imports)
            print()
    base = statistics.median(times["python -c pass"])
    for name, values in times.items():
        median = statistics.median(values)
        print(
            f"{name:<20} {median:6.3f} s  ({min(values):.3f} to {max(values):.3f})  {median / base:5.1f} x python"
        )


if __name__ == "__main__":
    main()
