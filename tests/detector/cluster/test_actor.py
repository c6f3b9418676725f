"""The actor on a node, without a cluster: images that it sees, that are sent, that are missing."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from support.lively_model import lively_masks

from al_loop.core.errors import ClusterError, ModelError
from al_loop.core.files import file_sha256
from al_loop.detector.cluster.actor import (
    MissingFiles,
    ModelPayload,
    ScoringActor,
    ShardResult,
    file_size,
)
from al_loop.detector.config.stored_config import read_config, write_config
from al_loop.detector.inference.scoring import ScoreSettings, plan_shards, score_images
from al_loop.state.model_registry import Model
from al_loop.state.prediction_store import ShardStore
from render.execution.actor_pool import Placement

pytestmark = pytest.mark.train
SETTINGS = ScoreSettings(score_thr=0.05, batch_size=4, workers=0, shard_size=64)


@pytest.fixture
def model(trained: Any, config: Any, tmp_path: Path) -> Model:
    folder = tmp_path / "model"
    folder.mkdir()
    torch.save(trained[0].weights, folder / "weights.pth")
    write_config(folder, config)
    return Model("m", None, "import", None, file_sha256(folder / "weights.pth"), "now", folder=folder)


def payload_of(model: Model, workers: int | None) -> ModelPayload:
    return ModelPayload.of(model, read_config(model.folder), workers, trusted=False)


def actor_with(model: Model, workers: int | None = None) -> ScoringActor:
    """Return an actor that holds the model."""
    actor = ScoringActor(Placement("n", "here", torch.get_num_threads()))
    assert actor.prepare(payload_of(model, workers), "fp32") == "fp32"
    return actor


@pytest.mark.parametrize("workers", [None, 2])
def test_a_node_scores_its_files_and_sent_bytes_alike(
    model: Model, detector: Any, sets: Any, tmp_path: Path, workers: int | None
) -> None:
    images = [item.image for item in sets[1]]
    elsewhere = [replace(image, path=tmp_path / "nowhere" / image.path.name) for image in images]
    actor = actor_with(model, workers)
    sizes = {image.id: file_size(image) for image in images}
    [shard] = plan_shards(read_config(model.folder), elsewhere, SETTINGS)
    assert actor.score(shard, sizes, {}, SETTINGS, last=False) == MissingFiles(
        tuple(image.id for image in images)
    )
    files = {image.id: image.path.read_bytes() for image in images[1:]}
    assert actor.score(shard, sizes, files, SETTINGS, last=False) == MissingFiles((images[0].id,))
    files[images[0].id] = b"no picture"
    sent = actor.score(shard, sizes, files, SETTINGS, last=True)
    assert isinstance(sent, ShardResult)
    assert [(u.image_id, u.reason) for u in sent.unreadable] == [
        (images[0].id, f"{elsewhere[0].path} is not an image (JPEG, PNG, WebP, BMP or TIFF)")
    ]
    store = ShardStore(tmp_path / "here")
    score_images(detector, images[1:], store, SETTINGS)
    here = store.load().subset([p.image_id for p in sent.predictions])
    assert len(here.labels) > 3
    # One image less in the first batch: rounding.
    np.testing.assert_allclose(here.xyxy, np.concatenate([p.boxes.xyxy for p in sent.predictions]), atol=1e-2)


def test_a_missing_file_is_reported_by_name(model: Model, sets: Any, tmp_path: Path) -> None:
    image = sets[1][0].image
    gone = replace(image, id="gone", path=tmp_path / "gone.png")
    actor = actor_with(model)
    sizes = {item.id: file_size(item) for item in (image, gone)}
    result = actor.score([(image, gone)], sizes, {}, SETTINGS, last=False)
    assert isinstance(result, ShardResult)
    assert [u.reason for u in result.unreadable] == [
        f"{gone.path} cannot be read (No such file or directory)"
    ]
    assert [p.image_id for p in result.predictions] == [image.id]


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
        actor = actor_with(model)
        sizes = {image.id: file_size(image) for image in linked}
        fetched = actor.score([tuple(linked)], sizes, {}, SETTINGS, last=False)
        assert isinstance(fetched, ShardResult)
        assert [p.image_id for p in fetched.predictions] == [image.id for image in linked]
        assert not (tmp_path / "cache").exists()  # a node keeps nothing
        store.rm(f"/pool/{images[1].path.name}")
        gone = actor.score([tuple(linked)], sizes, {}, SETTINGS, last=False)
        assert gone == MissingFiles((linked[1].id,))
        sent = {linked[1].id: images[1].path.read_bytes()}
        result = actor.score([tuple(linked)], sizes, sent, SETTINGS, last=True)
        assert isinstance(result, ShardResult)
        assert not result.unreadable
        result = actor.score([tuple(linked)], sizes, {}, SETTINGS, last=True)
        assert isinstance(result, ShardResult)
        assert [u.image_id for u in result.unreadable] == [linked[1].id]
        assert f"{linked[1].url} cannot be fetched" in result.unreadable[0].reason
    finally:
        store.rm("/pool", recursive=True)


def test_a_file_of_another_size_is_missing(model: Model, sets: Any, tmp_path: Path) -> None:
    image = sets[1][0].image
    other = replace(image, path=tmp_path / "other.png")
    other.path.write_bytes(image.path.read_bytes() + b" ")
    sizes = {image.id: file_size(image)}
    assert actor_with(model).score([(other,)], sizes, {}, SETTINGS, last=False) == MissingFiles((image.id,))


def test_another_version_of_al_loop_is_refused(model: Model) -> None:
    payload = replace(payload_of(model, 0), version="0.0.1")
    with pytest.raises(ClusterError, match=r"the same al-loop on every node, got 0\.0\.1 on the driver"):
        ScoringActor(Placement("n", "here", 1)).prepare(payload, "fp32")


def test_weights_that_were_changed_are_not_sent_and_not_used(model: Model) -> None:
    payload = payload_of(model, 0)
    changed = replace(payload, weights=payload.weights + b" ")
    with pytest.raises(ModelError, match="has SHA-256"):
        ScoringActor(Placement("n", "here", 1)).prepare(changed, "fp32")
    model.weights.write_bytes(payload.weights + b" ")
    with pytest.raises(ModelError, match="has SHA-256"):
        payload_of(model, 0)


def test_a_node_predicts_masks_where_they_are_wanted(config: Any, sets: Any, tmp_path: Path) -> None:
    detector = lively_masks(config)
    torch.save(detector.model.state_dict(), tmp_path / "weights.pth")
    write_config(tmp_path, detector.config)
    model = Model("m", None, "import", None, file_sha256(tmp_path / "weights.pth"), "now", folder=tmp_path)
    images = [item.image for item in sets[1]][:2]
    sizes = {image.id: file_size(image) for image in images}
    result = actor_with(model).score([tuple(images)], sizes, {}, replace(SETTINGS, masks=True), last=False)
    assert isinstance(result, ShardResult)
    assert all(one.masks is not None and len(one.masks) == len(one.boxes) > 3 for one in result.predictions)
    ShardStore(tmp_path / "scores").append(result.predictions)
    assert ShardStore(tmp_path / "scores").load().masks is not None
