"""A process that outlives us: start it detached, recognise it later, end it.

A process is recognised by its pid *and* a text in its command line, since pids are reused.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

# The working directory and the umask are the child's own to set: posix_spawn cannot.
_SETTLE = 'cd / && umask 077 && exec "$@"'
_SHELL = "/bin/sh"
# While a process becomes another program, as the shell does, it has no command line for a moment; on a busy machine a long one.
_NAMELESS_S = 2.0


def spawn(command: Sequence[str], environ: Mapping[str, str], log: Path) -> int:
    """Start `command` in a session of its own, its output appended to `log` (0600); return its pid.

    The process inherits nothing of its caller: no open file (a lock in one would stay held, a pipe would never end), no
    working directory, no umask, no signal that is ignored or blocked. `command[0]` is an absolute path.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions: list[tuple[object, ...]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        *((os.POSIX_SPAWN_CLOSE, number) for number in _inheritable()),
    ]
    settled = [_SHELL, "-c", _SETTLE, _SHELL, *command]
    return os.posix_spawn(
        _SHELL,
        settled,
        environ,
        file_actions=actions,
        setsid=True,
        setsigmask=[],
        setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
    )


def _inheritable() -> list[int]:
    """Return the open descriptors above 2 that a new process would be given."""
    found = []
    for name in os.listdir("/dev/fd"):  # on Linux a link to /proc/self/fd
        with suppress(OSError, ValueError):  # that of the listing itself is closed by now
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
    return found


def is_alive(pid: int, marker: str) -> bool:
    """Whether process `pid` runs and has `marker` in its command line."""
    deadline = time.monotonic() + _NAMELESS_S
    while not (line := command_of(pid)) and not _is_gone(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return marker in line


def command_of(pid: int) -> str:
    """Return the command line of a process, a space after each word; empty where there is none."""
    _reap(pid)
    return _command_line(pid)


def find(marker: str) -> int | None:
    """Return the pid of a process that has `marker` in its command line, None when there is none."""
    if _has_proc():
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    else:
        listed = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, text=True, check=False)
        pids = [int(word) for word in listed.stdout.split()]
    return next((pid for pid in pids if marker in _command_line(pid)), None)


def end(pid: int, marker: str, timeout_s: float) -> bool:
    """End a process that `spawn` started, with its children; False when it is still there."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        if not is_alive(pid, marker):
            return True
        with suppress(ProcessLookupError):
            os.killpg(pid, how)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if _is_gone(pid):
                return True
            time.sleep(0.05)
    return False


def _reap(pid: int) -> None:
    # A child of ours that has ended stays visible until it is waited for.
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _is_gone(pid: int) -> bool:
    # Not the command line: it is empty as soon as a process begins to exit, its port still open.
    _reap(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's, which has got the number since
        return False
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    return False


def _has_proc() -> bool:
    return Path("/proc/self/cmdline").exists()


def _command_line(pid: int) -> str:
    """Return the words of a process's command line, each with a space after it; empty when it is gone."""
    if _has_proc():
        with suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout.rstrip("\n") + " "
