"""The doctor: stored images, and their repair."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.doctor_workspace import (
    Damage,
    Made,
    a_photograph,
    assert_mended,
    assert_named,
    checks,
    found,
    one,
    run_mend,
    sql,
    write,
)
from support.pool_images import add_images

from al_loop.images.integrity import repair_images
from al_loop.state.workspace import Workspace

MENDED: dict[str, Damage] = {
    "photograph gone": (lambda w: a_photograph(w).unlink(), "images.missing", "gone"),
    "photograph longer": (
        lambda w: write(a_photograph(w), a_photograph(w).read_bytes() + b"x"),
        "images.changed",
        "not those that were stored",
    ),
    "photograph empty": (lambda w: write(a_photograph(w), b""), "images.changed", "empty"),
    "a pipe for a photograph": (
        lambda w: (a_photograph(w).unlink(), os.mkfifo(a_photograph(w).parent / "p"),
                   (a_photograph(w).parent / "p").rename(a_photograph(w))),
        "images.unreadable", "no regular file",
    ),
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("name", MENDED)
def test_the_printed_command_repairs_it(well: Path, made: Made, run: Any, name: str) -> None:
    assert_mended(well, made, run, MENDED[name])


NAMED: dict[str, Damage] = {
    "another size in the database": (
        lambda w: sql(w, "UPDATE images SET width = 65 WHERE id = "
                         "(SELECT min(id) FROM images WHERE role = 'pool')"),
        "images.size", "is 64x64 px, the database says 65x64",
    ),
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("name", NAMED)
def test_without_a_command_the_next_step_is_named(well: Path, name: str) -> None:
    assert_named(well, NAMED[name])


def test_a_repair_takes_the_right_bytes_alone(well: Path, run: Any, tmp_path: Path) -> None:
    lost, source = (
        a_photograph(well),
        Path(one(well, "SELECT source FROM images WHERE role = 'pool' ORDER BY id LIMIT 1")),
    )
    data = lost.read_bytes()
    lost.unlink()
    write(tmp_path / "moved" / "a.png", b"another")
    write(tmp_path / "moved" / "b.png", data)
    sql(well, f"UPDATE images SET source = '{tmp_path}/gone.png' WHERE source = '{source}'")
    assert found(well)[0].mend.startswith("al-loop pool repair PHOTOS..., with the folder")
    status, out, err = run("-w", well, "pool", "repair")
    assert status == 1
    assert "0 photographs stored again, 1 cannot be" in out
    assert "name the folder where their originals are" in err
    status, out, _ = run("-w", well, "pool", "repair", tmp_path / "moved")
    assert (status, out) == (0, "1 photographs stored again, 0 cannot be\n")
    assert lost.read_bytes() == data
    assert found(well) == []


def test_a_turned_photograph_is_stored_again_as_it_was(workspace: Workspace, tmp_path: Path) -> None:
    """What is stored is not the file that came in."""
    picture, exif = Image.new("RGB", (40, 20), "red"), Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    add_images(workspace, [tmp_path / "turned.jpg"])
    (stored,) = workspace.images.rglob("*.jpg")
    before = stored.read_bytes()
    stored.unlink()
    assert len(repair_images(workspace, []).fixed) == 1
    assert stored.read_bytes() == before


def test_a_repair_writes_into_images_alone(well: Path, run: Any) -> None:
    """A workspace from elsewhere may name any place, and a file whose hash it knows."""
    source, digest = well / "al-loop.toml", hashlib.sha256((well / "al-loop.toml").read_bytes()).hexdigest()
    sql(
        well,
        f"UPDATE images SET id = '{digest}', file = '../copied', stored_sha256 = '{digest}', "
        f"source = '{source}' WHERE id = (SELECT min(id) FROM images "
        "WHERE id NOT IN (SELECT image_id FROM labels) AND id NOT IN (SELECT image_id FROM picks))",
    )
    run("-w", well, "pool", "repair")
    assert not (well.parent / "copied").exists()


def test_many_files_without_a_row_are_taken_in_again(
    well: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an older database was restored."""
    for name in ("al_loop.state.leftovers", "al_loop.doctor.images"):
        monkeypatch.setattr(f"{name}.BATCH", 3)
    sql(well, "DELETE FROM fingerprints")
    sql(
        well,
        "DELETE FROM images WHERE role = 'pool' AND id NOT IN (SELECT image_id FROM labels) AND id NOT IN "
        "(SELECT image_id FROM picks)",
    )
    (finding,) = [f for f in found(well) if f.check != "cycles.verify"]
    assert finding.check == "images.unnamed"
    assert finding.problem.startswith("8 files in images/ have no row")
    run_mend(run, well, finding.mend)
    assert "images.unnamed" not in checks(well)


def test_names_of_a_foreign_workspace_reach_no_terminal(well: Path, run: Any) -> None:
    sql(well, "UPDATE images SET source = 'a' || char(27) || '[2J' || char(10) || 'b', width = 3")
    out = run("-w", well, "doctor")[1]
    assert "\x1b" not in out
    assert "(from a\\x1b[2J\\nb)" in out


def test_files_outside_images_are_refused_and_not_read(well: Path) -> None:
    sql(well, "UPDATE images SET file = '../../../etc/passwd' WHERE id = (SELECT min(id) FROM images)")
    assert "images.outside" in checks(well)
