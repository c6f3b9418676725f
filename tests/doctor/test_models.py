"""The doctor and a real model."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.factories import write_checkpoint

from al_loop.core.console import Silent
from al_loop.core.files import file_sha256
from al_loop.doctor import examine
from al_loop.images.integrity import CheckDepth
from al_loop.models.pretrain import import_checkpoint
from al_loop.state.workspace import Workspace, open_workspace

pytestmark = pytest.mark.usefixtures("temporary")


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
