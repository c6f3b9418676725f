"""Initial weights from the public COCO checkpoint, served by the test itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from support.factories import write_checkpoint
from support.web_server import Answer, web_servers

from al_loop.core.errors import ConfigError, ModelError
from al_loop.core.files import file_sha256
from al_loop.detector.config import public_configs
from al_loop.models.starting_point import named_config, start_weights
from al_loop.state.workspace import Workspace

pytestmark = pytest.mark.integration
CLASSIFIER, STEM = "roi_head.bbox_head.fc_cls.weight", "backbone.conv1.weight"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A checkpoint of three other classes as mmdet 2 published them: torch's old format, names in `meta`."""
    weights = torch.load(write_checkpoint(tmp_path / "plain.pth", ("x", "y", "z")), weights_only=True)
    content = {"state_dict": weights, "meta": {"CLASSES": ("x", "y", "z"), "epoch": 12}}
    torch.save(content, tmp_path / "published.pth", _use_new_zipfile_serialization=False)
    return tmp_path / "published.pth"


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Serve bytes as the checkpoint that mmdet lists for "small"; return the names of the requests."""
    monkeypatch.setenv("AL_LOOP_CACHE", str(tmp_path / "cache"))
    requests = list[str]()

    def answer(data: bytes, handler: BaseHTTPRequestHandler) -> None:
        requests.append(handler.path)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def start(serve: Callable[[Answer], str], data: bytes, digits: str) -> list[str]:
        listed = {"Config": "x/small.py", "Weights": f"{serve(partial(answer, data))}/small-{digits}.pth"}
        monkeypatch.setattr(public_configs, "_models", lambda: [listed])
        return requests

    return start


def with_model(workspace: Workspace, **changes: Any) -> Workspace:
    model = msgspec.structs.replace(workspace.config.model, **changes)
    return workspace.with_settings(msgspec.structs.replace(workspace.config, model=model))


def started(workspace: Workspace) -> tuple[Any, list[tuple[int, int, str]]]:
    steps = list[tuple[int, int, str]]()
    weights, _ = start_weights(workspace, named_config(workspace), 0, lambda *step: steps.append(step))
    return weights, steps


def test_the_public_checkpoint_is_fetched_once_and_fitted(
    small: Workspace, published: Path, publish: Any
) -> None:
    coco, source = with_model(small, load_from="coco"), torch.load(published, weights_only=True)["state_dict"]
    digits = file_sha256(published)[:8]
    with web_servers() as serve:
        requests = publish(serve, published.read_bytes(), digits)
        weights, steps = started(coco)
    assert torch.equal(weights[STEM], source[STEM])
    assert weights[CLASSIFIER].shape[0] == 3  # two classes and the background; the file has three
    total = published.stat().st_size >> 20
    assert steps[-1] == (total, total, f"MiB of small-{digits}.pth")
    # From the cache: the server is gone.
    assert torch.equal(started(coco)[0][STEM], source[STEM])
    assert requests == [f"/small-{digits}.pth"]


def test_a_changed_public_checkpoint_is_refused(small: Workspace, published: Path, publish: Any) -> None:
    with web_servers() as serve:
        publish(serve, published.read_bytes() + b"x", file_sha256(published)[:8])
        with pytest.raises(ModelError, match="has SHA-256"):
            started(with_model(small, load_from="coco"))


def test_without_a_network_the_error_names_the_file_to_bring(
    small: Workspace, published: Path, publish: Any
) -> None:
    digits = file_sha256(published)[:8]
    with web_servers() as serve:
        publish(serve, b"", digits)
    with pytest.raises(ModelError, match=rf"/small-{digits}\.pth cannot be fetched.*set model\.load_from"):
        started(with_model(small, load_from="coco"))
    brought, _ = started(with_model(small, load_from=str(published)))
    assert torch.equal(brought[STEM], torch.load(published, weights_only=True)["state_dict"][STEM])


def test_a_model_that_mmdet_has_no_checkpoint_for(small: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"mmdet lists no checkpoint for model.config = 'small'"):
        started(with_model(small, load_from="coco"))
