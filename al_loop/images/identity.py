"""Find the image of the workspace that a file shows, by its bytes or its pixels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from al_loop.core.errors import DataError
from al_loop.images.decode import decode_picture
from al_loop.images.object_cache import fetch_bytes
from al_loop.images.repository import images_by_id
from al_loop.state.database import pixel_table
from al_loop.state.database.image_table import find_by_bytes, set_image_role, validation_sizes
from al_loop.state.database.label_history_table import copy_label, replacing
from al_loop.state.workspace import Workspace
from al_loop.structures.images import ImageFile

Size = tuple[int, int]  # width, height in px
Progress = Callable[..., None]

_CHUNK = 256  # images whose hashes are noted together: a killed run decodes at most so many again
_DECODED = 8  # pictures at a time, at most: each may have 100 million pixels
_FETCHED = 16  # objects at a time


def picture_sha256(picture: NDArray[np.uint8]) -> str:
    """Hash size and pixels of an (h, w, 3) uint8 BGR image."""
    height, width = picture.shape[:2]
    digest = hashlib.sha256(f"{width}x{height} BGR\n".encode())
    digest.update(np.ascontiguousarray(picture).data)
    return digest.hexdigest()


def pixels_sha256(data: bytes) -> str | None:
    """Return `picture_sha256` of an encoded image; None where it cannot be decoded."""
    try:
        picture = decode_picture(data, turn=False).pixels  # stored pictures are upright
    except DataError:
        return None
    return picture_sha256(picture)


def same_bytes(workspace: Workspace, identity: str, stored: str) -> str | None:
    """Return the id of the image that is known by these bytes, or None.

    identity, stored: SHA-256 of a file as it came in, and as it would be stored. Either may be the file of
        a known image as it came in or as it is stored: `pool export` names stored files.
    """
    return find_by_bytes(workspace.store, identity, stored)


def judged_sizes(workspace: Workspace) -> set[Size]:
    """Return the sizes of all images in sets for evaluation."""
    return validation_sizes(workspace.store)


def same_pixels(
    workspace: Workspace, hashes: Collection[str], *, judged: bool = False
) -> dict[str, list[str]]:
    """Return the images with these hashes of pixels, by hash; images of evaluation sets first.

    Finds what `hash_known` has hashed.  judged: only images that models are judged on.
    """
    return pixel_table.images_with_pixels(workspace.store, hashes, validation=judged)


def hash_known(
    workspace: Workspace,
    sizes: Collection[Size],
    on_progress: Progress | None = None,
    *,
    judged: bool = False,
) -> list[str]:
    """Hash the pixels of all images of these sizes without a hash; return the unreadable ones with reasons.

    judged: only images that models are judged on. Each image is decoded once in the life of a workspace.
    """
    missing = pixel_table.unhashed_of_sizes(workspace.store, sizes, validation=judged)
    return _hash(workspace, missing, on_progress)


def take_out_copies(workspace: Workspace, ids: Sequence[str]) -> list[str]:
    """Remove images from the pool that have the pixels of an evaluation image; return their ids.

    What comes in is compared when it comes: this finds what an older al-loop has let in, before people
    label it or a model learns from it. Only images that have the size of a judged one are decoded, once.
    """
    sizes = judged_sizes(workspace)
    compared = [i.id for i in images_by_id(workspace, ids) if (i.width, i.height) in sizes]
    if not compared:
        return []
    hash_known(workspace, sizes, judged=True)
    _hash(workspace, pixel_table.unhashed(workspace.store, compared))
    pairs = pixel_table.copies_of_validation(workspace.store, compared)
    copies = list(dict.fromkeys(copy for copy, _ in pairs))
    with workspace.store.transaction(), replacing(workspace.store, "models are judged on the same picture"):
        for name in copies:
            copy_label(workspace.store, name)
        set_image_role(workspace.store, copies, "validation")
    return copies


def _hash(workspace: Workspace, ids: Sequence[str], on_progress: Progress | None = None) -> list[str]:
    """Hash images and store the hashes, chunk by chunk; return the unreadable ones with reasons."""
    unread: list[str] = []
    with ThreadPoolExecutor(threads()) as executor:
        for start in range(0, len(ids), _CHUNK):
            images = images_by_id(workspace, ids[start : start + _CHUNK])
            hashes = list(executor.map(_hashed, images))
            noted = [
                (i.id, "stored", result[0]) for i, result in zip(images, hashes, strict=True) if result[0]
            ]
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
    """Store hashes (image id, 'stored' or 'original', hash) within the caller's transaction."""
    pixel_table.write_pixels(workspace.store, rows)


def hash_all(pictures: Sequence[bytes | Callable[[], bytes]]) -> list[str | None]:
    """Return `pixels_sha256` of encoded images, or of callables that read them, in threads."""
    with ThreadPoolExecutor(threads()) as executor:
        return list(
            executor.map(
                lambda picture: pixels_sha256(picture if isinstance(picture, bytes) else picture()), pictures
            )
        )


def _hashed(image: ImageFile) -> tuple[str | None, str]:
    """Return the hash of an image's pixels, or None and the reason."""
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
    digest = pixels_sha256(data)
    return digest, "" if digest else "cannot be decoded"


def threads() -> int:
    """Return the number of images to decode at a time."""
    return min(os.cpu_count() or 1, _DECODED)
