"""Evaluation sets: labels of people are replaced only on request, and can be restored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.factories import CLASSES, edited, write_coco_set
from support.pool_images import add_images

from al_loop.core.errors import DataError
from al_loop.core.files import file_sha256
from al_loop.images import repository
from al_loop.images.labelled_sets import count_phrase
from al_loop.images.validation_sets import add_validation
from al_loop.state.database.label_history_table import old_labels, restore
from al_loop.state.database.label_table import set_names
from al_loop.state.database.migrations import MIGRATIONS
from al_loop.state.database.store import Store
from al_loop.state.workspace import Workspace

DRAWN = [[1.0, 1.0, 9.0, 9.0, 0], [10.0, 10.0, 20.0, 20.0, 1]]


def label(workspace: Workspace, image: str, rows: list[list[float]] | None, cycle: int = 1) -> None:
    """Label an image as a pull does; None: skipped."""
    status = "skipped" if rows is None else "labelled" if rows else "empty"
    workspace.store.execute(
        "INSERT OR REPLACE INTO labels (image_id, status, boxes, cycle, annotator, lead_time_s, updated_at) "
        "VALUES (?, ?, ?, ?, 'anna', 4.0, 'then')",
        *(image, status, json.dumps(rows or []), cycle),
    )


def state(workspace: Workspace, image: str) -> tuple[Any, ...]:
    row = workspace.store.row("SELECT * FROM full_labels WHERE image_id = ?", image)
    assert row is not None
    return row["status"], json.loads(row["boxes"]), row["annotator"], row["role"], json.loads(row["sets"])


@pytest.fixture
def pool(filled: Workspace, tmp_path: Path) -> list[str]:
    """The ids of the pool's six photographs in the order of their names; three have labels of a person."""
    rows = filled.store.rows("SELECT id FROM images WHERE role = 'pool' ORDER BY source")
    ids = [row["id"] for row in rows]
    label(filled, ids[0], DRAWN)
    label(filled, ids[1], None)
    label(filled, ids[2], [])
    return ids


def without_boxes(data: dict[str, Any]) -> None:
    """Leave the boxes of the last image only, so that both classes are there."""
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] == 6]


