"""Images that models are judged on must not be learnt from."""

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

_CHUNK = 64

_ANEW = "al-loop cycle: its model is trained without them, and judged on what it has not seen"


def pool(context: CheckContext) -> Iterator[Finding]:
    """Judged images that are in the pool too: by their row, by what is stored, by their pixels."""
    store = context.workspace.store
    for row in store.execute(
        "SELECT s.name, i.id FROM sets s JOIN images i ON i.id = s.image_id WHERE i.role = 'pool' ORDER BY i.id"
    ):
        yield Finding(
            "leaks.role",
            f"{row['id'][:12]} in {row['name']}",
            "models are judged on it, and it is in the pool",
            f"al-loop pool add-val COCO.json --name {row['name']}, with the file that the set came from",
        )
    for row in store.execute(
        "SELECT p.id AS pool, j.id AS judged FROM images j JOIN images p ON p.stored_sha256 = j.stored_sha256 "
        "WHERE j.role = 'validation' AND p.role = 'pool' ORDER BY p.id"
    ):
        yield _copy("leaks.copy", row["pool"], row["judged"], "the same bytes are stored for both")


def pixels(context: CheckContext) -> Iterator[Finding]:
    """Judged pictures that lie in the pool encoded in another way: of those whose pixels were compared before; deep: of all."""
    store = context.workspace.store
    for row in store.execute(
        "SELECT DISTINCT p.image_id AS pool, j.image_id AS judged FROM images ji JOIN pixels j ON j.image_id = ji.id "
        "JOIN pixels p ON p.sha256 = j.sha256 JOIN images pi ON pi.id = p.image_id "
        "WHERE ji.role = 'validation' AND pi.role = 'pool' ORDER BY p.image_id"
    ):
        yield _copy("leaks.pixels", row["pool"], row["judged"], "the pixels are the same")
    if context.depth is CheckDepth.DEEP:
        yield from _decoded(context)


def _decoded(context: CheckContext) -> Iterator[Finding]:
    """Decode what was never compared: the judged images, then those of the pool that have their sizes."""
    workspace = context.workspace
    judged: dict[str, str] = {}
    for found, name in _hashes(context, "role = 'validation'"):
        judged.setdefault(found, name)
    rows = workspace.store.rows(
        "SELECT sha256, image_id FROM pixels p JOIN images i ON i.id = p.image_id WHERE i.role = 'validation'"
    )
    judged |= {row["sha256"]: row["image_id"] for row in rows}
    sizes = "(width, height) IN (SELECT width, height FROM images WHERE role = 'validation')"
    for found, name in _hashes(context, f"role = 'pool' AND {sizes}"):
        if found in judged:
            yield _copy("leaks.pixels", name, judged[found], "the pixels are the same")


def _hashes(context: CheckContext, which: str) -> Iterator[tuple[str, str]]:
    """The pixels' hash, and the id, of images that lie in the workspace and were not compared."""
    rows = context.workspace.store.execute(
        f"SELECT id, file FROM images WHERE {which} AND id NOT IN (SELECT image_id FROM pixels) ORDER BY id"
    )
    there = ((row["id"], context.workspace.root / row["file"]) for row in rows if not is_url(row["file"]))
    with context.reporter.progress("compare pixels") as progress:
        done = 0
        while chunk := [(name, path) for name, path in islice(there, _CHUNK) if path.is_file()]:
            for (name, _), found in zip(chunk, hash_all([path.read_bytes for _, path in chunk]), strict=True):
                if found:
                    yield found, name
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
    """Labels that the model in use, or one that it was made from, has learnt from, of images that it is judged on."""
    workspace = context.workspace
    judged = {str(row["image_id"]) for row in workspace.store.rows("SELECT DISTINCT image_id FROM sets")}
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
                _ANEW,
            )


def _cycles_of_the_current_model(context: CheckContext) -> list[int]:
    found: list[int] = []
    try:
        model: model_registry.Model | None = model_registry.current_model(context.workspace)
        while model is not None and len(found) < 10_000:
            if model.cycle is not None:
                found.append(model.cycle)
            model = model_registry.get_model(context.workspace, model.parent) if model.parent else None
    except ModelError:
        pass
    return found
