"""Download checkpoints into a cache. Limit the size of a download, and check the hash at each use."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import urlsplit

from al_loop.core.console import Progress
from al_loop.core.errors import DataError, ModelError
from al_loop.core.files import cache_dir, file_sha256

#: Limits of one download. A detector's checkpoint with the state of its optimiser is smaller.
_MAX_BYTES, _MAX_S = 16 << 30, 4 * 3600.0


def fetch(location: str, sha256: str | None, progress: Progress) -> Path:
    """Return the local path of a checkpoint given by path or URL.

    sha256: expected hash of the downloaded or cached file. None: use the first digits of the hash that
        OpenMMLab and torch put into file names (name-0123abcd.pth).
    progress: called during a download, with MiB.
    Raises ModelError for a failed download.
    """
    address = urlsplit(location)
    if address.scheme not in ("http", "https"):
        return Path(location).expanduser()
    name = Path(address.path).name
    digits = re.search(r"-([0-9a-f]{8,64})\.pth$", name)
    expected = (sha256 or (digits[1] if digits else "")).lower()
    prefix = hashlib.sha256(location.encode()).hexdigest()[:8]
    target = cache_dir() / "checkpoints" / f"{prefix}-{name[-100:]}"
    if target.is_file() and file_sha256(target).startswith(expected):
        return target
    from al_loop.core.download import download  # its HTTP client takes a third of a second to import

    # Release pages redirect to other hosts; a file without an expected hash must then come over HTTPS.
    other_hosts = bool(expected) or address.scheme == "https"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        download(
            location,
            target,
            limit_bytes=_MAX_BYTES,
            limit_s=_MAX_S,
            other_hosts=other_hosts,
            sha256=expected,
            progress=lambda done, total: progress(done >> 20, total >> 20, f"MiB of {name}"),
        )
    except (DataError, OSError) as error:
        reason = error if isinstance(error, DataError) else f"cannot be stored ({error})"
        raise ModelError(
            f"{location} {reason}. Download it yourself, where there is a network, and set model.load_from "
            "in al-loop.toml to its path, or give it to: al-loop models import"
        ) from None
    return target