def test_what_people_drew_is_kept_and_named(
    filled: Workspace, pool: list[str], tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    coco = edited(tmp_path / "pool" / "coco.json", "some.json", without_boxes)
    before = [state(filled, image) for image in pool[:2]]
    status, out, _ = run("-w", filled.root, "pool", "add-val", coco)
    assert status == 0
    assert [state(filled, image) for image in pool[:2]] == before
    assert before[0] == ("labelled", DRAWN, "anna", "pool", [])
    # What is labelled alike moves and stays the label of a person; what nobody has labelled moves, too.
    assert state(filled, pool[2]) == ("empty", [], "anna", "validation", ["validation"])
    assert state(filled, pool[3]) == ("empty", [], None, "validation", ["validation"])
    assert "0 validation images added, 4 taken out of the pool, 0 known already, 0 refused\n" in out
    assert "2 have labels that differ: kept as they are. Replace them: --replace\n" in out
    assert "photo-001.png has 2 boxes by anna in cycle 1; some.json has none\n" in out
    assert "photo-002.png is skipped by anna in cycle 1; some.json has none\n" in out
    assert "1 of those taken out of the pool had these labels: no model learns from them now\n" in out
    assert "warning: 5 of 6 images have no boxes" in out
    # 4 images of `filled` with 2 boxes each, and photo-003 to -006, of which the last has 2.
    assert "validation now: 8 images, 10 boxes, 3 images empty\n" in out
    assert filled.store.count("SELECT count(*) FROM label_history WHERE reason NOT LIKE 'pool add-val%'") == 0


def test_replaced_labels_come_back_with_their_place(
    filled: Workspace, pool: list[str], tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    coco = edited(tmp_path / "pool" / "coco.json", "some.json", without_boxes)
    before = [state(filled, image) for image in pool[:3]]
    learnt = repository.labels_hash(repository.labelled(filled))
    _, out, _ = run("-w", filled.root, "pool", "add-val", coco, "--replace")
    assert "2 labels replaced. Undo: al-loop labels restore --last\n" in out
    assert state(filled, pool[0]) == ("empty", [], None, "validation", ["validation"])
    assert repository.labelled(filled) == []

    _, out, _ = run("-w", filled.root, "labels", "restore")
    assert f"{pool[0][:12]}  " in out
    assert "2 boxes by anna in cycle 1, in pool; replaced by pool add-val some.json --replace\n" in out
    assert out.endswith("3 of 3 labels that were replaced\n")

    _, out, _ = run("-w", filled.root, "labels", "restore", "--last")
    assert out.endswith("3 labels restored\n")
    assert [state(filled, image) for image in pool[:3]] == before
    assert repository.labels_hash(repository.labelled(filled)) == learnt
    # A restoration is undone by the next one.
    run("-w", filled.root, "labels", "restore", pool[0][:12])
    assert state(filled, pool[0]) == ("empty", [], None, "validation", ["validation"])
    assert state(filled, pool[1]) == before[1]


def test_another_set_does_not_rewrite_the_labels_of_validation(
    filled: Workspace, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    def move(data: dict[str, Any]) -> None:
        data["annotations"][0]["bbox"] = [1.0, 2.0, 30.0, 20.0]
        data["annotations"][2]["bbox"][0] += 0.004  # as a tool that rounds to two decimals writes it

    coco = edited(tmp_path / "val" / "coco.json", "moved.json", move)
    truth = repository.labels_hash(repository.validation(filled))
    _, out, _ = run("-w", filled.root, "pool", "add-val", coco, "--name", "night")
    assert "0 night images added, 0 taken out of the pool, 3 known already, 0 refused\n" in out
    assert "1 have labels that differ: kept as they are. Replace them: --replace\n" in out
    assert "has 2 boxes in an evaluation set; moved.json has other 2 boxes\n" in out
    assert repository.labels_hash(repository.validation(filled)) == truth
    assert len(repository.validation(filled, "night")) == 3

    run("-w", filled.root, "pool", "add-val", coco, "--name", "night", "--replace")
    assert repository.labels_hash(repository.validation(filled)) != truth
    assert len(repository.validation(filled, "night")) == 4
    [old] = old_labels(filled.store, 10)[0]
    assert old.set_names == ("validation",)
    restore(filled.store, [], last=True)
    assert repository.labels_hash(repository.validation(filled)) == truth


@pytest.mark.parametrize("name", ["", " night", "a\nb", "\x1b[31m", "x" * 101])
def test_a_set_has_a_name_that_can_be_shown(filled: Workspace, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"--name .*expected 1 to 100 printable characters"):
        add_validation(filled, tmp_path / "pool" / "coco.json", name=name)
    assert set_names(filled.store) == ["validation"]


def test_the_database_keeps_what_any_statement_replaces(filled: Workspace, pool: list[str]) -> None:
    label(filled, pool[0], DRAWN)  # pulled again, the same: nothing is replaced
    label(filled, pool[0], [], cycle=2)
    filled.store.execute("DELETE FROM labels WHERE image_id = ?", pool[0])
    filled.store.execute("UPDATE labels SET status = 'empty' WHERE image_id = ?", pool[1])
    old, total = old_labels(filled.store, 10)
    assert total == 3
    assert [(one.image_id, one.status, one.box_count, one.cycle, one.reason) for one in old] == [
        (pool[1], "skipped", 0, 1, "pull"),
        (pool[0], "empty", 0, 2, "taken back"),
        (pool[0], "labelled", 2, 1, "pull"),
    ]
    restore(filled.store, [pool[0][:12]])
    assert state(filled, pool[0])[:2] == ("empty", [])


def test_what_cannot_be_restored_is_said(filled: Workspace, pool: list[str]) -> None:
    for names, says in (
        ([pool[0]], "has no old label to restore"),
        (["nothing"], "is no image of this workspace"),
        ([""], "is more than one image"),
        ([], "either images or --last"),
    ):
        with pytest.raises(DataError, match=says):
            restore(filled.store, names)
    with pytest.raises(DataError, match="no command has replaced labels"):
        restore(filled.store, [], last=True)


def test_a_killed_add_val_leaves_all_as_it_was(
    filled: Workspace, pool: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coco = edited(tmp_path / "pool" / "coco.json", "some.json", without_boxes)
    tables = ("images", "labels", "sets", "label_history", "ignore_regions")
    before = [[tuple(row) for row in filled.store.rows(f"SELECT * FROM {table}")] for table in tables]
    taken = 0

    def killed(*_: object) -> None:
        nonlocal taken
        taken += 1
        if taken == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("al_loop.images.validation_sets.copy_label", killed)
    monkeypatch.setattr("al_loop.images.validation_sets.image_role", killed)
    with pytest.raises(KeyboardInterrupt):
        add_validation(filled, coco, replace_labels=True)
    assert [[tuple(row) for row in filled.store.rows(f"SELECT * FROM {table}")] for table in tables] == before


def test_copies_of_one_picture_in_a_file(workspace: Workspace, tmp_path: Path) -> None:
    coco = write_coco_set(tmp_path / "val", 4)
    images = coco.parent / "images"
    for number, name in ((1, "a.png"), (2, "b.png"), (3, "c.png")):
        (images / name).write_bytes((images / f"photo-{number:03d}.png").read_bytes())

    def copies(data: dict[str, Any]) -> None:
        for number, name in ((5, "a.png"), (6, "b.png"), (7, "c.png")):
            data["images"].append({"id": number, "file_name": name, "width": 96, "height": 64})
        # a.png has no boxes, b.png has those of photo-002, c.png another than photo-003.
        second = [dict(a, id=50 + a["id"], image_id=6) for a in data["annotations"] if a["image_id"] == 2]
        other = {"id": 99, "image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5]}
        data["annotations"] += [*second, other]

    report = add_validation(workspace, edited(coco, "copies.json", copies))
    validation = repository.validation(workspace)
    assert [len(item.boxes) for item in validation] == [2, 2, 2]
    assert (len(report.added), report.duplicates, len(report.refused)) == (3, 2, 2)
    assert {Path(where).name for where, _ in report.refused} == {"photo-003.png", "c.png"}
    assert all("the same image has different boxes" in why for _, why in report.refused)
    [problem] = report.problems
    assert problem == "photo-001.png, a.png: the same image with and without boxes; the boxes are used"
    assert not list((workspace.root / "images").rglob(f"{file_sha256(images / 'c.png')}*"))


def test_problems_stand_before_the_error_that_follows(
    workspace: Workspace, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    def spoil(data: dict[str, Any]) -> None:
        data["categories"][1]["name"] = "Nut"
        data["images"][0]["width"] = 90

    coco = edited(write_coco_set(tmp_path / "val", 2), "bad.json", spoil)
    status, _, err = run("-w", workspace.root, "pool", "add-val", coco)
    assert status == 1
    assert "did you mean 'nut'?" in err
    assert err.index("did you mean") < err.index("has no box of nut (it has bolt)")
    assert workspace.store.count("SELECT count(*) FROM images") == 0


def test_a_set_that_lacks_a_class_once_its_pictures_were_checked_leaves_nothing(
    workspace: Workspace, tmp_path: Path
) -> None:
    def spoil(data: dict[str, Any]) -> None:
        data["images"][0]["width"] = 90  # the only picture with a nut
        data["annotations"] = [a for a in data["annotations"] if a["image_id"] == 1 or a["category_id"] == 1]

    with pytest.raises(DataError, match=r"(?s)bad.json says 90x64.*has no box of nut"):
        add_validation(workspace, edited(write_coco_set(tmp_path / "val", 2), "bad.json", spoil))
    assert workspace.store.count("SELECT count(*) FROM images") == 0
    assert not list((workspace.root / "images").rglob("*.png"))


def test_ignore_regions_are_kept_with_a_set(workspace: Workspace, tmp_path: Path) -> None:
    def crowd(data: dict[str, Any]) -> None:
        data["annotations"].append(
            {"id": 99, "image_id": 1, "category_id": 1, "bbox": [0, 0, 40, 30], "iscrowd": 1}
        )

    plain = write_coco_set(tmp_path / "val", 2)
    report = add_validation(workspace, edited(plain, "crowd.json", crowd))
    assert (report.images, report.boxes, report.empty, report.regions) == (2, 4, 0, 1)
    assert count_phrase(2, 4, 0, report.regions) == "2 images, 4 boxes, 0 images empty, 1 ignore region"
    truth = repository.validation(workspace)
    assert sorted(len(item.boxes) for item in truth) == [2, 2]
    [item] = [item for item in truth if len(item.ignored)]
    assert item.ignored.xyxy.tolist() == [[0, 0, 40, 30]]
    assert item.ignored.labels.tolist() == [CLASSES.index("bolt")]
    known = repository.labels_hash(truth)
    report = add_validation(workspace, plain, replace_labels=True)
    assert (report.replaced, report.regions) == (1, 0)
    assert repository.labels_hash(repository.validation(workspace)) != known
    restore(workspace.store, [], last=True)
    assert repository.labels_hash(repository.validation(workspace)) == known


def test_a_workspace_of_before_keeps_history_from_now_on(tmp_path: Path) -> None:
    import sqlite3

    old = sqlite3.connect(tmp_path / "x.db")
    for script in MIGRATIONS[:3]:
        old.executescript(script)
    old.execute("PRAGMA user_version = 3")
    old.execute("INSERT INTO images VALUES ('i', 'f', 's', 9, 9, 'from', 'pool', 'now', 1)")
    old.execute(
        "INSERT INTO labels VALUES ('i', 'labelled', '[[1, 1, 5, 5, 0]]', 1, 'ann', 2.5, 'now', NULL)"
    )
    old.commit()
    old.close()
    store = Store(tmp_path / "x.db")
    store.execute("INSERT OR REPLACE INTO labels VALUES ('i', 'empty', '[]', 2, 'ben', 1.0, 'now', NULL)")
    [row] = store.rows("SELECT * FROM label_history")
    assert (row["boxes"], row["annotator"], row["cycle"], row["role"]) == (
        "[[1, 1, 5, 5, 0]]",
        "ann",
        1,
        "pool",
    )


def test_an_image_in_another_workspaces_place_is_added_twice_only_in_name(
    filled: Workspace, tmp_path: Path
) -> None:
    """The same file again adds nothing and says so."""
    report = add_validation(filled, tmp_path / "val" / "coco.json")
    assert (report.added, report.moved, report.duplicates, report.kept, report.problems) == ([], 0, 4, [], [])
    assert add_images(filled, list((tmp_path / "val" / "images").iterdir())).duplicates == 4
