"""`al-loop predict`: photographs that need not be in the workspace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from msgspec import structs
from PIL import Image
from support.factories import CLASSES, draw, write_checkpoint
from support.pool_images import add_images

from al_loop.cli import cli
from al_loop.core.console import Silent
from al_loop.detector.checkpoint import write_weights
from al_loop.detector.config.mask_head import add_mask_head
from al_loop.detector.config.model_config import build_model, load_model_config
from al_loop.images import repository
from al_loop.images.overlays import overlay
from al_loop.loop.pool_scoring import score_pool
from al_loop.models import prediction
from al_loop.models.prediction import PredictedPhoto, Predictor, photographs_at
from al_loop.models.pretrain import import_checkpoint
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import current_model
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace, open_workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.segmentation import polygon

pytestmark = pytest.mark.integration


@pytest.fixture
def ready(small: Workspace, tmp_path: Path) -> Workspace:
    """A workspace with a model, which reads two photographs a batch."""
    path = small.root / "al-loop.toml"
    before, table, score = path.read_text().partition("[score]")
    score = score.replace("batch_size = 8", "batch_size = 2", 1)
    score = score.replace('precision = "auto"', 'precision = "fp32"', 1)
    path.write_text(before + table + score)
    workspace = open_workspace(small.root)
    import_checkpoint(workspace, str(write_checkpoint(tmp_path / "mine.pth")), None, Silent())
    return workspace


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eleven photographs of two sizes, of which one is turned, and a file that is none."""
    folder = tmp_path / "line"
    folder.mkdir()
    for number in range(10):
        size = (96, 64) if number % 3 else (64, 96)
        draw(*size, [[10, 10, 22, 12]], seed=50 + number).save(folder / f"{number}.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    draw(64, 96, [[10, 10, 12, 22]], seed=70).save(folder / "turned.jpg", exif=turned)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def run(workspace: Workspace, *words: object) -> Result:
    return CliRunner().invoke(cli, ["-w", str(workspace.root), "predict", *map(str, words)])


def predicted(workspace: Workspace, files: list[str]) -> list[PredictedPhoto]:
    return list(Predictor(workspace, current_model(workspace), 0.05).photos(files))


def test_the_boxes_are_those_of_the_pool(
    ready: Workspace, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same photographs, predicted in parts, and scored in the workspace."""
    monkeypatch.setattr(prediction, "_BATCHES", 2)
    found = predicted(ready, photographs_at([str(photos)])[0])
    assert [Path(photo.file).name for photo in found] == [*(f"{n}.png" for n in range(10)), "turned.jpg"]
    assert (found[-1].image.width, found[-1].image.height) == (96, 64)
    add_images(ready, [photos])
    model = current_model(ready)
    score_pool(ready, model.id, Silent())
    scores = shards_in(ready, ready.scores_dir(ScoreKey.of(ready.config, model.id))).load()
    names = {
        name: Path(source).name for name, source in repository.source_names(ready, scores.image_ids).items()
    }
    by_name = {names[name]: boxes for name, boxes in scores.boxes_by_image().items()}
    assert sum(len(photo.boxes) for photo in found) > 0
    for photo in found:
        same = by_name[Path(photo.file).name]
        np.testing.assert_allclose(photo.boxes.xyxy, same.xyxy, atol=1e-3)
        np.testing.assert_allclose(photo.boxes.scores, same.scores, atol=1e-5)
        assert photo.boxes.labels.tolist() == same.labels.tolist()


def test_files_pictures_and_what_is_refused(ready: Workspace, photos: Path, tmp_path: Path) -> None:
    out, drawn = tmp_path / "new" / "found.json", tmp_path / "drawn"
    done = run(ready, photos, photos / "1.png", "--out", out, "--overlays", drawn, "--min-score", 0.05)
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    assert len(found["images"]) == 11
    assert {"score", "bbox", "category_id", "image_id"} <= set(found["annotations"][0])
    assert all(item["score"] >= 0.05 for item in found["annotations"])
    assert (
        f"11 photographs, {len(found['annotations'])} boxes of score 0.05 or more by import-1" in done.output
    )
    assert "photographs per second" in done.output
    assert "broken.jpg is not an image" in done.output
    assert sorted(path.name for path in drawn.iterdir()) == [*(f"{n}.jpg" for n in range(10)), "turned.jpg"]
    with Image.open(drawn / "turned.jpg") as picture:
        assert picture.size == (96, 64)
    assert run(ready, photos, "--out", out).exit_code != 0  # it exists
    assert json.loads(out.read_text()) == found


def test_pictures_of_the_same_name_are_all_kept(ready: Workspace, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    draw(96, 64, [], seed=99).save(other / "1.png")
    run(ready, photos / "1.png", other / "1.png", "--overlays", tmp_path / "drawn")
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["1-2.jpg", "1.jpg"]


def test_no_file_is_overwritten(ready: Workspace, photos: Path) -> None:
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    done = run(ready, photos, "--overlays", photos)
    assert "is not empty: choose another folder" in str(done.exception)
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before


def test_what_was_predicted_before_an_interruption_is_written(
    ready: Workspace, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Predictor.photos

    def interrupted(self: Predictor, files: list[str]) -> Iterator[PredictedPhoto]:
        for number, photo in enumerate(whole(self, files)):
            if number == 3:
                raise KeyboardInterrupt
            yield photo

    monkeypatch.setattr(Predictor, "photos", interrupted)
    done = run(ready, photos, "--out", tmp_path / "some.json")
    assert "interrupted: the first 3 of 12 photographs are written" in str(done.exception)
    assert len(json.loads((tmp_path / "some.json").read_text())["images"]) == 3


def test_what_is_skipped_is_told(ready: Workspace, photos: Path, tmp_path: Path) -> None:
    (photos / "phone.heic").write_bytes(b"")
    done = run(ready, photos, "--out", tmp_path / "x.json")
    assert "passed over: 1 .heic" in done.output


def test_bad_input_is_one_sentence(ready: Workspace, photos: Path, tmp_path: Path) -> None:
    done = run(ready, photos)
    assert "nothing to write: give --out FILE" in done.output
    (tmp_path / "empty").mkdir()
    cases: dict[str, list[object]] = {
        "no photographs at": [tmp_path / "empty"],
        "nothing at": [tmp_path / "gone"],
        "none of the photographs could be read": [photos / "broken.jpg"],
    }
    for text, places in cases.items():
        done = run(ready, *places, "--out", tmp_path / "x.json")
        assert done.exit_code != 0
        assert text in str(done.exception) + done.output
        assert not (tmp_path / "x.json").exists()
    done = run(ready, photos, "--out", tmp_path / "x.json", "--model", "nope")
    assert "nope" in str(done.exception)


def test_a_model_without_masks_gives_boxes_in_a_workspace_for_masks(ready: Workspace, photos: Path) -> None:
    outlined = ready.with_settings(structs.replace(ready.config, task="segmentation"))
    assert all(photo.boxes.outlines is None for photo in predicted(outlined, [str(photos / "1.png")]))


def test_masks_are_written_as_outlines(ready: Workspace, photos: Path, tmp_path: Path) -> None:
    config = load_model_config("small", CLASSES, (96, 64))
    add_mask_head(config.model)
    write_weights(tmp_path / "masked.pth", build_model(config, 7).state_dict(), CLASSES)
    path = ready.root / "al-loop.toml"
    path.write_text(path.read_text().replace('task = "detection"', 'task = "segmentation"'))
    outlined = open_workspace(ready.root)
    assert outlined.config.outlined
    import_checkpoint(outlined, str(tmp_path / "masked.pth"), None, Silent())
    done = run(outlined, photos, "--out", tmp_path / "masks.json", "--min-score", 0.01)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "masks.json").read_text())["annotations"]
    outlines = [item["segmentation"] for item in found if "segmentation" in item]
    assert outlines
    assert all({"size", "counts"} == set(outline) for outline in outlines)


def test_an_overlay_shows_boxes_outlines_and_names(tmp_path: Path) -> None:
    draw(200, 120, [], seed=1).save(tmp_path / "plain.png")
    data = (tmp_path / "plain.png").read_bytes()
    boxes = Boxes(
        np.array([[20.0, 40, 90, 100], [120, 10, 190, 60]]),
        np.array([0, 1]),
        np.array([0.9, 0.4]),
        (polygon(np.array([[20.0, 40], [90, 40], [90, 100], [20, 100]])), None),
    )
    before, after = (
        np.asarray(Image.open(tmp_path / "plain.png")),
        np.asarray(overlay(data, boxes, ("bolt", "nut"))),
    )
    assert after.shape == before.shape
    changed = np.abs(after.astype(int) - before).sum(axis=2) > 30
    assert changed[41:99, 22:88].mean() > 0.9  # filled
    assert not changed[30:58, 130:180].any()  # a box without an outline is empty inside
    assert changed[60, 130:180].all()  # its lower edge
    assert not changed[105:, 100:].any()
