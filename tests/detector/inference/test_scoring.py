"""Scoring: the same numbers alone and in a batch, the whole distribution, shards that survive a kill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.coco_tools import coco_stats
from support.factories import CLASSES, draw

from al_loop.core.errors import ModelError
from al_loop.detector.inference.scoring import ScoreSettings, plan_shards, score_images
from al_loop.evaluation.evaluate import evaluate
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.images import ImageFile
from al_loop.structures.predictions import ScoredImages

pytestmark = pytest.mark.train
SETTINGS = ScoreSettings(score_thr=0.05, batch_size=4, workers=0, shard_size=4)


def score(detector: Any, images: list[ImageFile], folder: Path, **changes: Any) -> ScoredImages:
    store, say = ShardStore(folder), changes.pop("say", print)
    assert score_images(detector, images, store, replace(SETTINGS, **changes), say=say) == []
    return store.load().subset([image.id for image in images])


@pytest.fixture
def images(sets: Any, tmp_path: Path) -> list[ImageFile]:
    """Validation images of one size, and two of another that have to be shrunk to fit."""
    large = []
    for i in range(2):
        path = tmp_path / f"large-{i}.png"
        draw(300, 160, [[30, 20, 66, 36], [200, 60, 36, 66]], seed=i).save(path)
        large.append(ImageFile(f"large-{i}", path, 300, 160))
    return [item.image for item in sets[1]] + large


def test_alone_or_in_a_batch_gives_the_same(detector: Any, images: list[ImageFile], tmp_path: Path) -> None:
    batch = score(detector, images, tmp_path / "batch")
    alone = score(detector, images, tmp_path / "alone", batch_size=1)
    workers = score(detector, images, tmp_path / "workers", workers=2)
    assert len(batch.xyxy) > 5
    for other in (alone, workers):
        assert other.offsets.tolist() == batch.offsets.tolist()
        np.testing.assert_array_equal(other.labels, batch.labels)
        np.testing.assert_allclose(other.xyxy, batch.xyxy, atol=1e-2)
        np.testing.assert_allclose(other.distributions, batch.distributions, atol=1e-4)
        np.testing.assert_allclose(other.embeddings, batch.embeddings, atol=1e-4, rtol=1e-3)  # half precision


def test_distributions_are_whole_and_belong_to_their_boxes(
    detector: Any, images: list[ImageFile], tmp_path: Path
) -> None:
    scored = score(detector, images, tmp_path)
    shares, labels, scores = map(np.asarray, (scored.distributions, scored.labels, scored.scores))
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-5)
    assert shares.shape[1] == len(CLASSES) + 1
    np.testing.assert_allclose(shares[np.arange(len(labels)), labels], scores, atol=1e-6)
    assert (scores >= SETTINGS.score_thr).all()


def test_boxes_are_those_of_mmdet(detector: Any, images: list[ImageFile], tmp_path: Path) -> None:
    from mmdet.structures import DetDataSample

    from al_loop.detector.transforms import fit, read_picture

    scored = score(detector, images, tmp_path)
    for index, image in enumerate(images):
        picture = fit(read_picture(image.path), (96, 64), enlarge=False)
        tensor = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
        height, width = picture.shape[:2]
        sample = DetDataSample(
            metainfo={
                "img_shape": (height, width),
                "ori_shape": (image.height, image.width),
                "scale_factor": (width / image.width, height / image.height),
            }
        )
        with torch.inference_mode():
            data = detector.model.data_preprocessor({"inputs": [tensor], "data_samples": [sample]}, False)
            [found] = detector.model.predict(data["inputs"], [sample])
        ours = scored.boxes(index)
        assert found.pred_instances.labels.tolist() == ours.labels.tolist()
        np.testing.assert_allclose(found.pred_instances.bboxes.numpy(), ours.xyxy, atol=1e-2)
        np.testing.assert_allclose(found.pred_instances.scores.numpy(), ours.scores, atol=1e-4)


def test_pooled_features_are_those_of_p2_over_the_image(
    detector: Any, images: list[ImageFile], tmp_path: Path
) -> None:
    from al_loop.detector.transforms import fit, read_picture

    image = images[-1]  # 300x160 shrinks to 96x51 and is padded to 96x64
    scored = score(detector, [image], tmp_path)
    picture = fit(read_picture(image.path), (96, 64), enlarge=False)
    assert picture.shape == (51, 96, 3)
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    normal = (picture[:, :, ::-1] - mean) / std
    padded = np.zeros((64, 96, 3))
    padded[:51] = normal
    with torch.inference_mode():
        p2 = detector.model.extract_feat(torch.from_numpy(padded.transpose(2, 0, 1)[None].copy()).float())[0]
    shown = p2[0, :, : round(16 * 51 / 64), :]
    np.testing.assert_allclose(scored.embeddings[0], shown.mean(dim=(1, 2)).numpy(), atol=1e-4, rtol=1e-3)
    assert scored.maxima is not None
    np.testing.assert_allclose(scored.maxima[0], shown.amax(dim=(1, 2)).numpy(), atol=1e-3, rtol=1e-3)


def test_a_killed_run_goes_on_and_nothing_is_scored_twice(
    detector: Any, images: list[ImageFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ShardStore(tmp_path)
    seen: list[int] = []

    def killed(done: int, total: int) -> None:
        seen.append(total)
        if done > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_images(detector, images, store, SETTINGS, killed)
    before = set(store.image_ids())
    assert 0 < len(before) < len(images)
    import al_loop.detector.inference.scoring as module

    predicted: list[str] = []
    real = module.predict

    def spy(model: Any, batch: list[ImageFile], *rest: Any, **more: Any) -> Any:
        predicted.extend(image.id for image in batch)
        return real(model, batch, *rest, **more)

    monkeypatch.setattr(module, "predict", spy)
    score_images(detector, images, store, SETTINGS)
    assert set(predicted) == {image.id for image in images} - before
    assert len(predicted) == len(set(predicted))
    undisturbed = score(detector, images, tmp_path / "other")
    resumed = store.load().subset([image.id for image in images])
    np.testing.assert_allclose(resumed.distributions, undisturbed.distributions, atol=1e-5)


def test_an_unreadable_image_fails_by_name_and_the_rest_goes_on(
    detector: Any, images: list[ImageFile], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(images[0].path.read_bytes()[:50])
    wrong_size = ImageFile("wrong", images[0].path, 50, 50)
    store = ShardStore(tmp_path / "shards")
    failed = score_images(
        detector, [*images, ImageFile("broken", broken, 96, 64), wrong_size], store, SETTINGS
    )
    assert {item.image_id for item in failed} == {"broken", "wrong"}
    assert any("broken.png is damaged or cut short" in item.reason for item in failed)
    assert any("is 96x64 px, expected 50x50" in item.reason for item in failed)
    assert set(store.image_ids()) == {image.id for image in images}


def test_shards_end_with_batches_so_that_the_rest_has_the_same_batches(detector: Any) -> None:
    images = [ImageFile(f"{n:02d}", Path("x"), *((96, 64) if n % 3 else (300, 160))) for n in range(31)]
    shards = plan_shards(detector.config, images, replace(SETTINGS, shard_size=6))
    batches = [batch for shard in shards for batch in shard]
    assert sorted(image.id for batch in batches for image in batch) == [image.id for image in images]
    assert all(len({image.width for image in batch}) == 1 for batch in batches)
    assert sorted(map(len, batches)) == [3, 4, 4, 4, 4, 4, 4, 4]
    assert [sum(map(len, shard)) for shard in shards] == [8, 7, 8, 8]
    for lost in range(len(shards)):
        left = [image for image in reversed(images) if not any(image in b for b in shards[lost])]
        again = plan_shards(detector.config, left, replace(SETTINGS, shard_size=6))
        assert [b for shard in again for b in shard] == [b for b in batches if b not in shards[lost]]


def short_of_memory(most: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Limit the images per batch that fit into memory; return the sizes that are tried."""
    import al_loop.detector.inference.scoring as module

    real, tried = module.predict, list[int]()

    def predict(model: Any, batch: list[ImageFile], *rest: Any, **more: Any) -> Any:
        tried.append(len(batch))
        if len(batch) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(model, batch, *rest, **more)

    monkeypatch.setattr(module, "predict", predict)
    return tried


