"""A finished cycle held against its manifest: is everything still what it was, and would it be picked again?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from al_loop.core.errors import DataError, WorkspaceError
from al_loop.core.files import file_sha256, json_hash, read_json
from al_loop.core.frozen_settings import from_plain
from al_loop.core.versions import versions
from al_loop.images import repository
from al_loop.images.object_cache import changed_files
from al_loop.loop.cycle_record import Cycle
from al_loop.loop.manifest import KNOWN, LABELS, MANIFEST, PICKS, VERSION, check_shape
from al_loop.loop.pool_scoring import LabelSummary
from al_loop.loop.stages import select_picks
from al_loop.models import evaluation
from al_loop.state import model_registry
from al_loop.state.database.cycle_table import ABANDONED, last_number, read_cycle
from al_loop.state.database.pick_table import picks_of
from al_loop.state.file_hashes import noted_file, shards_in
from al_loop.state.id_list import POOL, pool_hash, read_pool
from al_loop.state.prediction_store import JOURNAL
from al_loop.state.stages import is_sealed, output_of
from al_loop.state.workspace import Workspace


@dataclass(frozen=True)
class Finding:
    """changed: what was recorded is not what is there. Otherwise it is as it was, or only worth knowing."""

    changed: bool
    text: str


def verify(workspace: Workspace, number: int) -> list[Finding]:
    """Compute every hash of a manifest anew; WorkspaceError where there is no manifest that can be read."""
    manifest = read_manifest(workspace, number)
    return [
        _manifest(workspace, number),
        *_pool(workspace, manifest),
        *_models(workspace, manifest),
        *_scores(workspace, manifest),
        *_labels(workspace, manifest),
        *_picks(workspace, manifest),
        *_predictions(workspace, manifest),
        *_photographs(workspace, manifest),
        *_stages(workspace, number),
        *_versions(manifest),
    ]


def reproduce(workspace: Workspace, number: int) -> list[Finding]:
    """Select again from what the manifest names, and hold the picks against those it holds.

    Raises WorkspaceError where something that it takes is gone or changed.
    """
    manifest = read_manifest(workspace, number)
    changed = [
        finding.text
        for finding in (
            _manifest(workspace, number),
            *_pool(workspace, manifest),
            *_scores(workspace, manifest),
            *_known(workspace, manifest),
        )
        if finding.changed
    ]
    if changed:
        raise WorkspaceError(
            f"cycle {number} cannot be selected again: {'; '.join(changed)}. Look at all of it: al-loop verify {number}"
        )
    settings = from_plain(manifest["settings"])
    model = model_registry.get_model(workspace, manifest["model"]["id"])
    noted = read_json(_known_file(workspace, number))
    known = LabelSummary(tuple(noted["images"]), tuple(noted["boxes"]), noted.get("count_r2"))
    rescored = output_of(
        workspace.store, f"cycle-{number}", "score", workspace.cycle_dir(number) / "score"
    ).get("closely", ())
    again = select_picks(workspace, Cycle(number, manifest["k"], model, settings), known, rescored)
    before, after = [p["image_id"] for p in manifest["picks"]], [p.image_id for p in again]
    if before == after:
        return [Finding(False, f"the same {len(after)} picks in the same order")]
    findings = [
        Finding(True, f"rank {rank + 1}: {a[:12]} is {b[:12]} now")
        for rank, (a, b) in enumerate(zip(before, after, strict=False))
        if a != b
    ]
    if len(before) != len(after):
        findings.append(Finding(True, f"{len(before)} picks are {len(after)} now"))
    return findings + [f for f in _versions(manifest) if "now" in f.text]


def read_manifest(workspace: Workspace, number: int) -> dict[str, Any]:
    """Return the manifest of a finished cycle."""
    path = workspace.cycle_dir(number) / "manifest.json"
    row = read_cycle(workspace.store, number)
    if row is None:
        last = last_number(workspace.store)
        raise DataError(f"no cycle {number}; {f'there are 1 to {last}' if last else 'there is none yet'}")
    if row.outcome is None:
        raise DataError(f"cycle {number} is under way and has no manifest yet. Finish it: al-loop cycle")
    if row.outcome == ABANDONED:
        raise DataError(
            f"cycle {number} was abandoned and has no manifest: no model rests on it. Its labels are in those of later cycles"
        )
    try:
        found: dict[str, Any] = read_json(path)
        version = found["manifest"]
        if version == VERSION:
            check_shape(found, number)
    except FileNotFoundError:
        raise WorkspaceError(f"{path} is missing. The next run writes it anew: al-loop cycle") from None
    except KeyError:
        raise WorkspaceError(
            f"{path} was written by an al-loop that noted less than this one checks. Delete it; the next run writes it anew: al-loop cycle"
        ) from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise WorkspaceError(
            f"{path} is damaged ({error}). Delete it; the next run writes it anew: al-loop cycle"
        ) from None
    if version != VERSION:
        older = isinstance(version, int) and version < VERSION
        then = "Delete it; the next run writes it anew: al-loop cycle" if older else "Upgrade al-loop"
        raise WorkspaceError(f"{path} has format {version}, this al-loop knows {VERSION}. {then}")
    return found


def _compare(what: str, before: object, now: object) -> Finding:
    return Finding(True, f"{what}: changed") if before != now else Finding(False, f"{what}: as before")


def _file(what: str, path: Path, before: str, size: int | None = None) -> Finding:
    """A file, or its first `size` bytes, behind which more may have been written since."""
    if not path.is_file():
        return Finding(True, f"{what}: gone")
    return _compare(what, before, file_sha256(path, size))


def _manifest(workspace: Workspace, number: int) -> Finding:
    """The record itself: whoever changes it changes what all else is held against."""
    path = workspace.cycle_dir(number) / MANIFEST
    noted = noted_file(workspace, path)
    if noted is None:
        return Finding(False, "the manifest is of an al-loop that kept no hash of it")
    return _file("the manifest", path, noted)


def _predictions(workspace: Workspace, manifest: dict[str, Any]) -> Iterator[Finding]:
    """What the promotion was decided from, as far as it is still there."""
    then = Workspace(workspace.root, from_plain(manifest["settings"]), workspace.store)
    for role in ("model", "candidate"):
        if manifest[role] is None:
            continue
        model = model_registry.get_model(workspace, manifest[role]["id"])
        folder = evaluation.predictions_dir(then, model)
        name = f"the predictions of {model.id} on labelled sets"
        if model.removed_at is not None or not folder.is_dir():
            continue
        lost = shards_in(workspace, folder).damaged()
        yield Finding(lost > 0, f"{name}: {f'changed, {lost} shards of them' if lost else 'as before'}")


def _photographs(workspace: Workspace, manifest: dict[str, Any]) -> Iterator[Finding]:
    """The pictures of what was trained and judged on; those of the picks are looked at by themselves."""
    path = workspace.cycle_dir(manifest["cycle"]) / "pull" / LABELS
    picked = {p["image_id"] for p in manifest["picks"]}
    wanted = {
        item.image.id: item.image
        for name in repository.set_names(workspace)
        for item in repository.validation(workspace, name)
    }
    with suppress(
        OSError, ValueError, TypeError, LookupError, RecursionError
    ):  # a damaged snapshot is said elsewhere
        wanted |= {item.image.id: item.image for item in repository.from_snapshot(workspace, read_json(path))}
    images = [image for name, image in wanted.items() if name not in picked]
    damaged = changed_files(images)
    yield from (Finding(True, f"picture {name[:12]}: {reason}") for name, reason in sorted(damaged.items()))
    if not damaged:
        yield Finding(
            False, f"the pictures trained and judged on, {len(images)} besides the picks, are as stored"
        )


def _stages(workspace: Workspace, number: int) -> Iterator[Finding]:
    """What stages left for people to read; nothing is decided from it."""
    folder = workspace.cycle_dir(number)
    noted = output_of(workspace.store, f"cycle-{number}", "select", folder / "select").get("picks_sha256")
    if noted is not None:
        yield _file("the file of the picks", folder / "select" / PICKS, noted)
    places = {name: folder / name for name in ("score", "select", "push", "pull")}
    places["train"] = workspace.model_dir(f"cycle-{number}")
    for name, place in places.items():
        if place.is_dir() and not is_sealed(workspace.store, f"cycle-{number}", name, place):
            yield Finding(True, f"{(place / 'stage.json').relative_to(workspace.root)}: changed")


def _pool(workspace: Workspace, manifest: dict[str, Any]) -> Iterator[Finding]:
    path = workspace.cycle_dir(manifest["cycle"]) / POOL
    name = f"the list of the pool, {manifest['pool']['images']} images"
    try:
        found = pool_hash(read_pool(path))
    except FileNotFoundError:
        yield Finding(True, f"{name}: gone")
    except (OSError, ValueError, TypeError, RecursionError):
        yield Finding(True, f"{name}: damaged")
    else:
        yield _compare(name, manifest["pool"]["hash"], found)


def _models(workspace: Workspace, manifest: dict[str, Any]) -> Iterator[Finding]:
    for role in ("model", "candidate"):
        noted = manifest[role]
        if noted is None:
            continue
        model = model_registry.get_model(workspace, noted["id"])
        if model.removed_at is not None:
            yield Finding(False, f"the weights of {model.id} were deleted by gc")
            continue
        yield _file(f"the weights of {model.id}", model.weights, noted["weights_sha256"])
        if noted.get("config_sha256") is not None:  # a manifest of an older al-loop has none
            yield _file(f"the config of {model.id}", model.config, noted["config_sha256"])


def _scores(workspace: Workspace, manifest: dict[str, Any]) -> Iterator[Finding]:
    noted = manifest["scores"]
    findings = [
        _file(name, workspace.root / name, was["sha256"], was["bytes"]) for name, was in noted.items()
    ]
    if not any(finding.changed for finding in findings):
        findings += _journals(workspace, noted)
    yield from (finding for finding in findings if finding.changed)
    if not any(finding.changed for finding in findings):
        yield Finding(False, f"the scores, {len(noted)} files, are as before")


def _journals(workspace: Workspace, noted: dict[str, Any]) -> Iterator[Finding]:
    """Columns that are whole, and of which the journal says too little."""
    for folder in sorted({(workspace.root / name).parent for name in noted}):
        there = shards_in(workspace, folder).extent()
        sizes = {workspace.root / name: was["bytes"] for name, was in noted.items()}
        if any(there.get(path, 0) < size for path, size in sizes.items() if path.parent == folder):
            yield Finding(True, f"{(folder / JOURNAL).relative_to(workspace.root)}: changed")


def _known_file(workspace: Workspace, number: int) -> Path:
    return workspace.cycle_dir(number) / "select" / KNOWN


def _known(workspace: Workspace, manifest: dict[str, Any]) -> Iterator[Finding]:
    name = "what the selection knew of the labels"
    if manifest["selected_with"] is None:
        yield Finding(True, f"{name}: not noted")
        return
    yield _file(name, _known_file(workspace, manifest["cycle"]), manifest["selected_with"])


def _labels(workspace: Workspace, manifest: dict[str, Any]) -> Iterator[Finding]:
    """The snapshot that was trained on; and which of its labels people have changed since, which they may."""
    yield from _known(workspace, manifest)
    path = workspace.cycle_dir(manifest["cycle"]) / "pull" / LABELS
    if manifest["labels"] is None or not path.is_file():
        yield Finding(True, "the snapshot of the labels: gone")
        return
    try:
        kept = read_json(path)
        names = [item[0] for item in kept]
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        yield Finding(True, "the snapshot of the labels: damaged")
        return
    yield _compare(
        f"the snapshot of the labels, {len(kept)} images", manifest["labels"]["labels_hash"], json_hash(kept)
    )
    today = {item[0]: item for item in repository.snapshot(repository.labelled(workspace))}
    edited = [name for name, item in zip(names, kept, strict=True) if today.get(name) != item]
    if edited:
        named = ", ".join(name[:12] for name in edited[:8])
        yield Finding(
            False,
            f"people have changed {len(edited)} of these labels since: {named}{' ...' if len(edited) > 8 else ''}",
        )


def _picks(workspace: Workspace, manifest: dict[str, Any]) -> Iterator[Finding]:
    rows = picks_of(workspace.store, manifest["cycle"])
    yield _compare(
        "the list of picks in the database",
        [p["image_id"] for p in manifest["picks"]],
        [r.image_id for r in rows],
    )
    files = {image.id: image.path for image in repository.images_by_id(workspace, [r.image_id for r in rows])}
    findings = [
        _file(
            f"picture {p['image_id'][:12]}",
            files.get(p["image_id"], workspace.root / "gone"),
            p["stored_sha256"],
        )
        for p in manifest["picks"]
    ]
    yield from (finding for finding in findings if finding.changed)
    if not any(finding.changed for finding in findings):
        yield Finding(False, f"the pictures of the {len(findings)} picks are as before")


def _versions(manifest: dict[str, Any]) -> Iterator[Finding]:
    """Other versions are no damage, but a reason for other results."""
    now = versions()
    other = [
        f"{name} {old}, {now.get(name)} now"
        for name, old in manifest["versions"].items()
        if now.get(name) != old
    ]
    yield Finding(False, f"made with {'; '.join(other)}" if other else "the versions are as before")
