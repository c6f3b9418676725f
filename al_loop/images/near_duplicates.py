"""Near-duplicates: photographs of almost the same picture, such as two frames of one film."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from al_loop.core.console import Progress
from al_loop.core.errors import DataError
from al_loop.images.decode import decode_picture
from al_loop.images.identity import THREADS
from al_loop.images.object_cache import fetch_bytes, read_stored
from al_loop.images.repository import images_by_id
from al_loop.state.database import fingerprint_table
from al_loop.state.database.image_table import pool_ids, set_image_role
from al_loop.state.database.label_history_table import copy_label, note_unlabelled, replacing
from al_loop.state.database.label_table import find_labels, images_in_sets
from al_loop.state.workspace import Workspace
from al_loop.structures.fingerprints import Fingerprints
from al_loop.structures.images import ImageFile

_CHUNK = 1024  # images whose fingerprints are stored together: a kill loses at most these
#: Images that are compared with evaluation images although it takes some time.
_MOST_NEW = 20_000
_LEAST_PX = 128  # least side to which a JPEG is decoded


@dataclass(frozen=True)
class LikeEvaluation:
    """Images of the pool that are like an evaluation image.

    images: each with the evaluation image that it is like.
    uncompared: number of images of the pool without a fingerprint.
    """

    images: dict[str, str]
    uncompared: int


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
    unread = add_fingerprints(workspace, pool, on_progress)
    groups = stored_fingerprints(workspace, pool).groups()
    alike = like_evaluation(workspace, on_progress)
    return NearDuplicates([[pool[row] for row in group] for group in groups], alike.images, unread)


def like_evaluation(
    workspace: Workspace, on_progress: Progress | None = None, *, fetch: bool = True
) -> LikeEvaluation:
    """Return the images of the pool that are like an evaluation image.

    fetch: see `add_fingerprints`.
    Of more than _MOST_NEW images of the pool without a fingerprint, none is decoded.
    """
    pool, evaluation = pool_ids(workspace.store), sorted(images_in_sets(workspace.store))
    if not evaluation:
        return LikeEvaluation({}, 0)
    add_fingerprints(workspace, evaluation, on_progress, fetch=fetch)
    if len(fingerprint_table.without_fingerprint(workspace.store, pool)) <= _MOST_NEW:
        add_fingerprints(workspace, pool, on_progress, fetch=fetch)
    ours, theirs = stored_fingerprints(workspace, pool), stored_fingerprints(workspace, evaluation)
    first = ours.first_near(theirs)
    images = {pool[row]: evaluation[first[row]] for row in np.flatnonzero(first >= 0).tolist()}
    return LikeEvaluation(images, int((~ours.known).sum()))


def take_out(workspace: Workspace, ids: Sequence[str]) -> None:
    """Take images that are like evaluation images out of the pool. `labels restore --last` undoes it."""
    store = workspace.store
    with store.transaction(), replacing(store, "pool duplicates --take-out"):
        labelled = {label.image_id for label in find_labels(store, ids)}
        for name in labelled:
            copy_label(store, name)
        note_unlabelled(store, [name for name in ids if name not in labelled])
        set_image_role(store, list(ids), "validation")


def add_fingerprints(
    workspace: Workspace,
    ids: Sequence[str],
    on_progress: Progress | None = None,
    *,
    fetch: bool = True,
) -> list[tuple[str, str]]:
    """Store the fingerprints of images that have none. Return images that cannot be read, with reasons.

    fetch: also download images that are in an object store alone. They are not kept.
    """
    missing = fingerprint_table.without_fingerprint(workspace.store, ids)
    unread: list[tuple[str, str]] = []
    with ThreadPoolExecutor(THREADS) as executor:
        for start in range(0, len(missing), _CHUNK):
            images = images_by_id(workspace, missing[start : start + _CHUNK])
            images = [image for image in images if fetch or not _is_remote(image)]
            results = list(zip(images, executor.map(_fingerprint, images), strict=True))
            found = [(image.id, bits) for image, bits in results if isinstance(bits, int)]
            with workspace.store.transaction():
                fingerprint_table.write_fingerprints(workspace.store, found)
            unread += [(image.id[:12], reason) for image, reason in results if isinstance(reason, str)]
            if on_progress:
                on_progress(min(start + _CHUNK, len(missing)), len(missing), "comparing images")
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
        data = fetch_bytes(image) if _is_remote(image) else read_stored(image)
        pixels = decode_picture(data, turn=False, least_px=_LEAST_PX).pixels
    except DataError as error:
        return str(error)
    return fingerprint(Image.fromarray(np.ascontiguousarray(pixels[..., ::-1])))


def _is_remote(image: ImageFile) -> bool:
    return image.url is not None and not image.path.is_file()
