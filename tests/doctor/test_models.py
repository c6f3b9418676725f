"""The doctor: models, scores and rendered sets."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.doctor_workspace import Damage, Made, assert_mended, assert_named, sql, write
from support.factories import write_checkpoint

from al_loop.core.console import Silent
from al_loop.core.files import file_sha256
from al_loop.doctor import examine
from al_loop.images.integrity import CheckDepth
from al_loop.models.pretrain import import_checkpoint
from al_loop.state.workspace import Workspace, open_workspace


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(bytes(data))


MENDED: dict[str, Damage] = {
    "weights of an unused model changed": (
        lambda w: flip(w / "models" / "import-1" / "weights.pth"),
        "models.changed", "hash",
    ),
    "an unused model gone": (
        lambda w: shutil.rmtree(w / "models" / "import-1"),
        "models.missing", "folder is gone",
    ),
    "an unused model with other classes": (
        lambda w: write(w / "models" / "import-1" / "config.json", b'{"classes": ["nut", "bolt"]}'),
        "models.classes", "has the classes nut, bolt; the workspace has bolt, nut",
    ),
    "an unused model's config that cannot be read": (
        lambda w: write(w / "models" / "import-1" / "config.json", b'{"classes'),
        "models.changed", "config.json cannot be read",
    ),
    "no model in use": (lambda w: sql(w, "DELETE FROM promotions"), "models.none-in-use", "is in use"),
    "scores changed": (
        lambda w: flip(next((w / "scores" / "import-1").rglob("embeddings.bin"))),
        "scores.damaged", "shards",
    ),
    "scores cut short": (
        lambda w: os.truncate(next((w / "scores" / "import-1").rglob("uncertainty.bin")), 8),
        "scores.damaged", "1 of its shards",
    ),
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("name", MENDED)
def test_the_printed_command_repairs_it(well: Path, made: Made, run: Any, name: str) -> None:
    assert_mended(well, made, run, MENDED[name])


NAMED: dict[str, Damage] = {
    "current weights gone": (
        lambda w: (w / "models" / "m0" / "weights.pth").unlink(), "models.missing", "weights.pth",
    ),
    "a rendered set gone": (
        lambda w: sql(w, "INSERT INTO datasets VALUES ('dice-12345678-s3', 'dice', 40, 'now')"),
        "rendered", "annotations.json is gone",
    ),
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("name", NAMED)
def test_without_a_command_the_next_step_is_named(well: Path, name: str) -> None:
    assert_named(well, NAMED[name])


@pytest.mark.integration
def test_a_model_that_does_not_fit_its_config(small: Workspace, tmp_path: Path) -> None:
    """Deep: the real network is built, and the weights loaded."""
    import_checkpoint(small, str(write_checkpoint(tmp_path / "m0.pth")), None, Silent())
    small.store.close()
    assert list(examine(small.root, Silent(), CheckDepth.DEEP).findings) == []
    config = small.model_dir("import-1") / "config.json"
    config.write_text(config.read_text().replace('"num_classes": 2', '"num_classes": 3'))
    changed = open_workspace(small.root).store
    changed.execute("UPDATE models SET config_sha256 = ?", file_sha256(config))
    changed.close()
    assert list(examine(small.root, Silent()).findings) == []
    (finding,) = list(examine(small.root, Silent(), CheckDepth.DEEP).findings)
    assert (finding.check, finding.subject) == ("models.unusable", "import-1")
    assert finding.mend == "restore models/import-1 from a backup; or use an earlier model: al-loop rollback"
