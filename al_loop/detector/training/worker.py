"""One of the processes that share a training.

    python -m al_loop.detector.training.worker FOLDER PARENT

It is started by `al_loop.detector.training.agent`. The first of them (rank 0) writes; another one writes only why it failed.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from functools import partial
from pathlib import Path

from al_loop.core.files import write_json
from al_loop.detector.training.agent import end_with
from al_loop.detector.training.ddp import process_group
from al_loop.detector.training.job import read_job
from al_loop.detector.training.train import train

#: What rank 0 writes, a line per step: [steps done, steps in all, text]; and at the end.
PROGRESS, RESULT = "progress.jsonl", "result.json"


def failure(folder: Path, rank: int) -> Path:
    """Return the file in which a process says why it failed: name and text of the exception."""
    return folder / f"failed-{rank}.json"


def main(folder: Path, parent: int) -> None:
    """Train as the job in the folder says."""
    end_with(parent)
    rank = int(os.environ["RANK"])
    try:
        job = read_job(folder)
        tell = partial(_tell, folder / PROGRESS) if rank == 0 else None
        with process_group(job.settings.device):
            done = train(job.config, job.start, job.training, job.validation, job.settings, job.work, tell)
        if rank == 0:
            result = {"epochs": done.epochs, "validations": done.validations, "quality": done.quality}
            write_json(folder / RESULT, result)
    except Exception as error:
        traceback.print_exc()
        write_json(failure(folder, rank), {"error": type(error).__name__, "message": str(error)})
        sys.stderr.flush()
        os._exit(1)  # an orderly end would wait for the others, who wait for this one


def _tell(path: Path, done: int, total: int, text: str) -> None:
    with path.open("a") as lines:
        lines.write(json.dumps([done, total, text]) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
