"""Check that no image is used for both training and evaluation."""

from __future__ import annotations

from collections.abc import Iterator
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

_RETRAIN = "al-loop cycle: its model is trained without them, and judged on what it has not seen"


def pool(context: CheckContext) -> Iterator[Finding]:
    """Find evaluation images in the pool, by their rows and by their bytes."""
    store = context.workspace.store
    for set_name, image in label_table.set_members_in_pool(store):
        yield Finding(
            "leaks.role",
            f"{image[:12]} in {set_name}",
            "models are judged on it, and it is in the pool",
            f"al-loop pool add-val COCO.json --name {set_name}, with the file that the set came from",
        )
    for copy, judged in pixel_table.byte_copies_of_validation(store):
        yield _copy("leaks.copy", copy, judged, "the same bytes are stored for both")


def pixels(context: CheckContext) -> Iterator[Finding]:
    """Find evaluation images in the pool by their pixels; with DEEP also images never decoded before."""
    for copy, judged in pixel_table.copies_of_validation(context.workspace.store):
        yield _copy("leaks.pixels", copy, judged, "the pixels are the same")
    if context.depth is CheckDepth.DEEP:
        yield from _decoded(context)


def _decoded(context: CheckContext) -> Iterator[Finding]:
    """Decode images without a hash: of the sets, then of the pool with the same sizes."""
    judged: dict[str, str] = {}
    for digest, name in _hashes(context, "validation"):
        judged.setdefault(digest, name)
    judged |= pixel_table.validation_pixels(context.workspace.store)
    for digest, name in _hashes(context, "pool"):
        if digest in judged:
            yield _copy("leaks.pixels", name, judged[digest], "the pixels are the same")


def _hashes(context: CheckContext, role: str) -> Iterator[tuple[str, str]]:
    """Yield hash of pixels and id of the images in the workspace that have no hash yet."""
    rows = pixel_table.never_hashed(context.workspace.store, role)
    local = ((name, context.workspace.root / file) for name, file in rows if not is_url(file))
    with context.reporter.progress("compare pixels") as progress:
        done = 0
        while chunk := [(name, path) for name, path in islice(local, _CHUNK) if path.is_file()]:
            for (name, _), digest in zip(
                chunk, hash_all([path.read_bytes for _, path in chunk]), strict=True
            ):
                if digest:
                    yield digest, name
            done += len(chunk)
            progress(done, None)


def _copy(check: str, name: str, judged: str, how: str) -> Finding:
    return Finding(
        check,
        f"{name[:12]} in the pool",
        f"is the photograph {judged[:12]} that models are judged on: {how}",
        "al-loop pool add-val COCO.json, with the file that the set came from: copies leave the pool",
    )


def trained(context: CheckContext) -> Iterator[Finding]:
    """Find evaluation images that the current model or its parents were trained on."""
    workspace = context.workspace
    judged = label_table.images_in_sets(workspace.store)
    for number in _cycles_of_the_current_model(context):
        snapshot = workspace.cycle_dir(number) / "pull" / LABELS
        try:
            learnt = {str(item[0]) for item in read_json(snapshot)}
        except (OSError, ValueError, TypeError, LookupError):
            continue  # `cycles` says so
        both = sorted(learnt & judged)
        if both:
            named = ", ".join(name[:12] for name in both[:5])
            yield Finding(
                "leaks.trained",
                f"cycle {number}",
                f"its model has learnt from {len(both)} images that models are judged on ({named})",
                _RETRAIN,
            )


def _cycles_of_the_current_model(context: CheckContext) -> list[int]:
    numbers: list[int] = []
    try:
        model: model_registry.Model | None = model_registry.current_model(context.workspace)
        while model is not None and len(numbers) < 10_000:
            if model.cycle is not None:
                numbers.append(model.cycle)
            model = model_registry.get_model(context.workspace, model.parent) if model.parent else None
    except ModelError:
        pass
    return numbers
