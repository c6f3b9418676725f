"""The process that imports meshes, seen from outside: one for many files, and again after a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.errors import BlenderMissingError, WorkerError
from render.interpreter import command, last_line
from render.scratch import scratch_folder

#: Seconds for Blender to start, and then for each file: ten million triangles take minutes.
START_S = 120.0
FILE_S = 900.0
#: Files for one process: what it has read lies on the disk until it ends.
BATCH = 32


@dataclass(frozen=True, eq=False)
class Piece:
    """An object of a mesh file. vertices (n, 3) and triangles (m, 3) as in the file; uv: (3 m, 2) or None."""

    name: str
    vertices: NDArray[np.float64]
    triangles: NDArray[np.int64]
    uv: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class Imported:
    """What is in a mesh file. stated: the unit in metres and the upward axis that it gives itself, if it does.

    landed: (d, 3) directions, in the file's axes, that pointed up after drops of all of it; None where it was not dropped.
    """

    pieces: tuple[Piece, ...]
    stated: tuple[float, str] | None
    landed: NDArray[np.float64] | None = None


def import_files(
    files: Sequence[tuple[Path, bool]], python: str | None
) -> Generator[Imported | str, None, None]:
    """Import mesh files with the Blender of a Python, ours when None; for each what is in it, or why not.

    files: each with whether it is to be dropped.  Raises BlenderMissingError, or WorkerError when that Python cannot be run.
    """
    left, python = list(files), python or sys.executable
    while left:
        with scratch_folder("meshes") as name:
            batch = [(*wanted, Path(name, f"{number}.npz")) for number, wanted in enumerate(left[:BATCH])]
            asked = [{"path": str(file), "out": str(out), "drop": drop} for file, drop, out in batch]
            answers, how = _run(python, asked, Path(name, "log"))
            for answer, (file, _, out) in zip(answers, batch, strict=False):
                yield _result(answer, file, out, python)
        done = len(answers)
        if done < len(batch):  # the next one was its end
            yield how
            done += 1
        left = left[done:]


def _run(python: str, asked: list[dict[str, Any]], log: Path) -> tuple[list[dict[str, Any]], str]:
    """The answers that came, and how the process ended; Blender's noise goes to the log."""
    lines = "".join(json.dumps(request) + "\n" for request in asked).encode()
    limit = START_S + FILE_S * len(asked)
    with log.open("wb") as noise:
        try:
            done = subprocess.run(
                command(python, "render.worker.importing"),
                input=lines,
                stdout=subprocess.PIPE,
                stderr=noise,
                env={**os.environ, "TMPDIR": str(log.parent)},
                timeout=limit,
                check=False,
            )
        except OSError as error:
            raise WorkerError(
                f"cannot run {python} ({error}); name another: python -m render ... --python PATH"
            ) from error
        except subprocess.TimeoutExpired as late:
            return _answers(late.stdout or b""), f"Blender did not read it within {limit:g} s"
    answers = _answers(done.stdout)
    if done.returncode > 0 and not answers:
        said = last_line(log)
        if said.startswith("ModuleNotFoundError"):
            raise BlenderMissingError.of(python, said, " to import meshes")
        raise WorkerError(
            f"{python} cannot run the mesh importer ({said}); name another: python -m render ... --python PATH"
        )
    ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
    return answers, f"Blender ended with {ended} while reading it"


def _answers(output: bytes) -> list[dict[str, Any]]:
    """One per line; the last may have been cut off."""
    return [json.loads(line) for line in output.splitlines(keepends=True) if line.endswith(b"\n")]


def _result(answer: dict[str, Any], file: Path, out: Path, python: str) -> Imported | str:
    if "missing" in answer:
        raise BlenderMissingError.of(python, answer["missing"], f" to import {file.name}")
    if "broken" in answer:
        return str(answer["broken"])
    with np.load(out) as held:
        pieces = tuple(
            Piece(
                name,
                held[f"{number}.vertices"],
                held[f"{number}.triangles"].astype(np.int64),
                held[f"{number}.uv"].astype(np.float64) if f"{number}.uv" in held else None,
            )
            for number, name in enumerate(answer["objects"])
        )
        landed = held.get("landed")
    declared = answer["declared"]
    return Imported(pieces, (declared["unit_m"], declared["up"]) if declared else None, landed)
