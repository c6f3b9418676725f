"""Checkpoints by URL: downloaded once into the cache, whole, bounded, and held against their hash every time."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from al_loop.core.errors import DataError, ModelError
from al_loop.core.files import cache_dir, file_sha256

#: More than any detector's checkpoint with the state of its optimiser.
_LARGEST, _LONGEST_S = 16 << 30, 4 * 3600.0


def fetch(location: str, sha256: str | None = None) -> Path:
    """Return the local path of a checkpoint given by path or URL.

    The hash is checked, also of a file that is in the cache: `sha256` where given, else the first digits that OpenMMLab and
    torch put at the end of the file's name (name-0123abcd.pth). Raises ModelError where the file cannot be had.
    """
    address = urlsplit(location)
    if address.scheme not in ("http", "https"):
        return Path(location).expanduser()
    name = Path(address.path).name
    in_name = re.search(r"-([0-9a-f]{8,64})\.pth$", name)
    expected = (sha256 or (in_name[1] if in_name else "")).lower()
    target = (
        cache_dir() / "checkpoints" / f"{hashlib.sha256(location.encode()).hexdigest()[:8]}-{name[-100:]}"
    )
    if target.is_file() and file_sha256(target).startswith(expected):
        return target
    from al_loop.core.download import download  # with its HTTP client it takes a third of a second

    unchecked = target.with_name(f"{target.name}.{os.getpid()}.unchecked")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Release pages send on to other hosts; a file that names no hash must come over HTTPS for that.
        elsewhere = bool(expected) or address.scheme == "https"
        download(location, unchecked, limit_bytes=_LARGEST, limit_s=_LONGEST_S, other_hosts=elsewhere)
        if not (found := file_sha256(unchecked)).startswith(expected):
            raise DataError(f"has SHA-256 {found}, expected {expected}")
        os.replace(unchecked, target)
    except (DataError, OSError) as error:
        raise ModelError(
            f"{location} {error if isinstance(error, DataError) else f'cannot be kept ({error})'}. Fetch it by hand and set "
            "model.load_from in al-loop.toml to its path, or give it to: al-loop models import"
        ) from None
    finally:
        unchecked.unlink(missing_ok=True)
    return target
