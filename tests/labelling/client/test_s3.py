"""Images in a bucket: a real server that signs addresses, and moto as S3, both on loopback."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import httpx
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from support.annotation_page import AnnotationPage, chromium, needs_chromium
from support.labelling_tasks import (
    BLOCKS,
    CLASSES,
    SIZE,
    Running,
    block_tasks,
    fetch_tasks,
    make_tasks,
    send_tasks,
)

from al_loop.core.errors import ConfigError, LabelStudioError
from al_loop.labelling.check import check_server
from al_loop.labelling.client.s3 import S3Objects, server_key
from al_loop.labelling.client.task import TaskState
from al_loop.labelling.server import environment, server
from al_loop.labelling.tasks.project import ensure_project

pytestmark = pytest.mark.server
KEY = {
    "AWS_ACCESS_KEY_ID": "ours",
    "AWS_SECRET_ACCESS_KEY": "secret-of-ours",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 on loopback, and this machine's key for it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEY.items():
            patch.setenv(name, value)
        moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        moto.start()
        try:
            yield "http://{}:{}".format(*moto.get_host_and_port())
        finally:
            moto.stop()


@pytest.fixture(scope="module")
def client(endpoint: str) -> Any:
    return boto3.client("s3", endpoint_url=endpoint)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that may talk to addresses of its network, as is needed for a bucket in the plant."""
    home = tmp_path_factory.mktemp("plant") / "label-studio"
    with pytest.MonkeyPatch.context() as patch:
        guard = {"SSRF_PROTECTION_ENABLED": "false"}
        patch.setattr(server, "clean_environ", lambda data: environment.clean_environ(data) | guard)
        info = server.start(home)
    try:
        yield Running(home, info)
    finally:
        server.stop(home)


@pytest.fixture
def images(endpoint: str, client: Any, request: pytest.FixtureRequest) -> S3Objects:
    """A bucket of each test's own."""
    bucket = "b" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    client.create_bucket(Bucket=bucket)
    return S3Objects(
        f"s3://{bucket}/al loop/ünit", endpoint, "us-east-1", 5, "reader", "secret-of-the-reader"
    )


def send(
    plant: Running, images: S3Objects, folder: Path, count: int = 3, project: int | None = None
) -> tuple[int, Any]:
    connection = plant.info.connection
    project = ensure_project(connection, folder.name[-40:], CLASSES, project)
    tasks = make_tasks(folder, count, batch="c1")
    return project, send_tasks(connection, project, tasks, images)


def written(client: Any, images: S3Objects) -> dict[str, Any]:
    """What is in the bucket, and since when."""
    found = client.list_objects_v2(Bucket=images.bucket).get("Contents", [])
    return {item["Key"]: item["LastModified"] for item in found}


def test_images_go_to_the_bucket_once_and_the_server_signs_addresses(
    plant: Running, client: Any, images: S3Objects, tmp_path: Path
) -> None:
    project, first = send(plant, images, tmp_path)
    assert (first.created, first.already_there) == (3, 0)
    there = written(client, images)
    assert len(there) == 3
    assert all(key.startswith("al loop/ünit/") for key in there)
    with plant.info.connection.open() as api:
        tasks = api.tasks(project, whole=False)
        urls = [task["data"]["image"] for task in tasks]
        assert sorted(urls) == sorted(f"s3://{images.bucket}/{key}" for key in there)
        signed = api.resolve(project, urls[0])
        (storage,) = api.storages("s3", project)
    assert "secret" not in str(storage)
    found = httpx.get(signed, trust_env=False)  # no token of the server goes there
    assert (found.status_code, found.headers["content-type"]) == (200, "image/jpeg")
    assert found.content in [path.read_bytes() for path in tmp_path.iterdir()]
    assert "Expires=300" in signed
    assert "Credential=reader" in signed
    assert httpx.get(signed.partition("?")[0], trust_env=False).status_code == 403

    # Again, with another key for the server: nothing is written twice, and the new key is used.
    before = written(client, images)
    _, again = send(plant, replace(images, key_id="another", secret="of-the-reader"), tmp_path, 3, project)
    assert (again.created, again.already_there) == (0, 3)
    assert written(client, images) == before
    with plant.info.connection.open() as api:
        assert len(api.storages("s3", project)) == 1
        assert "Credential=another" in api.resolve(project, urls[0])


