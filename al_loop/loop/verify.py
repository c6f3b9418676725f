"""Compare a finished cycle with its manifest, and repeat its selection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import structs

from al_loop.core.config import Config
from al_loop.core.errors import WorkspaceError
from al_loop.core.files import file_sha256, json_hash, read_json
from al_loop.core.frozen_settings import from_plain
from al_loop.core.versions import versions
from al_loop.images import repository
from al_loop.images.object_cache import changed_files
from al_loop.loop.cycle_record import Cycle
from al_loop.loop.finding import Finding
from al_loop.loop.manifest import KNOWN, LABELS, MANIFEST, PICKS, Manifest, read_manifest
from al_loop.loop.pool_scoring import LabelSummary
from al_loop.loop.selection_stages import select_picks
from al_loop.loop.verify_metrics import check_metrics
from al_loop.models import evaluation
from al_loop.state import model_registry
from al_loop.state.database.label_table import set_names
from al_loop.state.database.pick_table import picks_of
from al_loop.state.file_hashes import noted_file, shards_in
from al_loop.state.id_list import POOL, pool_hash, read_pool
from al_loop.state.prediction_store import JOURNAL
from al_loop.state.score_key import ScoreKey
from al_loop.state.stages import is_sealed, output_of_cycle
from al_loop.state.workspace import Workspace

#: Errors of a damaged JSON file.
_DAMAGE = (OSError, ValueError, TypeError, LookupError, RecursionError)


def verify(workspace: Workspace, number: int) -> list[Finding]:
    """Compare every hash of a manifest with the workspace. Raises WorkspaceError if it is unreadable."""
    manifest = read_manifest(workspace, number)
    return [
        _check_manifest(workspace, number),
        _check_pool(workspace, manifest),
        *_check_models(workspace, manifest),
        *_check_scores(workspace, manifest),
        *_check_labels(workspace, manifest),
        *_check_picks(workspace, manifest),
        *_check_predictions(workspace, manifest),
        *check_metrics(workspace, manifest),
        *_check_images(workspace, manifest),
        *_check_stages(workspace, number),
        _check_versions(manifest),
    ]


def reproduce(workspace: Workspace, number: int) -> list[Finding]:
    """Repeat the selection, and the metrics of masks. Compare picks and metrics with the manifest.

    Raises WorkspaceError for a missing or changed input.
    """
    manifest = read_manifest(workspace, number)
    inputs = [
        _check_manifest(workspace, number),
        _check_pool(workspace, manifest),
        *_check_scores(workspace, manifest),
        _check_label_summary(workspace, manifest),
    ]
    if changed := [finding.text for finding in inputs if finding.changed]:
        raise WorkspaceError(
            f"the selection of cycle {number} cannot be repeated: {'; '.join(changed)}. "
            f"List all changes: al-loop verify {number}"
        )
    model = model_registry.get_model(workspace, manifest.model.id)
    cycle = Cycle(number, manifest.k, model, _scored_with(manifest), manifest.validation_images)
    labels = read_json(workspace.cycle_dir(number) / "select" / KNOWN)
    summary = LabelSummary.of(labels)
    rescored = output_of_cycle(workspace, number, "score").get("closely", ())
    after = [pick.image_id for pick in select_picks(workspace, cycle, summary, rescored)]
    before = [pick.image_id for pick in manifest.picks]
    metrics = list(check_metrics(workspace, manifest))
    if before == after:
        return [Finding(False, f"the same {len(after)} picks in the same order"), *metrics]
    findings = [
        Finding(True, f"rank {rank + 1}: {a[:12]} is {b[:12]} now")
        for rank, (a, b) in enumerate(zip(before, after, strict=False))
        if a != b
    ]
    if len(before) != len(after):
        findings.append(Finding(True, f"{len(before)} picks are {len(after)} now"))
    differing = _check_versions(manifest)
    return [*findings, *metrics, *([differing] if "now" in differing.text else [])]


def _scored_with(manifest: Manifest) -> Config:
    """Return the settings of a cycle, as its scores were made: al-loop 0.1 kept no masks."""
    settings = from_plain(manifest.settings)
    folder = Path("scores") / ScoreKey.of(settings, manifest.model.id).folder()
    if any(Path(name).parent == folder for name in manifest.scores):
        return settings
    return structs.replace(settings, task="detection")


def _compare(subject: str, before: object, now: object) -> Finding:
    return Finding(before != now, f"{subject}: {'as before' if before == now else 'changed'}")


def _compare_file(subject: str, path: Path, before: str, size: int | None = None) -> Finding:
    """Compare a file, or its first `size` bytes: more may have been appended."""
    if not path.is_file():
        return Finding(True, f"{subject}: gone")
    return _compare(subject, before, file_sha256(path, size))


def _changed_or(findings: list[Finding], unchanged: str) -> list[Finding]:
    """Return the findings of changes. Without any, return one finding with the text `unchanged`."""
    return [finding for finding in findings if finding.changed] or [Finding(False, unchanged)]


def _check_manifest(workspace: Workspace, number: int) -> Finding:
    """Compare the manifest with its stored hash. All other checks compare with the manifest."""
    path = workspace.cycle_dir(number) / MANIFEST
    expected = noted_file(workspace, path)
    if expected is None:
        return Finding(False, "the manifest was written by an older al-loop, which stored no hash of it")
    return _compare_file("the manifest", path, expected)


def _check_predictions(workspace: Workspace, manifest: Manifest) -> Iterator[Finding]:
    """Check the predictions that the promotion was decided on, if they still exist."""
    settings = from_plain(manifest.settings)
    for entry in manifest.models:
        model = model_registry.get_model(workspace, entry.id)
        folder = evaluation.predictions_dir(settings, model)
        if model.removed_at is None and folder.is_dir():
            lost = shards_in(workspace, folder).damaged()
            state = f"changed, {lost} shards of them" if lost else "as before"
            yield Finding(lost > 0, f"the predictions of {model.id} on labelled sets: {state}")


def _check_images(workspace: Workspace, manifest: Manifest) -> list[Finding]:
    """Compare the images of training and evaluation. `_check_picks` compares those of the picks."""
    path = workspace.cycle_dir(manifest.cycle) / "pull" / LABELS
    items = [item for name in set_names(workspace.store) for item in repository.validation(workspace, name)]
    with suppress(*_DAMAGE):  # `_check_labels` reports a damaged snapshot
        items += repository.from_snapshot(workspace, read_json(path))
    picked = {pick.image_id for pick in manifest.picks}
    images = {item.image.id: item.image for item in items if item.image.id not in picked}
    damaged = changed_files(list(images.values()))
    return _changed_or(
        [Finding(True, f"image {name[:12]}: {reason}") for name, reason in sorted(damaged.items())],
        f"the images of training and evaluation, {len(images)} besides the picks, are as stored",
    )


def _check_stages(workspace: Workspace, number: int) -> Iterator[Finding]:
    """Compare files of stages that only people read."""
    folder, store = workspace.cycle_dir(number), workspace.store
    expected = output_of_cycle(workspace, number, "select").get("picks_sha256")
    if expected is not None:
        yield _compare_file("the file of the picks", folder / "select" / PICKS, expected)
    places = {name: folder / name for name in ("score", "select", "push", "pull", "review")}
    places["train"] = workspace.model_dir(f"cycle-{number}")
    for name, place in places.items():
        if place.is_dir() and not is_sealed(store, f"cycle-{number}", name, place):
            yield Finding(True, f"{(place / 'stage.json').relative_to(workspace.root)}: changed")


def _check_pool(workspace: Workspace, manifest: Manifest) -> Finding:
    name = f"the list of the pool, {manifest.pool.images} images"
    try:
        actual = pool_hash(read_pool(workspace.cycle_dir(manifest.cycle) / POOL))
    except FileNotFoundError:
        return Finding(True, f"{name}: gone")
    except _DAMAGE:
        return Finding(True, f"{name}: damaged")
    return _compare(name, manifest.pool.hash, actual)


def _check_models(workspace: Workspace, manifest: Manifest) -> Iterator[Finding]:
    for entry in manifest.models:
        model = model_registry.get_model(workspace, entry.id)
        if model.removed_at is not None:
            yield Finding(False, f"the weights of {model.id} were deleted by gc")
            continue
        yield _compare_file(f"the weights of {model.id}", model.weights, entry.weights_sha256)
        if entry.config_sha256 is not None:  # absent in a manifest of an older al-loop
            yield _compare_file(f"the config of {model.id}", model.config, entry.config_sha256)


def _check_scores(workspace: Workspace, manifest: Manifest) -> list[Finding]:
    sizes = {workspace.root / name: entry.bytes for name, entry in manifest.scores.items()}
    findings = [
        _compare_file(name, workspace.root / name, entry.sha256, entry.bytes)
        for name, entry in manifest.scores.items()
    ]
    if not any(finding.changed for finding in findings):
        # The columns are unchanged, but the journal may list fewer shards.
        for folder in sorted({path.parent for path in sizes}):
            ends = shards_in(workspace, folder).extent()
            if any(ends.get(path, 0) < size for path, size in sizes.items() if path.parent == folder):
                findings.append(Finding(True, f"{(folder / JOURNAL).relative_to(workspace.root)}: changed"))
    return _changed_or(findings, f"the scores, {len(sizes)} files, are as before")


def _check_label_summary(workspace: Workspace, manifest: Manifest) -> Finding:
    subject = "the summary of the labels at the selection"
    if manifest.selected_with is None:
        return Finding(True, f"{subject}: not recorded")
    return _compare_file(
        subject, workspace.cycle_dir(manifest.cycle) / "select" / KNOWN, manifest.selected_with
    )


def _check_labels(workspace: Workspace, manifest: Manifest) -> Iterator[Finding]:
    """Compare the training labels with their hash. List labels that were changed later, which is allowed."""
    yield _check_label_summary(workspace, manifest)
    path = workspace.cycle_dir(manifest.cycle) / "pull" / LABELS
    if manifest.labels is None or not path.is_file():
        yield Finding(True, "the snapshot of the labels: gone")
        return
    try:
        snapshot = [(str(item[0]), item) for item in read_json(path)]
    except _DAMAGE:
        yield Finding(True, "the snapshot of the labels: damaged")
        return
    subject = f"the snapshot of the labels, {len(snapshot)} images"
    yield _compare(subject, manifest.labels.labels_hash, json_hash([item for _, item in snapshot]))
    outlines = repository.has_outlines([item for _, item in snapshot])
    labelled = repository.labelled(workspace, outlines=outlines)
    current = {item[0]: item for item in repository.snapshot(labelled, outlines=outlines)}
    partly = set(output_of_cycle(workspace, manifest.cycle, "pull").get("verified", ()))
    edited = [name for name, item in snapshot if name not in partly and current.get(name) != item]
    if edited:
        named = ", ".join(name[:12] for name in edited[:8]) + (" ..." if len(edited) > 8 else "")
        yield Finding(False, f"people have changed {len(edited)} of these labels since: {named}")


def _check_picks(workspace: Workspace, manifest: Manifest) -> list[Finding]:
    ids = [row.image_id for row in picks_of(workspace.store, manifest.cycle)]
    listed = _compare("the list of picks in the database", [pick.image_id for pick in manifest.picks], ids)
    files = {image.id: image.path for image in repository.images_by_id(workspace, ids)}
    images = [
        _compare_file(
            f"image {pick.image_id[:12]}",
            files.get(pick.image_id, workspace.root / "gone"),
            pick.stored_sha256,
        )
        for pick in manifest.picks
    ]
    return [listed, *_changed_or(images, f"the images of the {len(images)} picks are as before")]


def _check_versions(manifest: Manifest) -> Finding:
    """Compare the versions. A difference is no damage, but may change results."""
    now = versions()
    other = [
        f"{name} {old}, {now.get(name)} now"
        for name, old in manifest.versions.items()
        if now.get(name) != old
    ]
    return Finding(False, f"made with {'; '.join(other)}" if other else "the versions are as before")
