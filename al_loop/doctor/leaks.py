"""Check that no image is used for both training and evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from al_loop.core.errors import ModelError
from al_loop.core.files import read_json
from al_loop.doctor.finding import CheckContext, Finding
from al_loop.images.identity import hash_all
from al_loop.images.integrity import CheckDepth
from al_loop.images.sources import is_url
from al_loop.loop.manifest import LABELS
from al_loop.state import model_registry
from al_loop.state.database import label_table, pixel_table

_CHUNK = 64
_RETRAIN = "al-loop cycle: its model is trained without them, and evaluated on images it has not seen"


def pool(context: CheckContext) -> Iterator[Finding]:
    """Find evaluation images in the pool, by their rows and by their bytes."""
    store = context.workspace.store
    for set_name, image in label_table.set_members_in_pool(store):
        mend = f"al-loop pool add-val COCO.json --name {set_name}, with the file that the set came from"
        yield Finding("leaks.role", f"{image[:12]} in {set_name}", "is also in the pool", mend)
    for copy, original in pixel_table.byte_copies_of_validation(store):
        yield _copy("leaks.copy", copy, original, "the same bytes are stored for both")


def pixels(context: CheckContext) -> Iterator[Finding]:
    """Find evaluation images in the pool by their pixels; with DEEP also images never decoded before."""
    store = context.workspace.store
    copies = list(pixel_table.copies_of_validation(store))
    if context.depth is CheckDepth.DEEP:
        originals = dict(_hashes(context, "validation")) | pixel_table.validation_pixels(store)
        hashes = _hashes(context, "pool")
        copies += [(name, originals[digest]) for digest, name in hashes if digest in originals]
    for copy, original in copies:
        yield _copy("leaks.pixels", copy, original, "the pixels are the same")


def _hashes(context: CheckContext, role: str) -> Iterator[tuple[str, str]]:
    """Yield hash of pixels and id of the images in the workspace that have no hash yet."""
    rows = pixel_table.never_hashed(context.workspace.store, role)
    local = ((name, context.workspace.root / file) for name, file in rows if not is_url(file))
    with context.reporter.progress("compare pixels") as progress:
        done = 0
        while chunk := [(name, path) for name, path in islice(local, _CHUNK) if path.is_file()]:
            digests = hash_all([path.read_bytes for _, path in chunk])
            yield from ((d, name) for (name, _), d in zip(chunk, digests, strict=True) if d)
            done += len(chunk)
            progress(done, None)


def _copy(check: str, name: str, original: str, how: str) -> Finding:
    return Finding(
        check,
        f"{name[:12]} in the pool",
        f"is the evaluation image {original[:12]}: {how}",
        "al-loop pool add-val COCO.json, with the file that the set came from: copies leave the pool",
    )


def trained(context: CheckContext) -> Iterator[Finding]:
    """Find evaluation images on which the current model or its parents were trained."""
    workspace = context.workspace
    evaluation = label_table.images_in_sets(workspace.store)
    for number in _cycles_of_the_current_model(context):
        try:
            snapshot = read_json(workspace.cycle_dir(number) / "pull" / LABELS)
            both = sorted({str(item[0]) for item in snapshot} & evaluation)
        except (OSError, ValueError, TypeError, LookupError):
            continue  # reported by `cycles`
        if both:
            names = ", ".join(name[:12] for name in both[:5])
            problem = f"its model was trained on {len(both)} evaluation images ({names})"
            yield Finding("leaks.trained", f"cycle {number}", problem, _RETRAIN)


def _cycles_of_the_current_model(context: CheckContext) -> list[int]:
    numbers: list[int] = []
    with suppress(ModelError):
        model: model_registry.Model | None = model_registry.current_model(context.workspace)
        while model is not None and len(numbers) < 10_000:
            if model.cycle is not None:
                numbers.append(model.cycle)
            model = model_registry.get_model(context.workspace, model.parent) if model.parent else None
    return numbers