@needs_chromium
def test_annotators_see_the_images(
    plant: Running, images: S3Objects, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The browser gets the image from the bucket alone, by an address that the server signed."""
    connection, some = plant.info.connection, block_tasks(tmp_path, 1)
    project = ensure_project(connection, "in the bucket", CLASSES)
    queue = send_tasks(connection, project, some, images).queue_url
    (task,) = fetch_tasks(connection, project, some)
    caplog.set_level("INFO", "werkzeug")
    caplog.clear()  # of earlier requests
    with chromium() as browser:
        annotator = AnnotationPage.log_in(browser, plant.info.url, plant.info.email, plant.info.password)
        annotator.page.goto(queue)
        annotator.open(task.task_id or 0, boxes=2)
        assert annotator.size == SIZE
        np.testing.assert_allclose(annotator.boxes(), BLOCKS, atol=1e-6)
        seen = annotator.screenshot(tmp_path / "bucket.png")
        assert annotator.near(seen, 180, 125)[:, :2].min() > 130  # a yellow block, and not an empty page
        annotator.submit()
    asked = [line for line in caplog.messages if "GET /" in line]
    assert asked
    assert all(f"GET /{images.bucket}/" in line and "X-Amz-Signature" in line for line in asked)
    (task,) = fetch_tasks(connection, project, some)
    assert task.state is TaskState.LABELLED


def test_only_the_bucket_can_be_seen(plant: Running, client: Any, images: S3Objects, tmp_path: Path) -> None:
    project, _ = send(plant, images, tmp_path, 1)
    client.create_bucket(Bucket="other-bucket")
    client.put_object(Bucket="other-bucket", Key="secret.jpg", Body=b"x")
    with plant.info.connection.open() as api, pytest.raises(LabelStudioError, match="no storage"):
        api.resolve(project, "s3://other-bucket/secret.jpg")


def test_what_goes_wrong_is_said_before_anything_is_pushed(
    plant: Running, client: Any, images: S3Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LabelStudioError, match=r"cannot be written to s3://nowhere/x.*AWS_ACCESS_KEY_ID"):
        send(plant, replace(images, url="s3://nowhere/x"), tmp_path)
    with pytest.raises(LabelStudioError, match="cannot be written"):
        send(plant, replace(images, endpoint="http://127.0.0.1:9"), tmp_path)
    monkeypatch.setattr(S3Objects, "_write", lambda *_: None)  # as if others wrote them
    with pytest.raises(LabelStudioError, match=r"the server cannot read s3://.*AL_LOOP_S3_KEY_ID") as caught:
        send(plant, images, tmp_path)
    assert "secret-of-the-reader" not in str(caught.value)


def test_a_server_that_guards_its_network_says_so(
    label_studio: Running, images: S3Objects, tmp_path: Path
) -> None:
    """By default, Label Studio refuses a bucket inside the plant; its reason is passed on."""
    with pytest.raises(LabelStudioError, match="reserved network address"):
        send(label_studio, images, tmp_path)


def test_the_check_covers_the_bucket(plant: Running, images: S3Objects) -> None:
    found = check_server(plant.info.connection, images)
    assert not [item for item in found if item.fix]
    assert found[-1].what.startswith(f"annotators get images: s3://{images.bucket}/")
    found = check_server(plant.info.connection, replace(images, url="s3://nowhere/x"))
    assert "cannot be written" in found[-1].fix


@pytest.mark.parametrize("url", ["bucket/x", "s3://", "https://bucket/x", ""])
def test_no_bucket(url: str) -> None:
    with pytest.raises(ConfigError, match="s3://labels/al-loop"):
        S3Objects(url)


def test_half_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_key("AL_A", "AL_B") == (None, None)
    monkeypatch.setenv("AL_B", "x")
    with pytest.raises(ConfigError, match="AL_B is set and AL_A is not"):
        server_key("AL_A", "AL_B")
    monkeypatch.setenv("AL_A", "y")
    assert server_key("AL_A", "AL_B") == ("y", "x")
    assert "hidden" not in repr(S3Objects("s3://b/x", None, None, 5, "y", "hidden"))
