"""A process that outlives us inherits nothing of its caller."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from al_loop.core.errors import WorkspaceError
from al_loop.core.lock import waiting_lock
from al_loop.labelling.server import process
from al_loop.state.workspace import Workspace

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

# A careless caller: inheritable lock and pipe, SIGTERM ignored, a missing working directory, umask 0.
CALLER = """
import fcntl, os, signal, sys
from pathlib import Path
from al_loop.labelling.server import process
lock, log, gone = sys.argv[1:]
held = os.open(lock, os.O_RDWR)
fcntl.flock(held, fcntl.LOCK_EX)
os.set_inheritable(held, True)
os.set_inheritable(int(os.environ["PIPE"]), True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
os.umask(0)
os.mkdir(gone); os.chdir(gone); os.rmdir(gone)
sleeper = "import os, time; open('{0}~', 'w').close(); os.rename('{0}~', '{0}'); time.sleep(60)"
print(process.spawn([sys.executable, "-c", sleeper.format(log + ".made")], {}, Path(log)))
"""


@linux
def test_a_server_that_is_left_running_holds_nothing_of_its_caller(tmp_path: Path) -> None:
    lock, log = tmp_path / "lock", tmp_path / "log"
    lock.touch()
    ours, theirs = os.pipe()
    caller = subprocess.run(
        [sys.executable, "-c", CALLER, lock, log, tmp_path / "gone"],
        env={**os.environ, "PIPE": str(theirs)}, pass_fds=[theirs], stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    pid = int(caller.stdout)
    os.close(theirs)
    try:
        while not (tmp_path / "log.made").exists():
            time.sleep(0.02)
        assert os.read(ours, 1) == b""  # the pipe has ended with the caller
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # and so has the lock
        held = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
        assert held == {"/dev/null", str(log)}
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert int(status["SigBlk"], 16) == 0
        assert not int(status["SigIgn"], 16) >> 14 & 1  # SIGTERM
        assert [path.stat().st_mode & 0o777 for path in (log, tmp_path / "log.made")] == [0o600, 0o600]
    finally:
        os.close(ours)
        assert process.end(pid, sys.executable, 5.0)


@pytest.mark.integration
def test_a_server_that_has_just_been_started_is_alive(tmp_path: Path) -> None:
    """Also while the shell becomes the server, which has no command line for a moment."""
    for _ in range(20):
        pid = process.spawn(["/bin/sleep", "60.125"], {}, tmp_path / "log")
        try:
            assert all(process.is_alive(pid, "60.125") for _ in range(200))
        finally:
            process.end(pid, "60.125", 5.0)
    assert not process.is_alive(pid, "60.125")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL])
def test_a_file_system_without_locks(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(WorkspaceError, match=r"has no locks .*to a local disk"), workspace.lock():
        pass
    with pytest.raises(WorkspaceError, match="has no locks"), waiting_lock(tmp_path / "lock"):
        pass
