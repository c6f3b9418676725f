"""Photographs that stay in a bucket: S3 as moto speaks it, on loopback, and fsspec's memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest
from moto.server import ThreadedMotoServer
from msgspec import structs
from support.factories import draw, picture_bytes

from al_loop.core.config import PoolConfig
from al_loop.core.errors import DataError
from al_loop.images import object_cache, repository
from al_loop.images.import_sources import add_sources
from al_loop.images.object_cache import Prefetcher, local_copy, trim
from al_loop.state.workspace import Workspace
from al_loop.structures.images import ImageFile

LINK = PoolConfig(objects="link")


def linking(workspace: Workspace) -> Workspace:
    return Workspace(workspace.root, structs.replace(workspace.config, pool=LINK), workspace.store)


@pytest.fixture
def line3() -> Iterator[Any]:
    """A store in memory with four photographs."""
    store = fsspec.filesystem("memory")
    store.pipe({f"/line3/{n}.PNG": picture_bytes(n) for n in range(4)})
    yield store
    store.rm("/line3", recursive=True)


@pytest.fixture
def linked(workspace: Workspace, line3: Any) -> Workspace:
    """A pool whose photographs stay there."""
    linked = linking(workspace)
    assert add_sources(linked, ["memory://line3"]).added == 4
    return linked


def test_nothing_is_copied_before_it_is_looked_at(linked: Workspace) -> None:
    assert not linked.images.exists()
    assert not linked.cache.exists()
    images = repository.unlabelled(linked)
    assert sorted(image.url or "" for image in images) == [f"memory:///line3/{n}.PNG" for n in range(4)]
    for image in images:
        path = local_copy(image)
        assert path == image.path == linked.cache / image.id[:2] / f"{image.id}.png"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == image.id
    assert add_sources(linked, ["memory://line3"]).known == 4


def test_what_is_cached_is_not_fetched_again(linked: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    (first, *_) = repository.unlabelled(linked)
    local_copy(first)
    monkeypatch.setattr(object_cache, "read", lambda *_: pytest.fail("fetched again"))
    local_copy(first)


def test_another_object_of_that_name_is_refused(linked: Workspace, line3: Any) -> None:
    image = next(i for i in repository.unlabelled(linked) if i.url == "memory:///line3/1.PNG")
    line3.pipe("/line3/1.PNG", picture_bytes(99))
    with pytest.raises(
        DataError, match=r"memory:///line3/1.PNG has changed since it was added: expected SHA-256"
    ):
        local_copy(image)
    line3.rm("/line3/1.PNG")
    with pytest.raises(DataError, match=r"memory:///line3/1.PNG cannot be fetched"):
        local_copy(image)
    assert [p for p in linked.cache.rglob("*") if p.is_file()] == []


def test_what_people_label_is_kept_for_good(linked: Workspace, line3: Any) -> None:
    ids = [image.id for image in repository.unlabelled(linked)]
    gone = next(i for i in repository.unlabelled(linked) if i.url == "memory:///line3/2.PNG").id
    line3.rm("/line3/2.PNG")
    lost = repository.keep(linked, ids[:4])
    assert list(lost) == [gone]
    for image in repository.images_by_id(linked, ids):
        assert (image.url is None) == (image.id != gone)
        if image.url is None:
            assert linked.images in image.path.parents
            assert hashlib.sha256(image.path.read_bytes()).hexdigest() == image.id
    assert repository.keep(linked, [name for name in ids if name != gone]) == {}


def test_what_must_be_turned_is_copied(workspace: Workspace, line3: Any, tmp_path: Path) -> None:
    draw(20, 10, []).save(tmp_path / "a.tiff")
    line3.pipe("/line3/a.tiff", (tmp_path / "a.tiff").read_bytes())
    here = linking(workspace)
    add_sources(here, ["memory://line3"])
    assert sum(image.url is None for image in repository.unlabelled(here)) == 1


def test_the_cache_drops_what_was_not_used_for_the_longest_time(linked: Workspace) -> None:
    images = repository.unlabelled(linked)
    sizes = {}
    for age, image in enumerate(images):
        path = local_copy(image)
        os.utime(path, (1e9 + age, 1e9 + age))
        sizes[image.id] = path.stat().st_size
    assert trim(linked.cache, sum(sizes.values())) == 0
    local_copy(images[0])  # the oldest, used again
    assert trim(linked.cache, sum(sizes.values()) - 1) == 1
    assert not images[1].path.exists()
    assert all(images[i].path.exists() for i in (0, 2, 3))
    assert trim(linked.cache, 0) == 3


def test_fetched_ahead_of_whoever_looks(linked: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_cache, "_AHEAD", 2)
    images = repository.unlabelled(linked)
    with Prefetcher(images) as prefetcher:
        prefetcher.advance(1)
    assert sum(image.path.exists() for image in images) <= 3
    with Prefetcher(images) as prefetcher:
        prefetcher.advance(len(images))
        prefetcher._executor.shutdown(wait=True)
    assert all(image.path.exists() for image in images)


def test_a_photograph_of_this_machine_is_where_it_is(tmp_path: Path) -> None:
    image = ImageFile("a", tmp_path / "a.png", 1, 1)
    assert local_copy(image) == image.path


@pytest.mark.integration
def test_a_bucket(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it by the client that a user has."""
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    try:
        endpoint = "http://{}:{}".format(*moto.get_host_and_port())
        for name, value in {
            "AWS_ACCESS_KEY_ID": "k",
            "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint,
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="plant")
        for n in range(3):
            client.put_object(Bucket="plant", Key=f"line 3/ü/{n}.png", Body=picture_bytes(n))
        here = linking(workspace)
        fsspec.filesystem("s3").clear_instance_cache()
        summary = add_sources(here, ["s3://plant/line 3"])
        assert (summary.added, summary.unreached) == (3, 0)
        images = repository.unlabelled(here)
        with Prefetcher(images):  # nothing is fetched twice, whoever is first
            assert {hashlib.sha256(local_copy(i).read_bytes()).hexdigest() for i in images} == {
                i.id for i in images
            }
        client.put_object(Bucket="plant", Key="line 3/ü/0.png", Body=picture_bytes(50))
        fsspec.filesystem("s3").invalidate_cache()
        again = add_sources(here, ["s3://plant/line 3"])
        assert (again.added, again.known) == (1, 2)  # its tag is another: another photograph
        with pytest.raises(
            DataError, match=r"s3://absent: cannot be listed \(The specified bucket does not exist\)"
        ):
            add_sources(here, ["s3://absent"])
    finally:
        moto.stop()
