"""Find images of the workspace with the same pixels as a file, by a hash of the pixels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from al_loop.core.console import Progress
from al_loop.core.errors import DataError
from al_loop.images.decode import decode_picture
from al_loop.images.object_cache import fetch_bytes
from al_loop.images.repository import images_by_id
from al_loop.state.database import pixel_table
from al_loop.state.database.image_table import set_image_role, validation_sizes
from al_loop.state.database.label_history_table import copy_label, replacing
from al_loop.state.workspace import Workspace
from al_loop.structures.images import ImageFile

_CHUNK = 256  # images whose hashes are stored together: a kill loses at most these hashes
#: Images to decode at a time; each may have 100 million pixels.
THREADS = min(os.cpu_count() or 1, 8)


def picture_sha256(picture: NDArray[np.uint8]) -> str:
    """Hash size and pixels of an (h, w, 3) uint8 BGR image."""
    height, width = picture.shape[:2]
    digest = hashlib.sha256(f"{width}x{height} BGR\n".encode())
    digest.update(np.ascontiguousarray(picture).data)
    return digest.hexdigest()


def pixels_sha256(data: bytes) -> str | None:
    """Return `picture_sha256` of an encoded image. None if it cannot be decoded."""
    try:
        return picture_sha256(decode_picture(data, turn=False).pixels)  # stored images are upright
    except DataError:
        return None


def hash_known(
    workspace: Workspace,
    sizes: Collection[tuple[int, int]],
    on_progress: Progress | None = None,
    *,
    validation: bool = False,
) -> list[str]:
    """Hash the pixels of all images of these sizes without a hash. Return unreadable images with reasons.

    sizes: (width, height) in px.
    validation: only images of evaluation sets.
    Each image of a workspace is decoded only once.
    """
    missing = pixel_table.unhashed_of_sizes(workspace.store, sizes, validation=validation)
    return _hash(workspace, missing, on_progress)


def remove_evaluation_copies(workspace: Workspace, ids: Sequence[str]) -> list[str]:
    """Remove images from the pool that have the pixels of an evaluation image. Return their ids.

    New images are compared when they are added. This function finds copies that an older al-loop has added,
    before people label them or a model is trained on them. Only images of the same size are decoded, once.
    """
    sizes = validation_sizes(workspace.store)
    compared = [i.id for i in images_by_id(workspace, ids) if (i.width, i.height) in sizes]
    if not compared:
        return []
    hash_known(workspace, sizes, validation=True)
    _hash(workspace, pixel_table.unhashed(workspace.store, compared))
    pairs = pixel_table.copies_of_validation(workspace.store, compared)
    copies = list(dict.fromkeys(copy for copy, _ in pairs))
    with (
        workspace.store.transaction(),
        replacing(workspace.store, "models are evaluated on the same picture"),
    ):
        for name in copies:
            copy_label(workspace.store, name)
        set_image_role(workspace.store, copies, "validation")
    return copies


def _hash(workspace: Workspace, ids: Sequence[str], on_progress: Progress | None = None) -> list[str]:
    """Hash images and store the hashes, chunk by chunk. Return unreadable images with reasons."""
    unread: list[str] = []
    with ThreadPoolExecutor(THREADS) as executor:
        for start in range(0, len(ids), _CHUNK):
            images = images_by_id(workspace, ids[start : start + _CHUNK])
            results = list(zip(images, executor.map(_hash_image, images), strict=True))
            hashes = [(image.id, "stored", digest) for image, (digest, _) in results if digest]
            with workspace.store.transaction():
                pixel_table.write_pixels(workspace.store, hashes)
            unread += [f"{image.id[:12]} {problem}" for image, (_, problem) in results if problem]
            if on_progress:
                on_progress(start + len(images), len(ids), "comparing with known images")
    return unread


def hash_all(pictures: Sequence[bytes | Callable[[], bytes]]) -> list[str | None]:
    """Return `pixels_sha256` of encoded images, or of callables that read them, in threads."""
    with ThreadPoolExecutor(THREADS) as executor:
        return list(executor.map(lambda p: pixels_sha256(p if isinstance(p, bytes) else p()), pictures))


def _hash_image(image: ImageFile) -> tuple[str | None, str]:
    """Return the hash of an image's pixels, or None with the reason."""
    linked = image.url is not None and not image.path.is_file()
    try:
        digest = pixels_sha256(fetch_bytes(image) if linked else image.path.read_bytes())
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
    except DataError as error:
        return None, str(error)
    return digest, "" if digest else "cannot be decoded"
