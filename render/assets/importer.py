"""The process that imports meshes, seen from outside: one for many files, and another after a crash."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from render.assets.meshcache import read_surface
from render.core.errors import BlenderMissingError, WorkerError
from render.core.json_process import JsonProcess, command
from render.core.tempdirs import scratch_folder
from render.shapes.kernels.surface import Surface

#: Seconds for Blender to start, and then for each file: ten million triangles take minutes.
START_S = 120.0
FILE_S = 900.0
#: Files for one process: what it has read lies on the disk until it ends.
BATCH = 32


class Answer(msgspec.Struct, frozen=True):
    """Answer of `render.worker.importing.importing` for a file; it fills `missing`, `refused` or the rest.

    missing: why Blender cannot be imported.
    refused: why the file cannot be used: what was expected, and what came, with what to do about it.
    objects: names of the file's objects.
    stated: unit in metres and upward axis, if the file gives them.
    companions: files that it refers to, by paths from its folder, and their SHA-256.
    remarks: sentences on precision and on ignored content.
    """

    missing: str = ""
    refused: tuple[str, str] | None = None
    objects: tuple[str, ...] = ()
    stated: tuple[float, str] | None = None
    companions: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Imported:
    """Content of a mesh file.

    surfaces: of the objects, in the file's units and axes.
    landed: (d, 3) directions in the file's axes that pointed up after simulated drops; None if it was not
        dropped.
    """

    answer: Answer
    surfaces: tuple[Surface, ...] = ()
    landed: NDArray[np.float64] | None = None


def import_files(files: Sequence[tuple[Path, bool]], python: str | None) -> Generator[Imported, None, None]:
    """Import mesh files with Blender; yield the content of each, or why it was refused.

    files: paths, and whether drops are to be simulated.
    python: interpreter that has bpy; None: the running one.

    Raises BlenderMissingError, or WorkerError if the interpreter cannot be run.
    """
    waiting = deque(files)
    program = command(python, "render.worker.importing.importing")
    while waiting:
        with (
            scratch_folder("meshes") as folder,
            closing(JsonProcess(program, folder / "log", {"TMPDIR": str(folder)})) as process,
        ):
            for number in range(min(BATCH, len(waiting))):
                (file, drop), out = waiting.popleft(), folder / f"{number}.npz"
                timeout_s = FILE_S if number else START_S + FILE_S
                answer = process.exchange({"path": str(file), "out": str(out), "drop": drop}, timeout_s)
                if answer is None:  # the file was its end
                    yield _refused_by_end(process, timeout_s, first=not number)
                    break
                yield _imported(msgspec.convert(answer, Answer), file, out, program[0])


def _refused_by_end(process: JsonProcess, timeout_s: float, *, first: bool) -> Imported:
    """Blame a file for the end of the process; raises WorkerError if that could not even read the first."""
    status, reason = process.end(timeout_s)
    if status > 0 and first:
        python, message = process.command[0], process.last_words
        if message.startswith("ModuleNotFoundError"):
            raise BlenderMissingError.of(python, message, " to import meshes")
        raise WorkerError(
            f"{python} cannot run the mesh importer ({message}); name another Python: --python PATH"
        )
    advice = "open it in Blender and export it again"
    return Imported(Answer(refused=("a mesh that Blender can import", f"{reason!r}; {advice}")))


def _imported(answer: Answer, file: Path, out: Path, python: str) -> Imported:
    if answer.missing:
        raise BlenderMissingError.of(python, answer.missing, f" to import {file.name}")
    if answer.refused:
        return Imported(answer)
    with np.load(out) as arrays:
        surfaces = tuple(read_surface(arrays, number) for number in range(len(answer.objects)))
        return Imported(answer, surfaces, arrays.get("landed"))
