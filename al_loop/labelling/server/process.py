"""Start, identify and end a process that outlives the command that starts it.

A process is identified by its pid *and* a text in its command line, since pids are reused.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

# posix_spawn cannot set the working directory and the umask. A shell sets them and then runs the program.
_SHELL = ("/bin/sh", "-c", 'cd / && umask 077 && exec "$@"', "/bin/sh")
#: Seconds for which a process may have no command line, as while the shell is replaced by the program.
_EXEC_S = 2.0


def spawn(command: Sequence[str], environ: Mapping[str, str], log: Path) -> int:
    """Start a program in its own session and return its pid.

    It inherits nothing from the caller: no open file (a file lock would stay held, a pipe would never end),
    no working directory, no umask, no ignored or blocked signal.

    command: absolute path of the program, and its arguments.
    log: file to which its output is appended (mode 0600).
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions: list[tuple[object, ...]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()),
    ]
    return os.posix_spawn(
        _SHELL[0],
        [*_SHELL, *command],
        environ,
        file_actions=actions,
        setsid=True,
        setsigmask=[],
        setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
    )


def _inheritable() -> list[int]:
    """Return the open descriptors above 2 that a new process would inherit."""
    descriptors = []
    for number in map(int, os.listdir("/dev/fd")):
        with suppress(OSError):  # the descriptor of the listing itself is already closed
            if number > 2 and os.get_inheritable(number):
                descriptors.append(number)
    return descriptors


def is_alive(pid: int, marker: str) -> bool:
    """Whether process `pid` runs and has `marker` in its command line."""
    deadline = time.monotonic() + _EXEC_S
    while not (line := command_line(pid)) and not _has_ended(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return marker in line


def command_line(pid: int) -> str:
    """Return the command line of a process, with a space after each argument; "" if it has none."""
    import psutil

    try:
        return "".join(f"{word} " for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def listening_ports(pid: int) -> set[int]:
    """Return the TCP ports on which a process, or one that it has started, listens."""
    import psutil

    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return {
            connection.laddr.port
            for each in (process, *process.children(recursive=True))
            for connection in each.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
    return set()


def find(marker: str) -> int | None:
    """Return the pid of a process that has `marker` in its command line; None if there is none."""
    import psutil

    return next((pid for pid in psutil.pids() if marker in command_line(pid)), None)


def end(pid: int, marker: str, timeout_s: float) -> bool:
    """End a process started by `spawn`, and its children: SIGTERM, then SIGKILL. False if it still runs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not is_alive(pid, marker):
            return True
        with suppress(ProcessLookupError):
            os.killpg(pid, number)
        if wait_until(lambda: _has_ended(pid), timeout_s):
            return True
    return False


def wait_until(condition: Callable[[], object], timeout_s: float, pause_s: float = 0.02) -> bool:
    """Wait until a condition holds; return False after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause_s)
    return True


def _has_ended(pid: int) -> bool:
    """Whether a process has ended.

    The command line does not tell: it is empty as soon as a process begins to exit, with its port open.
    """
    import psutil

    with suppress(ChildProcessError):  # our own child stays a zombie until we wait for it
        os.waitpid(pid, os.WNOHANG)
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:  # the pid now belongs to another user's process
        return False