def test_batches_shrink_with_one_message_when_memory_is_short(
    detector: Any, images: list[ImageFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score(detector, images, tmp_path / "whole")
    alone = score(detector, images, tmp_path / "alone", batch_size=1)
    tried, told = short_of_memory(2, monkeypatch), list[str]()
    halved = score(detector, images, tmp_path / "halved", say=told.append)
    assert tried == [2, 4, 2, 2, 2]  # two large images, then six small ones in batches of four
    assert told == [
        "  out of memory with 4 images per batch: continuing with 2. "
        "To start there: score.batch_size = 2 in al-loop.toml"
    ]
    for other in (whole, alone):
        np.testing.assert_array_equal(halved.labels, other.labels)
        np.testing.assert_allclose(halved.xyxy, other.xyxy, atol=1e-2)
        np.testing.assert_allclose(halved.distributions, other.distributions, atol=1e-4)


def test_without_memory_for_one_image_what_is_done_is_kept(
    detector: Any, images: list[ImageFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import al_loop.detector.inference.scoring as module

    store, real = ShardStore(tmp_path), module.predict

    def full(model: Any, batch: list[ImageFile], *rest: Any, **more: Any) -> Any:
        if store.image_ids():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(model, batch, *rest, **more)

    monkeypatch.setattr(module, "predict", full)
    with pytest.raises(
        ModelError, match=r"cpu has too little memory to score a single image \(photo.*run the same"
    ) as error:
        score_images(detector, images, store, replace(SETTINGS, shard_size=2))
    assert 'device = "cpu"' in str(error.value)
    assert set(store.image_ids()) == {"large-0", "large-1"}


def test_a_model_that_is_not_finite_is_refused(
    detector: Any, images: list[ImageFile], tmp_path: Path
) -> None:
    torch.nn.init.constant_(detector.model.neck.fpn_convs[0].conv.weight, float("nan"))
    with pytest.raises(ModelError, match=r"not finite.*al-loop rollback"):
        score_images(detector, images, ShardStore(tmp_path), SETTINGS)


def test_lost_scores_are_computed_again(detector: Any, images: list[ImageFile], tmp_path: Path) -> None:
    before = score(detector, images, tmp_path)
    column = tmp_path / "distributions.bin"
    column.write_bytes(column.read_bytes()[:-4])
    lost = {image.id for image in images} - set(ShardStore(tmp_path).image_ids())
    assert 0 < len(lost) < len(images)
    np.testing.assert_allclose(
        score(detector, images, tmp_path).distributions, before.distributions, atol=1e-5
    )


def test_ap_equals_pycocotools_on_files(detector: Any, sets: Any, tmp_path: Path) -> None:
    truth = sets[1]
    predicted = score(detector, [item.image for item in truth], tmp_path / "s").boxes_by_image()
    ours, stats = evaluate(truth, predicted, CLASSES), coco_stats(truth, predicted, CLASSES, tmp_path)
    assert (ours.ap, ours.ap50, ours.ap75) == pytest.approx(tuple(stats[:3]), abs=1e-12)
    assert ours.ap > 0.1


def test_ap_by_hand(make_boxes: Any) -> None:
    from al_loop.structures.images import LabelledImage

    image = ImageFile("a", Path("a.png"), 100, 100)
    truth = [LabelledImage(image, make_boxes((0, 0, 10, 10, 0), (50, 50, 60, 60, 0)))]
    perfect = make_boxes((0, 0, 10, 10, 0, 0.9), (50, 50, 60, 60, 0, 0.8))
    assert evaluate(truth, {"a": perfect}, CLASSES).ap == pytest.approx(1.0)
    assert evaluate(truth, {}, CLASSES).ap == 0.0
    assert evaluate(truth, {"a": perfect}, CLASSES).per_class == {"bolt": pytest.approx(1.0), "nut": None}
    half = make_boxes((0, 0, 10, 10, 0, 0.9))
    # Recall ends at 0.5: 51 of the 101 recall points have precision 1.
    assert evaluate(truth, {"a": half}, CLASSES).ap50 == pytest.approx(51 / 101)


def test_features_are_what_the_classifier_sees(
    detector: Any, images: list[ImageFile], tmp_path: Path
) -> None:
    plain = score(detector, images, tmp_path / "plain")
    rich = score(detector, images, tmp_path / "rich", features=True)
    assert plain.features.shape == (len(plain.labels), 0)
    np.testing.assert_array_equal(rich.xyxy, plain.xyxy)
    classifier = detector.model.roi_head.bbox_head.fc_cls
    with torch.inference_mode():
        logits = classifier(torch.from_numpy(rich.features.astype(np.float32)))
    # They are stored in half precision.
    np.testing.assert_allclose(logits.softmax(dim=1).numpy(), rich.distributions, atol=0.01)


def test_predictions_of_augmented_copies_lie_in_the_same_places(
    detector: Any, images: list[ImageFile], tmp_path: Path
) -> None:
    plain = score(detector, images, tmp_path / "plain", score_thr=0.5)
    for name in ("flip", "noise", "turn"):
        copy = score(detector, images, tmp_path / name, score_thr=0.3, augmentation=name)
        near = 0
        for index in range(len(images)):
            mine, theirs = plain.boxes(index).xyxy, copy.boxes(index).xyxy
            if len(mine) and len(theirs):
                middles = (
                    mine[:, None, :2] + mine[:, None, 2:] - theirs[None, :, :2] - theirs[None, :, 2:]
                ) / 2
                near += int((abs(middles).max(axis=2).min(axis=1) < 12).sum())
        assert near >= 0.6 * len(plain.labels), name
