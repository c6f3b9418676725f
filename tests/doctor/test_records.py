"""The doctor: database and settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.doctor_workspace import Damage, assert_named, checks, found, one, replace, run_mend, sql

from al_loop.core.config import FILE_NAME
from al_loop.core.console import Silent
from al_loop.doctor import examine
from al_loop.state.database.migrations import MIGRATIONS
from al_loop.state.workspace import init_workspace

NAMED: dict[str, Damage] = {
    "an index gone": (
        lambda w: sql(w, "DROP INDEX images_role"),
        "database.schema", "index images_role is missing",
    ),
    "a table gone": (lambda w: sql(w, "DROP TABLE alarms"), "database.schema", "table alarms is missing"),
    "a row without its other": (
        lambda w: sql(w, "INSERT INTO promotions (model_id, reason, at) VALUES ('m9', 'x', 'now')",
                      "DELETE FROM promotions WHERE model_id = 'm9' AND 0"),
                      "database.references", "refers to a missing row of models",
    ),
    "settings gone": (lambda w: (w / FILE_NAME).unlink(), "settings.missing", "gone"),
    "settings that are wrong": (
        lambda w: replace(w / FILE_NAME, "k = 4", "k = 0"),
        "settings.unusable", "cycle.k = 0",
    ),
    "other classes": (
        lambda w: replace(w / FILE_NAME, '["bolt", "nut"]', '["nut", "bolt"]'),
        "settings.classes", "nut, bolt; the labels are of bolt, nut",
    ),
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("name", NAMED)
def test_without_a_command_the_next_step_is_named(well: Path, name: str) -> None:
    assert_named(well, NAMED[name])


class TestDatabase:
    """A database that cannot be used stops neither the doctor nor what needs none."""

    def damaged(self, root: Path, name: str) -> None:
        page = one(root, f"SELECT rootpage FROM sqlite_master WHERE name = '{name}'")
        with (root / "al-loop.db").open("r+b") as file:
            file.seek((page - 1) * 4096)
            file.write(b"\x37" * 512)

    def test_a_damaged_page(self, well: Path) -> None:
        self.damaged(well, "windows")
        findings = found(well)
        assert findings[0].check == "database.damaged"
        assert findings[0].mend.startswith("Restore al-loop.db from a backup, with no command running")
        assert {"images.missing", "labels.outside"} & {f.check for f in findings} == set()

    def test_a_damaged_table_of_images(self, well: Path, run: Any) -> None:
        self.damaged(well, "images")
        status, out, err = run("-w", well, "doctor")
        assert status == 1
        assert "WRONG  database.damaged: al-loop.db" in out
        assert "Traceback" not in out + err

    @pytest.mark.parametrize("content", [b"", b"no database" * 1000])
    def test_what_is_none(self, well: Path, content: bytes) -> None:
        (well / "al-loop.db").write_bytes(content)
        (well / "al-loop.db").chmod(0o644)
        assert {"database.unusable", "database.older", "rights"} >= checks(well) > {"rights"}

    def test_that_is_gone(self, well: Path) -> None:
        (well / "al-loop.db").unlink()
        diagnosis = examine(well, Silent())
        assert [f.check for f in diagnosis.findings] == ["database.missing"]
        assert diagnosis.notes == ("without the database, only files were examined",)

    def test_of_an_older_al_loop(self, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("al_loop.state.database.store.MIGRATIONS", MIGRATIONS[:2])
            root = init_workspace(tmp_path / "old", ("a",)).root
        (finding,) = found(root)
        assert finding.check == "database.older"
        run_mend(run, root, finding.mend)
        assert found(root) == []
