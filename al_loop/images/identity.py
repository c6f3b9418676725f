"""Which image of the workspace a file shows: by its bytes, or by its pixels, however they are stored."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from al_loop.core.errors import DataError
from al_loop.images.decode import decode_picture
from al_loop.images.object_cache import fetch_bytes
from al_loop.images.repository import images_by_id
from al_loop.state.label_history import keep_label, replacing
from al_loop.state.workspace import Workspace
from al_loop.structures.images import ImageFile

Size = tuple[int, int]  # width, height in px
Progress = Callable[..., None]

_CHUNK = 256  # images whose hashes are noted together: a killed run decodes at most so many again
_DECODED = 8  # pictures at a time, at most: each may have 100 million pixels
_FETCHED = 16  # objects at a time


def picture_sha256(picture: NDArray[np.uint8]) -> str:
    """Return a hash of an (h, w, 3) uint8 BGR picture: its size and every pixel."""
    height, width = picture.shape[:2]
    digest = hashlib.sha256(f"{width}x{height} BGR\n".encode())
    digest.update(np.ascontiguousarray(picture).data)
    return digest.hexdigest()


def pixels_sha256(data: bytes) -> str | None:
    """Return `picture_sha256` of a stored picture as a model sees it; None where it cannot be decoded."""
    try:
        picture = decode_picture(data, turn=False).pixels  # stored pictures are upright
    except DataError:
        return None
    return picture_sha256(picture)


def same_bytes(workspace: Workspace, identity: str, stored: str) -> str | None:
    """Return the id of the image that is known by these bytes, or None.

    identity, stored: SHA-256 of a file as it came in, and as it would be stored. Either may be the file of a known image
    as it came in or as it is stored: `pool export` names stored files.
    """
    row = workspace.store.row(
        "SELECT id FROM images WHERE id IN (?, ?) UNION ALL "
        "SELECT id FROM images WHERE stored_sha256 IN (?, ?) AND stored_sha256 != id LIMIT 1",
        *(identity, stored, identity, stored),
    )
    return None if row is None else str(row["id"])


def judged_sizes(workspace: Workspace) -> set[Size]:
    """Return the sizes of the images that models are judged on."""
    rows = workspace.store.rows("SELECT DISTINCT width, height FROM images WHERE role = 'validation'")
    return {(row["width"], row["height"]) for row in rows}


def same_pixels(
    workspace: Workspace, hashes: Collection[str], *, judged: bool = False
) -> dict[str, list[str]]:
    """Return the images that have pixels of these hashes, by hash; those of judged sets first.

    Finds what `hash_known` has hashed.  judged: only images that models are judged on.
    """
    rows = workspace.store.rows(
        "SELECT DISTINCT p.sha256, p.image_id, i.role FROM json_each(?) h CROSS JOIN pixels p ON p.sha256 = h.value "
        "JOIN images i ON i.id = p.image_id WHERE i.role = 'validation' OR NOT ? "
        "ORDER BY i.role != 'validation', p.image_id",
        json.dumps(sorted(hashes)),
        judged,
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["sha256"], []).append(row["image_id"])
    return found


def hash_known(
    workspace: Workspace,
    sizes: Collection[Size],
    on_progress: Progress | None = None,
    *,
    judged: bool = False,
) -> list[str]:
    """Hash the pixels of all images of these sizes that were not hashed yet; return those that cannot be read, and why.

    judged: only images that models are judged on. Each image is decoded once in the life of a workspace.
    """
    rows = workspace.store.rows(
        "SELECT i.id FROM json_each(?) s CROSS JOIN images i ON i.width = s.value ->> 0 AND i.height = s.value ->> 1 "
        "WHERE (i.role = 'validation' OR NOT ?) "
        "AND NOT EXISTS (SELECT 1 FROM pixels p WHERE p.image_id = i.id AND p.source = 'stored')",
        json.dumps(sorted(sizes)),
        judged,
    )
    return _hash(workspace, [row["id"] for row in rows], on_progress)


def take_out_copies(workspace: Workspace, ids: Sequence[str]) -> list[str]:
    """Take those images out of the pool that show the same picture as one that models are judged on; return them.

    What comes in is compared when it comes: this finds what an older al-loop has let in, before people label it or a
    model learns from it. Only images that have the size of a judged one are decoded, once.
    """
    sizes = judged_sizes(workspace)
    compared = [i.id for i in images_by_id(workspace, ids) if (i.width, i.height) in sizes]
    if not compared:
        return []
    hash_known(workspace, sizes, judged=True)
    listed = json.dumps(compared)
    rows = workspace.store.rows(
        "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT image_id FROM pixels WHERE source = 'stored')",
        listed,
    )
    _hash(workspace, [row["value"] for row in rows])
    rows = workspace.store.rows(
        "SELECT DISTINCT p.image_id FROM pixels p JOIN images i ON i.id = p.image_id AND i.role = 'pool' "
        "WHERE p.image_id IN (SELECT value FROM json_each(?)) AND EXISTS (SELECT 1 FROM pixels q "
        "JOIN images j ON j.id = q.image_id WHERE q.sha256 = p.sha256 AND j.role = 'validation') ORDER BY p.image_id",
        listed,
    )
    copies = [str(row["image_id"]) for row in rows]
    with workspace.store.transaction(), replacing(workspace, "models are judged on the same picture"):
        for name in copies:
            keep_label(workspace, name)
            workspace.store.execute("UPDATE images SET role = 'validation' WHERE id = ?", name)
    return copies


def _hash(workspace: Workspace, ids: Sequence[str], on_progress: Progress | None = None) -> list[str]:
    """Hash the pixels of images and note them, chunk by chunk; return those that cannot be read, and why."""
    unread: list[str] = []
    with ThreadPoolExecutor(threads()) as crew:
        for start in range(0, len(ids), _CHUNK):
            images = images_by_id(workspace, ids[start : start + _CHUNK])
            hashes = list(crew.map(_hashed, images))
            noted = [(i.id, "stored", found[0]) for i, found in zip(images, hashes, strict=True) if found[0]]
            with workspace.store.transaction():
                note_pixels(workspace, noted)
            unread += [
                f"{image.id[:12]} {problem}"
                for image, (_, problem) in zip(images, hashes, strict=True)
                if problem
            ]
            if on_progress:
                on_progress(start + len(images), len(ids), "comparing with known images")
    return unread


def note_pixels(workspace: Workspace, rows: Sequence[tuple[str, str, str]]) -> None:
    """Remember hashes of pixels: (image id, 'stored' or 'original', hash); within the caller's transaction."""
    workspace.store.connection.executemany("INSERT OR REPLACE INTO pixels VALUES (?, ?, ?)", rows)


def hash_all(pictures: Sequence[bytes | Callable[[], bytes]]) -> list[str | None]:
    """Return `pixels_sha256` of pictures, or of what reads them, several at a time."""
    with ThreadPoolExecutor(threads()) as crew:
        return list(crew.map(lambda one: pixels_sha256(one if isinstance(one, bytes) else one()), pictures))


def _hashed(image: ImageFile) -> tuple[str | None, str]:
    """Return the hash of an image's pixels, or None and why there is none."""
    try:
        data = (
            fetch_bytes(image)
            if image.url is not None and not image.path.is_file()
            else image.path.read_bytes()
        )
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
    except DataError as error:
        return None, str(error)
    found = pixels_sha256(data)
    return found, "" if found else "cannot be decoded"


def threads() -> int:
    """Return how many pictures to decode at a time."""
    return min(os.cpu_count() or 1, _DECODED)
