"""The doctor: images used for both training and evaluation."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.doctor_workspace import Damage, Made, assert_mended, checks, found, one, sql, write

from al_loop.images.integrity import CheckDepth

MENDED: dict[str, Damage] = {
    "a judged image in the pool": (
        lambda w: sql(w, "UPDATE images SET role = 'pool' WHERE id = (SELECT min(image_id) FROM sets)"),
        "leaks.role", "in the pool",
    ),
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("name", MENDED)
def test_the_printed_command_repairs_it(well: Path, made: Made, run: Any, name: str) -> None:
    assert_mended(well, made, run, MENDED[name])


def test_the_same_picture_encoded_anew_is_a_leak(well: Path) -> None:
    """Deep: every picture of a judged size is decoded; without, those whose pixels were compared before."""
    judged = well / one(well, "SELECT file FROM images WHERE role = 'validation' ORDER BY id LIMIT 1")
    buffer = io.BytesIO()
    Image.open(judged).save(buffer, "BMP")
    name = hashlib.sha256(buffer.getvalue()).hexdigest()
    write(well / "images" / name[:2] / f"{name}.bmp", buffer.getvalue())
    sql(
        well,
        "INSERT INTO images (id, file, stored_sha256, width, height, source, role, added_at, arrived) VALUES "
        f"('{name}', 'images/{name[:2]}/{name}.bmp', '{name}', 96, 64, 'x', 'pool', 'now', 9999)",
        "DELETE FROM pixels",
    )
    assert found(well) == []
    (finding,) = found(well, CheckDepth.DEEP)
    assert (finding.check, finding.subject) == ("leaks.pixels", f"{name[:12]} in the pool")
    assert judged.stem[:12] in finding.problem


def test_a_leak_is_named(well: Path) -> None:
    """By the bytes that are stored, and by what a model has learnt from."""
    sql(
        well,
        "INSERT INTO images (id, file, stored_sha256, width, height, source, role, added_at, arrived) "
        "SELECT 'ff' || substr(id, 3), file, stored_sha256, width, height, source, 'pool', added_at, 9999 "
        "FROM images WHERE role = 'validation' LIMIT 1",
    )
    assert "leaks.copy" in checks(well)
    sql(
        well,
        "DELETE FROM images WHERE arrived = 9999",
        "INSERT INTO promotions (model_id, reason, at) VALUES ('cycle-1', 'x', 'now')",
        "INSERT INTO sets SELECT 'night', min(image_id) FROM labels WHERE cycle = 1",
        "UPDATE images SET role = 'validation' WHERE id IN (SELECT image_id FROM sets)",
    )
    leaks = [finding for finding in found(well) if finding.check.startswith("leaks")]
    assert [finding.check for finding in leaks] == ["leaks.trained"]
    assert leaks[0].subject == "cycle 1"
    assert "trained on 1 evaluation images" in leaks[0].problem
