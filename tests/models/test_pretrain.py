"""The first model: imported, or refused with a reason; on real checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.factories import write_checkpoint

from al_loop.core.console import Silent
from al_loop.core.errors import DataError, ModelError
from al_loop.core.files import file_sha256
from al_loop.models.pretrain import import_checkpoint
from al_loop.state import model_registry
from al_loop.state.workspace import Workspace

pytestmark = pytest.mark.train


def test_an_import_becomes_the_first_model(small: Workspace, tmp_path: Path) -> None:
    tell = Silent()
    model = import_checkpoint(small, str(write_checkpoint(tmp_path / "mine.pth")), None, tell)
    assert model.id == model_registry.current_model(small).id == "import-1"
    assert file_sha256(model.weights) == model.weights_sha256
    metrics = model_registry.saved_metrics(small, "import-1")
    assert metrics is not None
    assert metrics.images == 4
    assert any("AP" in line for line in tell.lines)
    # Evaluated once: a second import does not undo a later promotion.
    later = model_registry.register_model(small, "cycle-1", "cycle", "0" * 64, "import-1", None)
    model_registry.promote(small, later, "test")
    import_checkpoint(small, str(tmp_path / "mine.pth"), None, tell)
    assert model_registry.current_model(small).id == "cycle-1"
    model_registry.rollback(small)
    # The same file again is the same model; another file under that name is another.
    assert import_checkpoint(small, str(tmp_path / "mine.pth"), None, tell).id == "import-1"
    write_checkpoint(tmp_path / "mine.pth", seed=1)
    assert import_checkpoint(small, str(tmp_path / "mine.pth"), None, tell).id == "import-2"


def test_an_import_without_a_validation_set(small: Workspace, tmp_path: Path) -> None:
    small.store.execute("DELETE FROM sets")
    checkpoint, tell = str(write_checkpoint(tmp_path / "mine.pth")), Silent()
    import_checkpoint(small, checkpoint, None, tell)
    assert model_registry.current_model(small).id == "import-1"
    assert tell.lines[-1].endswith("The next cycle has a validation set labelled: al-loop cycle")
    with pytest.raises(DataError, match="no validation set to evaluate models on"):
        import_checkpoint(small, checkpoint, None, tell)
    small.store.execute("INSERT INTO sets SELECT 'validation', id FROM images WHERE role = 'validation'")
    import_checkpoint(small, checkpoint, None, tell)
    assert model_registry.saved_metrics(small, "import-1") is not None


def test_what_cannot_be_imported_leaves_no_model(small: Workspace, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "pwned",))

    other = write_checkpoint(tmp_path / "three.pth", ("a", "b", "c"))
    cut = tmp_path / "cut.pth"
    cut.write_bytes(other.read_bytes()[:5000])
    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    for path, config, says in (
        (other, None, "was trained for 3 classes, this workspace has 2"),
        (cut, None, "is not a complete checkpoint"),
        (tmp_path / "evil.pth", None, "would run code"),
        (tmp_path / "nowhere.pth", None, "no checkpoint at"),
        (write_checkpoint(tmp_path / "ok.pth"), "r50", "another architecture"),
    ):
        with pytest.raises(ModelError, match=says):
            import_checkpoint(small, str(path), config, Silent())
    assert not (tmp_path / "pwned").exists()
    assert model_registry.all_models(small) == []


def test_a_model_whose_file_was_changed_is_not_used(small: Workspace, tmp_path: Path) -> None:
    from al_loop.models.scoring import load_detector

    model = import_checkpoint(small, str(write_checkpoint(tmp_path / "mine.pth")), None, Silent())
    write_checkpoint(model.weights, seed=3)
    with pytest.raises(ModelError, match="has SHA-256"):
        load_detector(small, model)


def test_a_checkpoint_by_url_is_fetched_once_and_its_hash_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    from al_loop.models import checkpoint_cache

    def fetch(location: str, sha256: str | None = None) -> Path:
        return checkpoint_cache.fetch(location, sha256, lambda *step: None)

    monkeypatch.setenv("AL_LOOP_CACHE", str(tmp_path / "cache"))
    served = tmp_path / "served"
    served.mkdir()
    file = write_checkpoint(served / "plain.pth")
    digest = file_sha256(file)
    for name in (f"right-{digest[:8]}.pth", "wrong-00000000.pth"):
        (served / name).write_bytes(file.read_bytes())
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=served)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        for url, sha256 in ((f"{base}/plain.pth", digest), (f"{base}/right-{digest[:8]}.pth", None)):
            assert file_sha256(fetch(url, sha256)) == digest
        with pytest.raises(ModelError, match="has SHA-256"):
            fetch(f"{base}/wrong-00000000.pth")
        with pytest.raises(ModelError, match="cannot be fetched"):
            fetch(f"{base}/missing.pth")
        [cached] = (tmp_path / "cache" / "checkpoints").glob("*-plain.pth")
        cached.write_bytes(b"changed")  # the hash of a cached file is checked, too
        assert file_sha256(fetch(f"{base}/plain.pth", digest)) == digest
        server.shutdown()
    assert file_sha256(fetch(f"{base}/plain.pth", digest)) == digest  # from the cache: the server is gone
    assert len(list((tmp_path / "cache" / "checkpoints").iterdir())) == 2  # unchecked files are gone
