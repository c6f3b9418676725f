"""Near-duplicates: photographs of almost the same picture, such as two frames of one film."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from al_loop.core.console import Progress
from al_loop.core.errors import DataError
from al_loop.images.identity import THREADS
from al_loop.images.object_cache import read_stored
from al_loop.images.repository import images_by_id
from al_loop.state.database import fingerprint_table
from al_loop.state.database.image_table import pool_ids, set_image_role
from al_loop.state.database.label_history_table import copy_label, replacing
from al_loop.state.database.label_table import images_in_sets
from al_loop.state.workspace import Workspace
from al_loop.structures.fingerprints import Fingerprints
from al_loop.structures.images import ImageFile

_CHUNK = 1024  # images whose fingerprints are stored together: a kill loses at most these
#: Images that are compared with evaluation images although it takes some time.
_MOST_NEW = 20_000
_DRAFT = (128, 128)  # px, least size to which a JPEG is decoded


@dataclass(frozen=True)
class NearDuplicates:
    """Near-duplicates among the images of a workspace.

    groups: of the pool, each a list of ids.
    like_evaluation: images of the pool, each with the evaluation image that it is like.
    unread: images without a fingerprint, with reasons.
    """

    groups: list[list[str]]
    like_evaluation: dict[str, str]
    unread: list[tuple[str, str]]


def find_near_duplicates(workspace: Workspace, on_progress: Progress | None = None) -> NearDuplicates:
    """Return the near-duplicates of a workspace. Every image is decoded once, the first time."""
    pool = pool_ids(workspace.store)
    unread = add_fingerprints(workspace, [*pool, *_evaluation(workspace)], on_progress)
    groups = stored_fingerprints(workspace, pool).groups()
    alike = like_evaluation(workspace)
    return NearDuplicates([[pool[row] for row in group] for group in groups], alike, unread)


def like_evaluation(workspace: Workspace, on_progress: Progress | None = None) -> dict[str, str]:
    """Return the images of the pool that are like an evaluation image, each with that image.

    Of more than _MOST_NEW images without a fingerprint, only those that have one are compared.
    """
    pool, evaluation = pool_ids(workspace.store), _evaluation(workspace)
    if len(fingerprint_table.without_fingerprint(workspace.store, pool)) <= _MOST_NEW:
        add_fingerprints(workspace, [*evaluation, *pool], on_progress)
    ours, theirs = stored_fingerprints(workspace, pool), stored_fingerprints(workspace, evaluation)
    found: dict[str, str] = {}
    for row in np.flatnonzero(theirs.known):
        for index in np.flatnonzero(ours.near_value(theirs.values[row])):
            found.setdefault(pool[index], evaluation[row])
    return found


def _evaluation(workspace: Workspace) -> list[str]:
    return sorted(images_in_sets(workspace.store))


def take_out(workspace: Workspace, ids: Sequence[str]) -> None:
    """Take images that are like evaluation images out of the pool. `labels restore` has their labels."""
    with workspace.store.transaction(), replacing(workspace.store, "like an evaluation image"):
        for name in ids:
            copy_label(workspace.store, name)
        set_image_role(workspace.store, list(ids), "validation")


def add_fingerprints(
    workspace: Workspace, ids: Sequence[str], on_progress: Progress | None = None
) -> list[tuple[str, str]]:
    """Store the fingerprints of images that have none. Return unreadable images with reasons."""
    missing = fingerprint_table.without_fingerprint(workspace.store, ids)
    unread: list[tuple[str, str]] = []
    with ThreadPoolExecutor(THREADS) as executor:
        for start in range(0, len(missing), _CHUNK):
            images = images_by_id(workspace, missing[start : start + _CHUNK])
            results = list(zip(images, executor.map(_fingerprint, images), strict=True))
            found = [(image.id, bits) for image, bits in results if isinstance(bits, int)]
            with workspace.store.transaction():
                fingerprint_table.write_fingerprints(workspace.store, found)
            unread += [(image.id[:12], reason) for image, reason in results if isinstance(reason, str)]
            if on_progress:
                on_progress(start + len(images), len(missing), "comparing images")
    return unread


def stored_fingerprints(workspace: Workspace, ids: Sequence[str]) -> Fingerprints:
    """Return the stored fingerprints of images, in their order."""
    stored = fingerprint_table.read_fingerprints(workspace.store, ids)
    values = np.array([stored.get(name, 0) for name in ids], np.int64).view(np.uint64)
    return Fingerprints(values, np.array([name in stored for name in ids], dtype=bool))


def fingerprint(picture: Image.Image) -> int:
    """Return the 64 bits of a picture as a signed integer."""
    # Imported here, as it takes half a second: most commands need none.
    import imagehash

    return int(np.packbits(imagehash.phash(picture).hash).view(">i8")[0])


def _fingerprint(image: ImageFile) -> int | str:
    """Return the fingerprint of an image, or the reason why it has none."""
    try:
        with Image.open(io.BytesIO(read_stored(image))) as picture:
            picture.draft("L", _DRAFT)
            return fingerprint(picture)
    except DataError as error:
        return str(error)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"cannot be decoded ({error})"
