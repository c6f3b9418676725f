"""Columns of predictions: complete shards survive everything, and nothing else counts."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from al_loop.core.errors import WorkspaceError
from al_loop.state import prediction_store
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import Prediction
from al_loop.structures.masks import SIDE
from al_loop.structures.predictions import ScoredImages
from strategies import margin_sum

COLUMNS = ("embeddings", "xyxy", "labels", "scores", "distributions", "features", "uncertainty", "offsets")


def predictions(
    *numbers: int, width: int = 5, features: bool = False, masks: bool = False, maxima: bool = True
) -> list[Prediction]:
    items = []
    for number in numbers:
        rng = np.random.default_rng(number)
        n = number % 4  # some images show nothing
        corners = rng.uniform(0, 50, (n, 2))
        shares = rng.dirichlet(np.ones(3), n).astype(np.float32)
        items.append(
            Prediction(
                f"image-{number}",
                Boxes(
                    np.concatenate([corners, corners + 10], axis=1).astype(np.float32).astype(np.float64),
                    shares[:, :2].argmax(axis=1),
                    shares[:, :2].max(axis=1).astype(np.float64),
                ),
                shares,
                rng.normal(size=width).astype(np.float16).astype(np.float32),
                rng.normal(size=(n, 3)).astype(np.float32) if features else None,
                rng.integers(0, 256, (n, SIDE**2)).astype(np.uint8) if masks else None,
                np.random.default_rng([number, 1]).normal(size=width).astype(np.float16).astype(np.float32)
                if maxima
                else None,
            )
        )
    return items


def equal(scored: ScoredImages, expected: list[Prediction]) -> None:
    assert scored.image_ids == tuple(p.image_id for p in expected)
    for i, p in enumerate(expected):
        boxes, rows = scored.boxes(i), slice(scored.offsets[i], scored.offsets[i + 1])
        np.testing.assert_array_equal(boxes.xyxy, p.boxes.xyxy)
        np.testing.assert_array_equal(boxes.labels, p.boxes.labels)
        assert boxes.scores is not None
        np.testing.assert_array_equal(boxes.scores, p.boxes.scores)
        np.testing.assert_array_equal(scored.distributions[rows], p.distributions)
        np.testing.assert_array_equal(scored.embeddings[i], p.embedding)
        assert (scored.maxima is None) == (p.maxima is None)
        if scored.maxima is not None and p.maxima is not None:
            np.testing.assert_array_equal(scored.maxima[i], p.maxima)
        assert scored.uncertainty[i] == margin_sum(p.distributions, np.array([0, len(p.boxes)]))[0]


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    store = ShardStore(tmp_path / "scores")
    assert list(store.image_ids()) == []
    with pytest.raises(WorkspaceError, match="no scores in"):
        store.load()
    store.append(predictions(1, 2, 3, features=True))
    store.append(predictions(4, 8, features=True))  # neither shows anything
    store.append(predictions(5, features=True))
    everything = predictions(1, 2, 3, 4, 8, 5, features=True)
    for reader in (store, ShardStore(tmp_path / "scores")):
        equal(reader.load(), everything)
        assert set(reader.image_ids()) == {p.image_id for p in everything}
    scored = store.load(["image-5", "image-99", "image-2", "image-5"])
    equal(scored, predictions(5, 2, features=True))
    features = np.concatenate([p.features for p in predictions(5, 2, features=True)])
    np.testing.assert_allclose(scored.features, features, atol=2e-3)


def test_masks_are_columns_of_models_that_predict_them(tmp_path: Path) -> None:
    plain, store = ShardStore(tmp_path / "plain"), ShardStore(tmp_path / "masks")
    plain.append(predictions(1, 2, 3))
    assert plain.load().masks is plain.load().mask_margins is None
    assert not list(plain.folder.glob("*mask*"))
    assert "mask" not in (plain.folder / prediction_store.JOURNAL).read_text()
    for numbers in ((1, 4), (2, 3), (8,)):
        store.append(predictions(*numbers, masks=True))
    everything = predictions(1, 4, 2, 3, 8, masks=True)
    equal(store.load(), everything)
    masks = np.concatenate([p.masks for p in everything if p.masks is not None])
    some = ShardStore(store.folder).load(["image-3", "image-4", "image-1"])
    for scored, rows in ((store.load(), slice(None)), (some, [3, 4, 5, 0])):
        np.testing.assert_array_equal(np.asarray(scored.masks), masks[rows])
        expected = 1 - np.abs(masks[rows] / 255 * 2 - 1).mean(axis=1)
        np.testing.assert_allclose(np.asarray(scored.mask_margins), expected, atol=1e-6)
    assert store.forget_damaged() == 0
    path = store.folder / "masks.bin"
    path.write_bytes(path.read_bytes()[:-1])
    equal(ShardStore(store.folder).load(), predictions(1, 4))
    with pytest.raises(WorkspaceError, match="of another model"):
        plain.append(predictions(5, masks=True))
    with pytest.raises(ValueError, match="masks of all 2 images of a shard, got 1"):
        store.append([*predictions(5), *predictions(6, masks=True)])


def test_a_subset_of_a_subset(tmp_path: Path) -> None:
    store = ShardStore(tmp_path)
    store.append(predictions(*range(12)))
    scored = store.load()
    assert scored.subset(scored.image_ids) is scored
    some = scored.subset([f"image-{n}" for n in (9, 3, 7, 0, 1, 2)])
    equal(some.subset(["image-1", "image-9", "image-7"]), predictions(1, 9, 7))
    equal(scored.subset([]), [])
    with pytest.raises(KeyError):
        scored.subset(["image-99"])


def test_a_store_of_images_without_boxes(tmp_path: Path) -> None:
    store = ShardStore(tmp_path)
    store.append(predictions(0, 4))
    equal(store.load(), predictions(0, 4))
    assert store.forget_damaged() == 0


@pytest.mark.parametrize("after", range(10))
def test_a_kill_or_a_full_disk_at_any_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    store = ShardStore(tmp_path)
    store.append(predictions(1, 2))
    write, calls = prediction_store._write_at, []

    def full(path: Path, start: int, data: bytes) -> None:
        calls.append(path)
        if len(calls) > after:
            write(path, start, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, start, data)

    with monkeypatch.context() as patch:
        patch.setattr(prediction_store, "_write_at", full)
        with pytest.raises(WorkspaceError, match=r"\(No space left on device\); earlier scores are kept"):
            store.append(predictions(3, 5))
    for reader in (store, ShardStore(tmp_path)):
        equal(reader.load(), predictions(1, 2))
        assert reader.forget_damaged() == 0
    ShardStore(tmp_path).append(predictions(3, 6))
    equal(ShardStore(tmp_path).load(), predictions(1, 2, 3, 6))


@pytest.mark.integration
def test_every_file_that_is_short_or_gone_costs_only_what_it_held(tmp_path: Path) -> None:
    def filled(folder: Path) -> ShardStore:
        store = ShardStore(folder)
        for numbers in ((1, 2), (3, 5), (6, 7)):
            store.append(predictions(*numbers, features=True))
        return store

    names = sorted(path.name for path in filled(tmp_path / "all").folder.iterdir())
    assert len(names) == 11
    for name in names:
        path = filled(tmp_path / f"cut-{name}").folder / name
        path.write_bytes(path.read_bytes()[:-1])
        equal(ShardStore(path.parent).load(), predictions(1, 2, 3, 5, features=True))
        path = filled(tmp_path / f"gone-{name}").folder / name
        path.unlink()
        assert list(ShardStore(path.parent).image_ids()) == []
        with pytest.raises(
            WorkspaceError, match="no scores in" if name == prediction_store.JOURNAL else "are damaged"
        ):
            ShardStore(path.parent).load()
        ShardStore(path.parent).append(predictions(9, features=True))
        equal(ShardStore(path.parent).load(), predictions(9, features=True))


def test_a_byte_that_changed_is_found(tmp_path: Path) -> None:
    for name in ("embeddings.bin", "distributions.bin", "image_ids.txt"):
        store = ShardStore(tmp_path / name)
        for numbers in ((1, 2), (3, 5), (6, 7)):
            store.append(predictions(*numbers))
        assert store.forget_damaged() == 0
        path = tmp_path / name / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        assert ShardStore(tmp_path / name).forget_damaged() == 4
        equal(ShardStore(tmp_path / name).load(), predictions(1, 2))


def test_rows_of_another_model_are_refused(tmp_path: Path) -> None:
    store = ShardStore(tmp_path)
    store.append(predictions(1, 2))
    with pytest.raises(WorkspaceError, match="of another model"):
        store.append(predictions(3, width=7))
    equal(store.load(), predictions(1, 2))


def test_what_half_precision_cannot_hold_stays_finite(tmp_path: Path) -> None:
    large = predictions(1)[0]
    assert large.maxima is not None
    large.embedding[0] = large.maxima[0] = 1e6
    ShardStore(tmp_path).append([large])
    scored = ShardStore(tmp_path).load()
    assert scored.maxima is not None
    assert np.isfinite(np.asarray(scored.embeddings)).all()
    assert np.isfinite(np.asarray(scored.maxima)).all()


def test_scores_that_an_older_version_began_get_no_maxima(tmp_path: Path) -> None:
    old, new = ShardStore(tmp_path / "old"), ShardStore(tmp_path / "new")
    old.append(predictions(1, 2, maxima=False))
    old.append(predictions(3))
    equal(ShardStore(tmp_path / "old").load(), predictions(1, 2, 3, maxima=False))
    new.append(predictions(2, 4))
    better = [*predictions(1, 2, 3, maxima=False)]
    both = ShardStore(tmp_path / "old").load().updated_with(new.load(["image-2"]))
    equal(both, better)


def test_columns_are_not_read_before_they_are_looked_at(tmp_path: Path) -> None:
    store = ShardStore(tmp_path)
    store.append(predictions(*range(8)))
    scored = store.load()
    assert isinstance(scored.embeddings, np.memmap)
    some = scored.subset([f"image-{n}" for n in (5, 3)])
    assert not isinstance(some.distributions, np.ndarray)
    assert {name for name in COLUMNS if hasattr(some, name)} == set(COLUMNS)


def test_scores_are_updated_with_others(tmp_path: Path) -> None:
    quick, close = ShardStore(tmp_path / "quick"), ShardStore(tmp_path / "close")
    quick.append(predictions(*range(12), features=True))
    better = predictions(21, 22, 23, 28, features=True)  # other boxes, other numbers of them
    names = ["image-3", "image-7", "image-4", "image-0"]
    better = [replace(p, image_id=name) for p, name in zip(better, names, strict=True)]
    close.append(better)
    expected = {p.image_id: p for p in [*predictions(*range(12)), *better]}
    both = quick.load().updated_with(close.load())
    equal(both, list(expected.values()))
    order = ["image-7", "image-1", "image-0", "image-11"]
    equal(both.subset(order), [expected[name] for name in order])
    np.testing.assert_array_equal(
        np.asarray(both.embeddings), np.stack([p.embedding for p in expected.values()])
    )
    equal(quick.load().updated_with(close.load(["image-99"])), predictions(*range(12)))
