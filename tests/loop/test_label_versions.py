"""Versions of the labels: compared, and those of a cycle restored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.small_loop import SmallLoop, small_loop

from al_loop.core.errors import DataError
from al_loop.images import repository
from al_loop.loop.label_versions import compare_labels
from al_loop.state.workspace import Workspace


@pytest.fixture
def home(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Two finished cycles of ten images with one bolt each."""
    loop: SmallLoop = small_loop(workspace, tmp_path, monkeypatch, images=30)
    loop.run(cycles=2)
    return workspace


def first_labels(home: Workspace, count: int) -> list[str]:
    rows = home.store.rows("SELECT image_id FROM labels WHERE cycle = 1 ORDER BY image_id LIMIT ?", count)
    return [row["image_id"] for row in rows]


def edit(home: Workspace) -> list[str]:
    """Change three labels of the first cycle: another class, another place, taken back."""
    renamed, moved, gone = first_labels(home, 3)
    home.store.execute("UPDATE labels SET boxes = '[[1, 2, 9, 9, 1]]' WHERE image_id = ?", renamed)
    home.store.execute("UPDATE labels SET boxes = '[[1, 2, 9, 8, 0]]' WHERE image_id = ?", moved)
    home.store.execute("DELETE FROM labels WHERE image_id = ?", gone)
    return [renamed, moved, gone]


def test_what_changed_since_a_cycle_is_shown_and_restored(run: Any, home: Workspace) -> None:
    before = {item.image.id: item.boxes.xyxy.tolist() for item in repository.labelled(home)}
    renamed, moved, gone = edit(home)
    code, out, _ = run("-w", home.root, "labels", "diff", 1)
    assert code == 0
    lines = out.splitlines()
    assert {line.split()[0]: line.split("  ")[2] for line in lines[:2]} == {
        renamed[:12]: "1 renamed",
        moved[:12]: "1 moved",
    }
    assert lines[2:] == [
        "2 of 9 images differ: boxes 1 moved, 1 renamed",
        "1 images only before, 10 only after",
    ]
    _, out, _ = run("-w", home.root, "labels", "restore", "--cycle", 1)
    assert out == "3 labels restored as cycle 1 had them. Undo: al-loop labels restore --last\n"
    after = {item.image.id: item.boxes.xyxy.tolist() for item in repository.labelled(home)}
    assert after == before
    assert run("-w", home.root, "labels", "diff", 2)[1].startswith("0 of 20 images differ: boxes none\n")
    _, out, _ = run("-w", home.root, "labels", "restore", "--cycle", 1)
    assert out == "0 labels restored as cycle 1 had them\n"

    run("-w", home.root, "labels", "restore", "--last")
    found = compare_labels(home, "1", "now")
    assert set(found.changes) == {renamed, moved}
    assert found.only_before == (gone,)


def test_an_export_is_a_version(run: Any, home: Workspace, tmp_path: Path) -> None:
    run("-w", home.root, "pool", "export", tmp_path / "old.json")
    assert not compare_labels(home, str(tmp_path / "old.json"), "2").changes
    renamed, moved, _ = edit(home)
    _, out, _ = run("-w", home.root, "labels", "diff", tmp_path / "old.json", "--limit", 1)
    assert len(out.splitlines()) == 3
    assert set(compare_labels(home, "now", str(tmp_path / "old.json")).changes) == {renamed, moved}

    coco = json.loads((tmp_path / "old.json").read_text())
    for image in coco["images"]:
        del image["image_sha256"]
    (tmp_path / "other.json").write_text(json.dumps(coco))
    code, _, err = run("-w", home.root, "labels", "diff", tmp_path / "other.json")
    assert code == 1
    assert "20 of 20 images have no image_sha256: expected a file of al-loop pool export" in err


def test_versions_that_are_not_there(run: Any, home: Workspace) -> None:
    with pytest.raises(DataError, match="'yesterday' is no version of the labels"):
        compare_labels(home, "yesterday", "now")
    with pytest.raises(DataError, match="cycle 7 has no labels"):
        compare_labels(home, "1", "7")
    (home.cycle_dir(2) / "pull" / "labels.json").write_text("[]")
    with pytest.raises(DataError, match="is gone or was changed"):
        compare_labels(home, "2", "now")
    code, _, err = run("-w", home.root, "labels", "restore", "--cycle", 1, "--last")
    assert code == 1
    assert "give it alone" in err
