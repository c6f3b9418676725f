"""Unpack an untrusted .tar.gz: plain files and folders, within limits of size, number and time."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import time
from pathlib import Path
from typing import BinaryIO

from al_loop.core.files import open_regular

_MAX_MEMBERS = 1_000_000
_MAX_S = 3600.0
_SPARE_BYTES = 100_000_000  # stays free on the disk
_MAX_BYTES_PER_READ = 16_000_000  # names and other headers are far shorter


class ArchiveError(Exception):
    """The archive is refused; the message gives the reason."""


class _BoundedReader(gzip.GzipFile):
    """Reads a compressed file within limits of size and time."""

    def __init__(self, file: BinaryIO, most_bytes: int) -> None:
        super().__init__(fileobj=file, mode="rb")
        self._most_bytes = most_bytes
        self._deadline = time.monotonic() + _MAX_S

    def read(self, size: int | None = -1) -> bytes:
        """Return the next `size` bytes."""
        if size is None or not 0 <= size <= _MAX_BYTES_PER_READ:
            raise ArchiveError("an entry has a name or header of more than 16 MB")
        self._check(self.tell() + size)
        return super().read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position."""
        self._check(offset)
        return super().seek(offset, whence)

    def _check(self, position: int) -> None:
        if position > self._most_bytes + _MAX_BYTES_PER_READ:
            raise ArchiveError(
                f"it contains more than the {self._most_bytes // 1_000_000} MB that are free here"
            )
        if time.monotonic() > self._deadline:
            raise ArchiveError(f"it takes longer than {_MAX_S / 60:.0f} minutes to unpack")


def unpack(source: Path, folder: Path) -> None:
    """Unpack an archive into a folder. Nothing is written outside, and no link or device is created.

    Raises ArchiveError, OSError, tarfile.TarError, EOFError or zlib.error.
    """
    free = max(shutil.disk_usage(folder).free - _SPARE_BYTES, 0)
    with (
        open_regular(source) as file,
        _BoundedReader(file, free) as plain,
        tarfile.open(fileobj=plain, mode="r:") as archive,
    ):
        for number, member in enumerate(archive):
            if number >= _MAX_MEMBERS:
                raise ArchiveError(f"it has more than {_MAX_MEMBERS} entries")
            if not (member.isdir() or member.isreg()) or member.issparse():
                raise ArchiveError("it has an entry that is neither file nor folder")
            archive.extract(member, folder, filter="data")
