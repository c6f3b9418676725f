"""Flip a byte in every file of a workspace: its reader notices, or it is made again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.small_loop import SmallLoop, small_loop

from al_loop.core.console import Silent
from al_loop.core.errors import AlLoopError, DataError, WorkspaceError
from al_loop.core.files import read_json, write_json
from al_loop.images import repository
from al_loop.images.object_cache import changed_files, read_stored
from al_loop.loop.cycle import run_cycle
from al_loop.loop.verify import reproduce, verify
from al_loop.models import evaluation, model_training
from al_loop.state import model_registry
from al_loop.state.file_hashes import shards_in
from al_loop.state.workspace import Workspace, open_workspace

#: No decision uses these; al-loop.toml and the database are what all other files are compared with.
_UNCHECKED = (
    "al-loop.toml", "al-loop.db", ".lock", ".inputs", "metrics.json", "comparison.json", "report.html",
)  # fmt: skip


def files_of(root: Path) -> list[Path]:
    return sorted(
        path.relative_to(root)
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(_UNCHECKED)
    )


def flip(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[min(len(data) - 1, int(len(data) * at))] ^= 1
    path.write_bytes(bytes(data))


@pytest.fixture
def loop(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLoop:
    """A loop with real metrics and comparisons of stored predictions."""
    path = workspace.root / "al-loop.toml"
    path.write_text(path.read_text().replace("k = 25", "k = 5"))
    return small_loop(open_workspace(workspace.root), tmp_path, monkeypatch, images=20, judged=True)


def changes(workspace: Workspace) -> list[str]:
    """Return the changes of cycle 1 that `verify` reports."""
    return [finding.text for finding in verify(workspace, 1) if finding.changed]


@pytest.mark.integration
def test_every_file_of_a_finished_workspace(loop: SmallLoop) -> None:
    assert run_cycle(loop.workspace, None, Silent()).finished
    root = loop.workspace.root
    names = files_of(root)
    assert len(names) > 60
    assert changes(loop.workspace) == []
    unnoticed, pictures = [], 0
    for name in names:
        if name.parts[0] == "images":
            pictures += 1
            if pictures % 4:  # they are alike
                continue
        original = (root / name).read_bytes()
        if not original:
            continue
        for at in (0.5,) if name.suffix in (".bin", ".png") else (0.1, 0.5, 1.0):
            flip(root / name, at)
            try:
                noticed = changes(loop.workspace)
            except AlLoopError as error:
                noticed = [str(error)]
            if not noticed:
                unnoticed.append((str(name), at))
            (root / name).write_bytes(original)
    labelled = {item.image.id for item in repository.labelled(loop.workspace)}
    evaluated = {item.image.id for item in repository.validation(loop.workspace)}
    # Other photographs of the pool are checked when they are read.
    used = labelled | evaluated
    assert [n for n, _ in unnoticed if not n.startswith("images") or Path(n).stem in used] == []


def test_an_edited_manifest_is_no_witness(loop: SmallLoop) -> None:
    run_cycle(loop.workspace, None, Silent())
    path = loop.workspace.cycle_dir(1) / "manifest.json"
    write_json(path, {**read_json(path), "reason": "because"})
    assert changes(loop.workspace) == ["the manifest: changed"]
    with pytest.raises(WorkspaceError, match="the manifest: changed"):
        reproduce(loop.workspace, 1)


@pytest.mark.integration
def test_every_file_of_a_waiting_workspace(loop: SmallLoop, tmp_path: Path) -> None:
    """A change while people label does not change the outcome of the cycle."""
    loop.answered = 0.0
    run_cycle(loop.workspace, None, Silent())
    root = loop.workspace.root
    names = [name for name in files_of(root) if name.parts[0] in ("cycles", "scores", "models")]
    expected = {"pool.json", "picks.json", "stage.json", "journal.jsonl", "scores.bin"}
    assert {name.name for name in names} >= expected
    loop.workspace.store.close()
    loop.answered = 1.0
    unchanged = outcome(copied(root, tmp_path / "as-it-was"))
    assert len(unchanged[0]) == 5
    for number, name in enumerate(names):
        if not (root / name).stat().st_size or name.suffix == ".partial":
            continue
        where = copied(root, tmp_path / f"flipped-{number}")
        flip(where / name, 0.5)
        if name.name in ("weights.pth", "config.json"):
            continue  # of a model: tests/detector/config/test_stored_config.py, test_train.py
        assert outcome(where) == unchanged, name
        shutil.rmtree(where)


def copied(root: Path, where: Path) -> Path:
    shutil.copytree(root, where)
    return where


def outcome(root: Path) -> tuple[list[str], list[str], str]:
    """Continue a cycle; return its picks, training images and outcome."""
    workspace = open_workspace(root)
    try:
        assert run_cycle(workspace, None, Silent()).finished
        picks = [row["image_id"] for row in workspace.store.rows("SELECT image_id FROM picks ORDER BY rank")]
        row = workspace.store.rows("SELECT outcome, reason FROM cycles")[0]
        assert changes(workspace) == []
        return (
            picks,
            sorted(item.image.id for item in repository.labelled(workspace)),
            f"{row['outcome']} {row['reason']}",
        )
    finally:
        workspace.store.close()


def rewrite_scores(folder: Path) -> None:
    """Edit a column and its checksum in the journal."""
    import zlib

    column = np.fromfile(folder / "scores.bin", np.float32)
    column[:] = 0.999
    column.tofile(folder / "scores.bin")
    lines, start = [], 0
    for line in (folder / "journal.jsonl").read_text().splitlines():
        shard = json.loads(line)
        size = shard["boxes"] * 4
        shard["crc"]["scores"] = zlib.crc32(column.tobytes()[start : start + size])
        start += size
        lines.append(json.dumps(shard, sort_keys=True))
    (folder / "journal.jsonl").write_text("\n".join(lines) + "\n")


def test_predictions_that_were_edited_with_their_checksums_are_made_again(loop: SmallLoop) -> None:
    """The promotion depends on them: the database has hashes of the journal."""
    workspace, model = loop.workspace, model_registry.current_model(loop.workspace)
    before = evaluation.predictions(workspace, model, "validation", Silent())
    folder = evaluation.predictions_dir(workspace.config, model)
    rewrite_scores(folder)
    after = evaluation.predictions(workspace, model, "validation", Silent())
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name].scores, after[name].scores)
    # Without these hashes they would be accepted.
    rewrite_scores(folder)
    from al_loop.state.prediction_store import ShardStore

    assert float(ShardStore(folder).load().scores[0]) == np.float32(0.999)
    assert shards_in(workspace, folder).damaged() > 0


def test_picks_changed_between_selection_and_push(loop: SmallLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill before the database had them: a changed file is ignored, and images are selected again."""
    workspace = loop.workspace

    def killed(*_: object, **__: object) -> None:
        raise DataError("killed")

    with monkeypatch.context() as patched:
        patched.setattr("al_loop.loop.selection_stages.batch_name", killed)
        with pytest.raises(DataError, match="killed"):
            run_cycle(workspace, None, Silent())
    path = workspace.cycle_dir(1) / "select" / "picks.json"
    right = read_json(path)
    others = sorted({row["id"] for row in workspace.store.rows("SELECT id FROM images WHERE role = 'pool'")})
    write_json(path, [{**pick, "image_id": name} for pick, name in zip(right, others, strict=False)])
    reporter = Silent()
    run_cycle(workspace, None, reporter)
    assert loop.pushed == [[pick["image_id"] for pick in right]]
    assert any(
        "picks.json has changed since the selection: writing it again" in line for line in reporter.lines
    )


