"""What lives on a node, without a cluster: images that are there, that are sent, that nobody has."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch

from al_loop.core.errors import ClusterError, ConfigError, ModelError
from al_loop.core.files import file_sha256
from al_loop.detector.cluster.actor import Kit, Lacking, Scored, Scorer, Sized
from al_loop.detector.cluster.seats import Seat, seats
from al_loop.detector.config.stored_config import read_config, write_config
from al_loop.detector.inference.scoring import ScoreSettings, planned, score_images
from al_loop.state.model_registry import Model
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.images import ImageFile

pytestmark = pytest.mark.train
SETTINGS = ScoreSettings(score_thr=0.05, batch_size=4, workers=0, shard_size=64)


@pytest.fixture
def model(trained: Any, config: Any, tmp_path: Path) -> Model:
    folder = tmp_path / "model"
    folder.mkdir()
    torch.save(trained[0].weights, folder / "weights.pth")
    write_config(folder, config)
    return Model("m", None, "import", None, folder, file_sha256(folder / "weights.pth"), "now")


def kit_of(model: Model, workers: int | None) -> Kit:
    return Kit.of(model, read_config(model.folder), "auto", "fp32", workers, trusted=False)


def scorer(model: Model, image: ImageFile, workers: int | None = None) -> tuple[Scorer, bool]:
    made = Scorer(Seat("n", "here", torch.get_num_threads(), False))
    ready = made.prepare(kit_of(model, workers), Sized.of(image))
    assert ready.precision == "fp32"
    return made, ready.sees


@pytest.mark.parametrize("workers", [None, 2])
def test_a_node_says_the_same_of_files_and_of_bytes(
    model: Model, detector: Any, sets: Any, tmp_path: Path, workers: int | None
) -> None:
    images = [item.image for item in sets[1]]
    elsewhere = [replace(image, path=tmp_path / "nowhere" / image.path.name) for image in images]
    there, sees = scorer(model, images[0], workers)
    assert sees
    sizes = [Sized(image, Sized.of(at_home).bytes) for image, at_home in zip(elsewhere, images, strict=True)]
    [shard] = planned(read_config(model.folder), elsewhere, SETTINGS)
    assert there.score(shard, sizes, {}, SETTINGS, last=False) == Lacking(tuple(image.id for image in images))
    files = {image.id: image.path.read_bytes() for image in images[1:]}
    assert there.score(shard, sizes, files, SETTINGS, last=False) == Lacking((images[0].id,))
    files[images[0].id] = b"no picture"
    sent = there.score(shard, sizes, files, SETTINGS, last=True)
    assert isinstance(sent, Scored)
    assert [(u.image_id, u.reason) for u in sent.unreadable] == [
        (images[0].id, f"{elsewhere[0].path} is not an image (JPEG, PNG, WebP, BMP or TIFF)")
    ]
    store = ShardStore(tmp_path / "here")
    score_images(detector, images[1:], store, SETTINGS)
    here = store.load().subset([p.image_id for p in sent.predictions])
    assert len(here.labels) > 3
    # One image less in the first batch: rounding.
    np.testing.assert_allclose(here.xyxy, np.concatenate([p.boxes.xyxy for p in sent.predictions]), atol=1e-2)


def test_what_nobody_has_fails_by_name(model: Model, sets: Any, tmp_path: Path) -> None:
    image = sets[1][0].image
    gone = replace(image, path=tmp_path / "gone.png")
    there, _ = scorer(model, image)
    found = there.score([(image, gone)], [Sized.of(image), Sized.of(gone)], {}, SETTINGS, last=False)
    assert isinstance(found, Scored)
    assert [u.reason for u in found.unreadable] == [f"{gone.path} cannot be read (No such file or directory)"]
    assert [p.image_id for p in found.predictions] == [image.id]


def test_a_node_fetches_what_stays_in_a_store_or_is_sent_it(model: Model, sets: Any, tmp_path: Path) -> None:
    images = [item.image for item in sets[1]][:3]
    store = fsspec.filesystem("memory")
    linked = []
    for image in images:
        data = image.path.read_bytes()
        store.pipe(f"/pool/{image.path.name}", data)
        place = {"path": tmp_path / "cache" / image.path.name, "url": f"memory://pool/{image.path.name}"}
        linked.append(replace(image, id=hashlib.sha256(data).hexdigest(), **place))
    try:
        there, _ = scorer(model, linked[0])
        sizes = [Sized.of(image) for image in linked]
        fetched = there.score([tuple(linked)], sizes, {}, SETTINGS, last=False)
        assert isinstance(fetched, Scored)
        assert [p.image_id for p in fetched.predictions] == [image.id for image in linked]
        assert not (tmp_path / "cache").exists()  # a node keeps nothing
        store.rm(f"/pool/{images[1].path.name}")
        gone = there.score([tuple(linked)], sizes, {}, SETTINGS, last=False)
        assert gone == Lacking((linked[1].id,))
        sent = {linked[1].id: images[1].path.read_bytes()}
        found = there.score([tuple(linked)], sizes, sent, SETTINGS, last=True)
        assert isinstance(found, Scored)
        assert not found.unreadable
        found = there.score([tuple(linked)], sizes, {}, SETTINGS, last=True)
        assert isinstance(found, Scored)
        assert [u.image_id for u in found.unreadable] == [linked[1].id]
        assert f"{linked[1].url} cannot be fetched" in found.unreadable[0].reason
    finally:
        store.rm("/pool", recursive=True)


def test_another_file_of_that_name_is_not_taken_for_it(sets: Any, tmp_path: Path) -> None:
    image = sets[1][0].image
    other = tmp_path / "other.png"
    other.write_bytes(image.path.read_bytes() + b" ")
    assert Sized(image, Sized.of(image).bytes).seen()
    assert not Sized(replace(image, path=other), Sized.of(image).bytes).seen()


def test_another_version_of_al_loop_is_refused(model: Model, sets: Any) -> None:
    image = sets[1][0].image
    kit = replace(kit_of(model, 0), version="0.0.1")
    with pytest.raises(ClusterError, match=r"expected the same al-loop on every node, got 0\.0\.1 where"):
        Scorer(Seat("n", "here", 1, False)).prepare(kit, Sized.of(image))


def test_weights_that_were_changed_are_not_sent_and_not_used(model: Model, sets: Any) -> None:
    kit = kit_of(model, 0)
    with pytest.raises(ModelError, match="has SHA-256"):
        Scorer(Seat("n", "here", 1, False)).prepare(
            replace(kit, weights=kit.weights + b" "), Sized.of(sets[1][0].image)
        )
    model.weights.write_bytes(kit.weights + b" ")
    with pytest.raises(ModelError, match="has SHA-256"):
        kit_of(model, 0)


def node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {
        "NodeID": name,
        "NodeManagerHostname": name,
        "NodeManagerAddress": "10.0.0.1",
        "Alive": alive,
        "Resources": resources,
    }


def test_seats() -> None:
    """One for each GPU with its share of the cores; without GPUs one for each node; none where it is off."""
    plain = [node("a", CPU=8.0), node("b", CPU=4.0), node("c", alive=False, CPU=4.0), node("d")]
    assert [(s.node, s.cores, s.gpu) for s in seats(plain, "auto")] == [("a", 8, False), ("b", 4, False)]
    mixed = [node("a", CPU=8.0), node("g", CPU=32.0, GPU=2.0)]
    assert [(s.node, s.cores, s.gpu) for s in seats(mixed, "auto")] == [("g", 16, True)] * 2
    assert [s.node for s in seats(mixed, "cpu")] == ["a", "g"]
    assert seats(mixed, "cuda") == seats(mixed, "cuda:1") == seats(mixed, "auto")
    with pytest.raises(ConfigError, match=r'device = "cuda".*no node of the Ray cluster has a GPU'):
        seats(plain, "cuda")
    with pytest.raises(ClusterError, match="no node of the Ray cluster has a core"):
        seats([node("d")], "auto")
