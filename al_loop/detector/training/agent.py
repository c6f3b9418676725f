"""torchrun for one machine: starts the processes of a training, and ends all when one fails.

    python -m al_loop.detector.training.agent FOLDER PROCESSES PARENT

What torchrun's command does, but for the meeting place: its own listens on every address of the machine.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from pathlib import Path

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from al_loop.core.files import write_json

LOOPBACK = "127.0.0.1"
#: Written when a process failed: [rank, exit status] of each, negative for a signal.
ENDED = "ended.json"
_GRACE_S = 5  # for processes to end by themselves
_LOOK_S = 0.5  # between looks at whether the parent is still there, where the kernel does not tell


class Loopback(RendezvousHandler):
    """A meeting place that only this machine can reach."""

    def __init__(self, params: RendezvousParameters) -> None:
        listening = socket.create_server((LOOPBACK, 0))
        self._port = listening.getsockname()[1]
        self._run_id = params.run_id
        self._store = TCPStore(
            LOOPBACK, self._port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach()
        )

    @property
    def use_agent_store(self) -> bool:
        """The processes meet in this one, and open no other."""
        return True

    def get_backend(self) -> str:
        """Return the name it is registered under."""
        return "loopback"

    def next_rendezvous(self) -> RendezvousInfo:
        """Return the store; this machine is the first of one."""
        where = RendezvousStoreInfo(LOOPBACK, self._port)
        return RendezvousInfo(PrefixStore(self._run_id, self._store), 0, 1, where)

    def is_closed(self) -> bool:
        """It never is."""
        return False

    def set_closed(self) -> None:
        """It ends with the process."""

    def num_nodes_waiting(self) -> int:
        """No other machine takes part."""
        return 0

    def get_run_id(self) -> str:
        """Return the name of this run."""
        return self._run_id

    def shutdown(self) -> bool:
        """It ends with the process."""
        return True


def end_with(parent: int) -> None:
    """End this process as soon as the process that started it has ended, however that ended."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os._exit(1)

    # Also on Linux: the parent may have ended before the call above.
    threading.Thread(target=watch, daemon=True).start()


def main(folder: Path, processes: int, parent: int) -> int:
    """Run the processes to their end; return the exit status."""
    end_with(parent)
    rendezvous_handler_registry.register("loopback", Loopback)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="training",
        rdzv_backend="loopback",
        local_addr=LOOPBACK,
        max_restarts=0,  # running the command again goes on at the last checkpoint, and says why
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / "torchrun")),
        shutdown_timeout=_GRACE_S,
    )
    try:
        elastic_launch(config, sys.executable)(
            "-m", "al_loop.detector.training.worker", str(folder), str(os.getpid())
        )
    except ChildFailedError as error:
        write_json(folder / ENDED, [[rank, one.exitcode] for rank, one in error.failures.items()])
        return 1
    except SignalException:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
