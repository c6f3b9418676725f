"""Reading untrusted files, writing files atomically, and showing file names."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from render.core.errors import DatasetError

#: Never waits for a writer (a named pipe), is not left to processes that are started, takes no terminal as
#: its own.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_CHUNK = 1 << 20
#: No draft is written for longer than this, in seconds.
DRAFT_S = 3600.0


def open_regular(path: Path | str) -> io.FileIO:
    """Open a regular file for reading; never block on a named pipe.

    Raises OSError; for a folder, named pipe or device its `strerror` says so.
    """
    _refuse_special(os.stat(path), path)  # opening some devices does something
    descriptor = os.open(path, _FLAGS)
    try:
        _refuse_special(os.fstat(descriptor), path)  # it may have been replaced since
    except BaseException:
        os.close(descriptor)
        raise
    return io.FileIO(descriptor, "r")


def read_regular(path: Path | str, limit_bytes: int) -> bytes:
    """Return the content of a regular file of at most `limit_bytes`.

    Files that state no size, or too small a one (those of /proc), are read up to the limit. Raises OSError as
    `open_regular` does, and for larger files.
    """
    # One byte more than there should be: most files end with the first call.
    pieces = list(_pieces(path, limit_bytes, first_bytes=os.stat(path).st_size + 1))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def sha256_regular(path: Path | str, limit_bytes: int) -> str:
    """Return the SHA-256 of a regular file as 64 hex digits; OSError as in `read_regular`."""
    digest = hashlib.sha256()
    for piece in _pieces(path, limit_bytes):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(path: Path | str, limit_bytes: int, first_bytes: int = _CHUNK) -> Iterator[bytes]:
    with open_regular(path) as file:
        size, read_bytes, wanted = os.fstat(file.fileno()).st_size, 0, first_bytes
        while True:
            if max(size, read_bytes) > limit_bytes:
                raise too_large(path, max(size, read_bytes), limit_bytes)
            piece = file.read(min(wanted, limit_bytes + 1 - read_bytes))
            if piece is None:
                raise OSError(
                    errno.EAGAIN, "it gives nothing without waiting, expected a regular file", str(path)
                )
            if not piece:
                return
            read_bytes, wanted = read_bytes + len(piece), _CHUNK
            yield piece


def too_large(path: Path | str, size: int, limit_bytes: int) -> OSError:
    """Return the error for a file that is larger than may be read."""
    return OSError(errno.EFBIG, f"it has {_amount(size)}, expected at most {_amount(limit_bytes)}", str(path))


def _amount(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB" if size >= 1 << 17 else f"{size} bytes"


def _refuse_special(status: os.stat_result, path: Path | str) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for test, name in _KINDS if test(status.st_mode)), "something else")
        raise OSError(errno.EINVAL, f"{kind}, expected a regular file", str(path))


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file so that a reader, or a kill, never leaves half of it.

    durable: also after a power cut. Raises DatasetError when it cannot be written.
    """
    try:
        with atomic_file(path, durable=durable) as file:
            file.write(data)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written ({error}); make room and run again") from error


@contextlib.contextmanager
def atomic_file(
    path: Path, *, mode: int = 0o666, durable: bool = True, shared: bool = False
) -> Iterator[BinaryIO]:
    """Open a draft beside `path` for writing; it replaces `path` when the block ends without an error.

    A reader, or a run after a kill, finds the whole file or none.
    mode: permissions of a new file, before the umask.
    durable: flush the draft to the disk first.
    shared: several processes may write `path` at once. Each has its own draft, and drafts of killed
        processes are removed after DRAFT_S. Otherwise the draft of a killed process is overwritten.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.partial" if shared else f"{path.name}.partial")
    if shared:
        for old in path.parent.glob("*.partial"):
            with contextlib.suppress(OSError):
                if old.stat().st_mtime < time.time() - DRAFT_S:
                    old.unlink()
    try:
        with open(draft, "wb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def printable(name: object) -> str:
    r"""Return text from outside, such as a file name, as one line safe for terminal, database and JSON.

    Control characters, newlines, direction marks and bytes that are not UTF-8 become escapes: "\n", "\x1b",
    "\xff". Printable text is unchanged.
    """
    text = str(name)
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def visible(text: str) -> str:
    """Return lines in which control characters and direction marks are escaped."""
    return "\n".join(map(printable, text.split("\n")))


def _shown(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as Python has it in names (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    if letter.isprintable() or letter in "\u3000\u00a0":
        return letter
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def name_as_text(path: str) -> str:
    """Return a path as text that a database and JSON can take, and `name_from_text` gives back.

    That is the path itself, or where it holds bytes that are no UTF-8 its file:// address (RFC 8089).
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return Path(path).absolute().as_uri()
    return path


def name_from_text(text: str) -> str:
    """Return the path of a name that `name_as_text` has given."""
    from urllib.parse import unquote_to_bytes

    return os.fsdecode(unquote_to_bytes(text.removeprefix("file://"))) if text.startswith("file://") else text
