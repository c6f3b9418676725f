"""How long the shell's everyday commands take from nothing: median and range of whole processes.

.venv/bin/python benchmarks/startup.py [--runs 11]
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
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
    base = statistics.median(times["python -c pass"])
    for name, values in times.items():
        median = statistics.median(values)
        print(
            f"{name:<20} {median:6.3f} s  ({min(values):.3f} to {max(values):.3f})  {median / base:5.1f} x python"
        )


if __name__ == "__main__":
    main()
