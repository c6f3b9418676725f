"""The command line, as a user types it.

Each command is a process of its own. It is forked from a server that has imported the detector, so that no
command waits for these imports.
"""

from __future__ import annotations

import atexit
import os
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from tempfile import TemporaryDirectory

_SERVER = get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["al_loop.cli", "al_loop.detector.training.train", "al_loop.detector.inference.scoring"]
)
_TIMEOUT_S = 500


def run_command(workspace: Path, *args: object) -> CompletedProcess[str]:
    """Run a command in the environment and the folder of this process. Its input is empty."""
    words = ["-w", str(workspace), *map(str, args)]
    with TemporaryDirectory() as folder:
        files = [str(Path(folder, name)) for name in ("out", "err")]
        process = _SERVER.Process(target=_main, args=(words, dict(os.environ), os.getcwd(), files))
        process.start()
        process.join(_TIMEOUT_S)
        if process.exitcode is None:
            process.kill()
            raise TimeoutExpired(words, _TIMEOUT_S)
        out, err = (Path(file).read_text(encoding="utf-8") for file in files)
    return CompletedProcess(words, process.exitcode, out, err)


def _main(words: list[str], environment: dict[str, str], folder: str, files: list[str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    tempfile.tempdir = None  # the server may have found its own already
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    sys.argv = ["al-loop", *words]
    from al_loop.cli import main

    try:
        main()
    finally:
        atexit._run_exitfuncs()  # multiprocessing does not


def al_loop(workspace: Path, *args: object, status: int = 0) -> str:
    """Run a command as a user does; return what it prints, fail with what it says."""
    done = run_command(workspace, *args)
    assert done.returncode == status, f"{args}: {done.stdout}\n{done.stderr}"
    return done.stdout
