"""Processes that outlive the command that starts them: start one detached, recognise it later, end it.

A process is recognised by its pid *and* a text in its command line, because pids are reused.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

# posix_spawn cannot set the working directory and the umask: a shell does, then becomes the program.
_SET_UP = 'cd / && umask 077 && exec "$@"'
_SHELL = "/bin/sh"
#: Seconds in which a process may have no command line, as while the shell becomes another program.
_EXEC_S = 2.0


def spawn(command: Sequence[str], environ: Mapping[str, str], log: Path) -> int:
    """Start a program in a session of its own and return its pid.

    The process inherits nothing of its caller: no open file (a lock in one would stay held, a pipe would
    never end), no working directory, no umask, no ignored or blocked signal.

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
        _SHELL,
        [_SHELL, "-c", _SET_UP, _SHELL, *command],
        environ,
        file_actions=actions,
        setsid=True,
        setsigmask=[],
        setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
    )


def _inheritable() -> list[int]:
    """Return the open descriptors above 2 that a new process would inherit."""
    descriptors = []
    for name in os.listdir("/dev/fd"):
        with suppress(OSError, ValueError):  # the descriptor of the listing itself is closed by now
            if int(name) > 2 and os.get_inheritable(int(name)):
                descriptors.append(int(name))
    return descriptors


def is_alive(pid: int, marker: str) -> bool:
    """Whether process `pid` runs and has `marker` in its command line."""
    deadline = time.monotonic() + _EXEC_S
    while not (line := command_line(pid)) and not _has_ended(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return marker in line


def command_line(pid: int) -> str:
    """Return the command line of a process with a space after each word; "" where there is none."""
    _reap(pid)
    try:
        return "".join(f"{word} " for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def find(marker: str) -> int | None:
    """Return the pid of a process that has `marker` in its command line, None where there is none."""
    return next((pid for pid in psutil.pids() if marker in command_line(pid)), None)


def end(pid: int, marker: str, timeout_s: float) -> bool:
    """End a process of `spawn` and its children, by SIGTERM, then by SIGKILL; False if it still runs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not is_alive(pid, marker):
            return True
        with suppress(ProcessLookupError):
            os.killpg(pid, number)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if _has_ended(pid):
                return True
            time.sleep(0.05)
    return False


def _reap(pid: int) -> None:
    # A child of this process stays visible after its end until it is waited for.
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _has_ended(pid: int) -> bool:
    # Not by the command line: it is empty as soon as a process begins to exit, with its port still open.
    _reap(pid)
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:  # another user's process has the pid now
        return False
