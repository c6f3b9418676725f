"""The process that imports meshes, seen from outside: one for many files, and again after a crash."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from render.core.errors import BlenderMissingError, WorkerError
from render.core.interpreter import command, last_line
from render.core.tempdirs import scratch_folder

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


@dataclass(frozen=True)
class Companion:
    """File that a mesh file refers to.

    name: path from the mesh file's folder.
    shape: whether the shape depends on it.
    """

    name: str
    sha256: str
    shape: bool


@dataclass(frozen=True)
class Refused:
    """Why a mesh file cannot be used: what was expected and what came, with what to do about it."""

    expected: str
    got: str


@dataclass(frozen=True, eq=False)
class Imported:
    """Content of a mesh file.

    stated: unit in metres and upward axis, if the file gives them.
    landed: (d, 3) directions in the file's axes that pointed up after simulated drops; None if it was not
        dropped.
    companions: files that it refers to.
    moved: whether it was far from the origin and was moved there.
    remarks: sentences on precision and on ignored content.
    """

    pieces: tuple[Piece, ...]
    stated: tuple[float, str] | None
    landed: NDArray[np.float64] | None = None
    companions: tuple[Companion, ...] = ()
    moved: bool = False
    remarks: tuple[str, ...] = ()


def import_files(
    files: Sequence[tuple[Path, bool]], python: str | None
) -> Generator[Imported | Refused | str, None, None]:
    """Import mesh files with Blender; return the content of each, or why it was refused.

    files: path -> whether it is to be dropped.
    python: interpreter that has bpy; None: the running one.

    Raises BlenderMissingError, or WorkerError if the interpreter cannot be run.
    """
    left, python = list(files), python or sys.executable
    while left:
        with scratch_folder("meshes") as folder:
            batch = [(*wanted, folder / f"{number}.npz") for number, wanted in enumerate(left[:BATCH])]
            asked = [{"path": str(file), "out": str(out), "drop": drop} for file, drop, out in batch]
            answers, how = _run(python, asked, folder / "log")
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
    with log.open("wb") as noise, log.with_name("asked").open("w+b") as questions:
        questions.write(lines)
        questions.seek(0)
        try:
            process = subprocess.Popen(
                command(python, "render.worker.importing.importing"),
                stdin=questions,
                stdout=subprocess.PIPE,
                stderr=noise,
                env={**os.environ, "TMPDIR": str(log.parent)},
            )
        except OSError as error:
            raise WorkerError(
                f"cannot run {python} ({error}); name another: python -m render ... --python PATH"
            ) from error
        try:
            answers, late = _answers(process, len(asked))
        finally:
            process.kill()  # it has answered, or never will
            process.wait()
    if late:
        return answers, late
    if process.returncode > 0 and not answers:
        message = last_line(log)
        if message.startswith("ModuleNotFoundError"):
            raise BlenderMissingError.of(python, message, " to import meshes")
        raise WorkerError(
            f"{python} cannot run the mesh importer ({message}); "
            "name another: python -m render ... --python PATH"
        )
    ended = f"signal {-process.returncode}" if process.returncode < 0 else f"exit status {process.returncode}"
    return answers, f"Blender ended with {ended} while reading it"


def _answers(process: subprocess.Popen[bytes], count: int) -> tuple[list[dict[str, Any]], str]:
    """Return up to `count` answers of a process, and why waiting ended early ("" if the process ended)."""
    assert process.stdout is not None
    lines: queue.Queue[bytes] = queue.Queue()

    def listen(stream: IO[bytes]) -> None:
        with stream:
            for line in iter(stream.readline, b""):
                lines.put(line)
        lines.put(b"")

    threading.Thread(target=listen, args=(process.stdout,), daemon=True).start()
    answers: list[dict[str, Any]] = []
    limit = START_S + FILE_S
    while len(answers) < count:
        try:
            line = lines.get(timeout=limit)
        except queue.Empty:
            return answers, f"Blender did not read it within {limit:g} s"
        if not line.endswith(b"\n"):  # its end, perhaps within an answer
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            break
        answers.append(json.loads(line))
        limit = FILE_S
    return answers, ""


def _result(answer: dict[str, Any], file: Path, out: Path, python: str) -> Imported | Refused | str:
    if "missing" in answer:
        raise BlenderMissingError.of(python, answer["missing"], f" to import {file.name}")
    if "refused" in answer:
        return Refused(*answer["refused"])
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
    return Imported(
        pieces,
        (declared["unit_m"], declared["up"]) if declared else None,
        landed,
        tuple(Companion(*one) for one in answer.get("companions", ())),
        bool(answer.get("moved")),
        tuple(answer.get("remarks", ())),
    )
