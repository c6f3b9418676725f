"""Which server a workspace labels on, and how browsers get its images."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from al_loop.core.errors import ConfigError, LabelStudioError
from al_loop.labelling.backend import connect, server_name
from al_loop.labelling.client.image_serving import LocalFiles, Upload
from al_loop.labelling.client.s3 import S3Objects
from al_loop.state.workspace import Workspace

URL = "https://labels.example.org"


@pytest.fixture
def with_settings(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Workspace]:
    """The workspace with other settings of label_studio."""
    monkeypatch.setenv("AL_LOOP_LABEL_STUDIO_TOKEN", "t0ken")

    def change(**settings: Any) -> Workspace:
        s3 = structs.replace(workspace.config.label_studio.s3, **settings.pop("s3", {}))
        changed = structs.replace(workspace.config.label_studio, s3=s3, **settings)
        config = structs.replace(workspace.config, label_studio=changed)
        return Workspace(workspace.root, config, workspace.store)

    return change


def test_uploads_to_a_server_of_ones_own(with_settings: Callable[..., Workspace]) -> None:
    for images in ("auto", "upload"):
        workspace = with_settings(url=f"{URL}/", images=images)
        connection, serving = connect(workspace)
        assert isinstance(serving, Upload)
        assert (connection.base_url, connection.token, server_name(workspace)) == (URL, "t0ken", URL)


def test_a_folder_that_the_server_shows(with_settings: Callable[..., Workspace], tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    _, serving = connect(with_settings(url=URL, images="local-files", document_root=str(shown)))
    assert serving == LocalFiles(shown)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": URL, "images": "local-files"}, "needs label_studio.document_root"),
        ({"url": URL, "images": "local-files", "document_root": "none"}, "is not a folder"),
        ({"url": URL, "images": "local-files", "document_root": "."}, "contains the workspace, and"),
        ({"url": URL, "images": "local-files", "document_root": ".."}, "contains the workspace, and"),
        ({"url": URL, "images": "s3"}, "needs label_studio.s3.url"),
        ({"url": URL, "images": "s3", "s3": {"url": "labels"}}, "expected bucket and folder"),
        ({"images": "s3", "s3": {"url": "s3://labels/x"}}, "need a server of your own"),
        ({"document_root": "x"}, "need a server of your own"),
    ],
)
def test_a_way_that_does_not_fit(
    with_settings: Callable[..., Workspace], settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        connect(with_settings(**settings))


def test_a_bucket_and_the_key_of_the_server(
    with_settings: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = with_settings(url=URL, images="s3", s3={"url": "s3://labels/al-loop/", "minutes": 5})
    _, serving = connect(workspace)
    assert serving == S3Objects("s3://labels/al-loop/", minutes=5)
    assert isinstance(serving, S3Objects)
    assert (serving.bucket, serving.prefix) == ("labels", "al-loop")
    monkeypatch.setenv("AL_LOOP_S3_KEY_ID", "id")
    with pytest.raises(ConfigError, match="AL_LOOP_S3_SECRET_KEY is not"):
        connect(workspace)
    monkeypatch.setenv("AL_LOOP_S3_SECRET_KEY", "hidden")
    _, serving = connect(workspace)
    assert isinstance(serving, S3Objects)
    assert (serving.key_id, serving.secret) == ("id", "hidden")


def test_without_a_server_or_a_token(
    with_settings: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LabelStudioError, match="al-loop label-studio start"):
        connect(with_settings())
    monkeypatch.delenv("AL_LOOP_LABEL_STUDIO_TOKEN")
    with pytest.raises(LabelStudioError, match=f"no token for {URL}"):
        connect(with_settings(url=URL))


def test_a_token_in_a_file_that_others_can_read(
    with_settings: Callable[..., Workspace], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("from-the-file\n")
    file.chmod(0o644)
    workspace = with_settings(url=URL, token_file=str(file))
    with pytest.raises(ConfigError, match=f"chmod 600 {file}"):
        connect(workspace)
    file.chmod(0o600)
    assert connect(workspace)[0].token == "from-the-file"
    with pytest.raises(ConfigError, match="cannot be read"):
        connect(with_settings(url=URL, token_file="none"))


def test_a_token_file_that_is_none(with_settings: Callable[..., Workspace], tmp_path: Path) -> None:
    """A pipe would wait for a writer forever, a device never ends: both are refused at once."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    long = tmp_path / "long"
    long.write_bytes(b"x" * 70_000)
    odd = tmp_path / "odd"
    odd.write_bytes(b"\xff\xfe")
    for path in (long, odd):
        path.chmod(0o600)
    for path, says in (
        (pipe, "a named pipe"),
        (Path("/dev/zero"), "a device"),
        (long, "65536|64"),
        (odd, "does not contain a token"),
    ):
        with pytest.raises(ConfigError, match=says):
            connect(with_settings(url=URL, token_file=str(path)))
