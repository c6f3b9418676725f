"""One process of a distributed training, started by torchrun.

python -m al_loop.detector.training.worker FOLDER LAUNCHER

Only rank 0 writes results. The other ranks write a file only if they fail.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from functools import partial
from pathlib import Path

import psutil

from al_loop.core.files import write_json
from al_loop.detector.training.ddp import process_group
from al_loop.detector.training.job import read_job
from al_loop.detector.training.train import train

#: Files of rank 0: one line [completed steps, total steps, text] per step, and the final result.
PROGRESS, RESULT = "progress.jsonl", "result.json"
_STORE = "store"
_POLL_S = 0.3


def failure_file(folder: Path, rank: int) -> Path:
    """Return the file with the name and the text of the exception that ended a process."""
    return folder / f"failed-{rank}.json"


def main(folder: Path, launcher: int) -> None:
    """Train the job in the folder.

    launcher: process id of the al-loop process that started torchrun.
    """
    _exit_after(launcher)
    rank = int(os.environ["RANK"])
    try:
        job = read_job(folder)
        report = partial(_report, folder / PROGRESS) if rank == 0 else None
        with process_group(job.run.device, folder / _STORE):
            trained = train(job, report)
        if rank == 0:
            names = ("steps", "validations", "quality")
            write_json(folder / RESULT, {name: getattr(trained, name) for name in names})
    except Exception as error:
        traceback.print_exc()
        write_json(failure_file(folder, rank), {"error": type(error).__name__, "message": str(error)})
        sys.stderr.flush()
        os._exit(1)  # an orderly exit would wait for the other processes, which wait for this one


def _report(path: Path, done: int, total: int, text: str) -> None:
    with path.open("a") as lines:
        lines.write(json.dumps([done, total, text]) + "\n")


def _exit_after(launcher: int) -> None:
    """End this process soon after torchrun, or the process that started torchrun, has ended."""
    torchrun = psutil.Process(os.getppid())

    def watch() -> None:
        try:
            while os.getppid() == torchrun.pid and torchrun.ppid() == launcher:
                time.sleep(_POLL_S)
        finally:  # also if torchrun ends between the two checks
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