def test_labels_changed_between_pull_and_training(loop: SmallLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise DataError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(model_training, "train_model", fails)
        with pytest.raises(DataError, match="killed"):
            run_cycle(loop.workspace, None, Silent())
    path = loop.workspace.cycle_dir(1) / "pull" / "labels.json"
    original = read_json(path)
    write_json(path, original[1:])
    reporter = Silent()
    assert run_cycle(loop.workspace, None, reporter).finished
    assert any("labels.json has changed since the pull: pulling again" in line for line in reporter.lines)
    assert read_json(path) == original


def test_a_pool_that_cannot_be_made_again_names_the_way_out(loop: SmallLoop) -> None:
    loop.answered = 0.0
    run_cycle(loop.workspace, None, Silent())
    path = loop.workspace.cycle_dir(1) / "pool.json"
    original = read_json(path)
    write_json(path, original[1:])
    run_cycle(loop.workspace, None, Silent())
    assert read_json(path) == original  # made again
    path.write_text("[")
    loop.workspace.store.execute("UPDATE images SET role = 'validation' WHERE id = ?", original[0])
    with pytest.raises(WorkspaceError, match=r"(?s)cannot be rebuilt.*al-loop cycle --abandon"):
        run_cycle(loop.workspace, None, Silent())


@pytest.mark.integration
def test_photographs_that_were_changed_are_left_out_by_name(loop: SmallLoop) -> None:
    """A changed picture is left out of push and training; in a set for evaluation it is an error."""
    workspace = loop.workspace
    loop.answered = 0.0
    reporter = Silent()
    picked = first_picks(loop)
    image = repository.images_by_id(workspace, [picked[0]])[0]
    original = image.path.read_bytes()
    flip(image.path, 0.5)
    run_cycle(workspace, None, reporter)
    assert loop.pushed == [picked[1:]]
    assert any(
        line.startswith("  left out: ") and "has changed since it was stored" in line
        for line in reporter.lines
    )
    assert any("al-loop doctor" in line for line in reporter.lines)
    image.path.write_bytes(original)

    labelled = repository.images_by_id(workspace, [picked[1]])[0]
    flip(labelled.path, 0.9)
    loop.answered = 1.0
    reporter = Silent()
    assert run_cycle(workspace, None, reporter).finished
    assert any("left out" in line and picked[1] in line for line in reporter.lines)
    assert loop.images[-1] == 4
    assert picked[1][:12] in "".join(changes(workspace))

    evaluated = repository.validation(workspace)[0].image
    flip(evaluated.path, 0.5)
    with pytest.raises(
        DataError, match=r"no model can be evaluated on validation: .*has changed since it was stored"
    ):
        run_cycle(workspace, None, Silent())


def first_picks(loop: SmallLoop) -> list[str]:
    """Return the picks of this workspace, selected in a copy of it."""
    where = loop.workspace.root.with_name("tried")
    shutil.copytree(loop.workspace.root, where)
    workspace = open_workspace(where)
    run_cycle(workspace, None, Silent())
    workspace.store.close()
    return loop.pushed.pop()


def test_a_cached_object_that_was_changed_is_fetched_again(tmp_path: Path) -> None:
    import hashlib

    from al_loop.structures.images import ImageFile

    source, cache = tmp_path / "bucket.png", tmp_path / "cache" / "x.png"
    source.write_bytes(b"the picture")
    digest = hashlib.sha256(b"the picture").hexdigest()
    image = ImageFile(digest, cache, 1, 1, source.as_uri(), digest)
    assert read_stored(image) == b"the picture"
    cache.write_bytes(b"something else")
    assert read_stored(image) == b"the picture"
    source.write_bytes(b"another")
    cache.write_bytes(b"something else")
    assert "has changed since it was added" in changed_files([image])[digest]


def test_scoring_leaves_out_a_photograph_that_was_changed(tmp_path: Path) -> None:
    """Also where its bytes were sent to a node of a cluster. The changed JPEG still decodes."""
    from dataclasses import replace

    from support.factories import draw

    from al_loop.core.files import file_sha256
    from al_loop.detector.inference.scoring import Reader, Unreadable
    from al_loop.structures.images import ImageFile

    path = tmp_path / "a.jpg"
    draw(96, 64, [], seed=3).save(path, quality=95)
    image = ImageFile("a", path, 96, 64, sha256=file_sha256(path))
    reader = Reader((96, 64), False, "")
    assert not isinstance(reader.read(image), Unreadable)
    flip(path, 0.7)
    result = reader.read(image)
    assert isinstance(result, Unreadable)
    assert "has changed since it was stored: expected SHA-256" in result.reason
    sent = replace(reader, files={"a": path.read_bytes()})
    assert isinstance(sent.read(image), Unreadable)
    path.unlink()
    assert "cannot be read" in changed_files([image])["a"]


def test_what_an_older_al_loop_wrote_is_taken_and_noted(loop: SmallLoop) -> None:
    loop.answered = 0.0
    run_cycle(loop.workspace, None, Silent())
    loop.workspace.store.execute("DELETE FROM journals")
    loop.workspace.store.execute("DELETE FROM written_files")
    loop.answered = 1.0
    assert run_cycle(loop.workspace, None, Silent()).finished
    assert changes(loop.workspace) == []
    loop.workspace.store.execute("DELETE FROM written_files")
    assert any(
        "written by an older al-loop, which stored no hash of it" in f.text for f in verify(loop.workspace, 1)
    )
