"""Export: the file finds the same boxes as `predict`, and one that does not is not kept."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from support.factories import CLASSES, draw, write_checkpoint
from support.lively_model import lively_masks

from al_loop.core.errors import ModelError
from al_loop.core.files import file_sha256, read_json
from al_loop.detector.checkpoint import load_into, read_weights
from al_loop.detector.config.model_config import build_model
from al_loop.detector.export import export
from al_loop.detector.export.agreement import Agreement, MaskAgreement, compare
from al_loop.detector.export.export import export_model
from al_loop.detector.export.graph import DetectionGraph
from al_loop.detector.inference.predict import Detector, fuse_detector, predict
from al_loop.detector.transforms import Picture, read_picture
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, Prediction
from al_loop.structures.masks import SIDE, pixel_probabilities, rounded

pytestmark = pytest.mark.integration

BOTH = pytest.mark.parametrize("kind", ["onnx", "torchscript"])
BLANK = np.full((64, 96, 3), 255, dtype=np.uint8)


@pytest.fixture
def lively(tmp_path: Path, config: Any) -> Detector:
    """A model with random weights whose outputs differ from place to place."""
    model = build_model(config)
    load_into(model, read_weights(write_checkpoint(tmp_path / "random.pth", seed=18)), "the fixture")
    head = model.roi_head.bbox_head
    with torch.no_grad():
        for layer, factor in (
            (model.rpn_head.rpn_cls, 30),
            (model.rpn_head.rpn_reg, 10),
            (head.fc_cls, 30),
            (head.fc_reg, 60),
        ):
            layer.weight.mul_(factor)
    return Detector(model, config, torch.device("cpu"))


@pytest.fixture
def pictures() -> list[Picture]:
    """Pictures of the model's size, BGR; in the last one `lively` finds nothing."""
    boxes = [[[8.0, 8.0, 22.0, 12.0], [60.0, 30.0, 12.0, 22.0]], [[40.0, 20.0, 12.0, 22.0]], []]
    drawn = [np.asarray(draw(96, 64, one, seed))[:, :, ::-1].copy() for seed, one in enumerate(boxes)]
    return [*drawn, BLANK]


def prediction(detector: Detector, picture: Picture, score_thr: float) -> Prediction:
    image = ImageFile("a", Path("a.png"), picture.shape[1], picture.shape[0])
    return predict(fuse_detector(detector, "fp32"), [image], [picture], score_thr, masks=True)[0]


def found(detector: Detector, picture: Picture, score_thr: float) -> Boxes:
    return prediction(detector, picture, score_thr).boxes


def run(detector: Detector, pictures: list[Picture], folder: Path, kind: str) -> Any:
    if kind != "torchscript" and not (find_spec("onnx") and find_spec("onnxruntime")):
        pytest.skip("needs the extra onnx")
    return export_model(detector, pictures, folder, kind, 0.05, "ab" * 32)


@BOTH
@pytest.mark.parametrize("traced", [0, -1])
def test_a_trace_of_any_picture_holds_for_every_other(
    lively: Detector, pictures: list[Picture], tmp_path: Path, kind: str, traced: int
) -> None:
    """Traced on a picture with many boxes, or on the one without."""
    counts = [len(found(lively, picture, 0.05)) for picture in pictures]
    assert counts[-1] == 0
    assert len(set(counts)) > 2
    ordered = [pictures[traced], *pictures]
    done = run(lively, ordered, tmp_path, kind)
    assert done.agreement.images == 5
    assert done.agreement.boxes == sum(counts) + counts[traced]
    assert done.agreement.good
    assert done.skipped == ""


@BOTH
@pytest.mark.parametrize("size", [(96, 64), (90, 50)])
def test_what_is_written_is_what_a_user_needs(
    lively: Detector, pictures: list[Picture], tmp_path: Path, kind: str, size: tuple[int, int]
) -> None:
    """The JSON alone tells how to run the file; its input need not be a multiple of 32."""
    pictures = [picture[: size[1], : size[0]] for picture in pictures]
    done = run(lively, pictures, tmp_path, kind)
    notes = read_json(done.notes)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "random.pth") == sorted(
        [done.file.name, done.notes.name, "config.json"]
    )
    assert notes["sha256"] == file_sha256(done.file)
    assert notes["weights_sha256"] == "ab" * 32
    assert notes["classes"] == list(CLASSES)
    assert notes["input"]["shape"] == [1, 3, size[1], size[0]]
    assert notes["input"]["colour_order"] == "BGR"
    assert notes["thresholds"]["score"] == 0.05
    assert notes["checked"]["boxes"] == done.agreement.boxes > 10
    assert notes["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert Config.fromfile(tmp_path / notes["config"]).model.type == "FasterRCNN"
    data = np.ascontiguousarray(pictures[0].transpose(2, 0, 1)[None])
    if kind == "onnx":
        session = importlib.import_module("onnxruntime").InferenceSession(done.file)
        boxes, scores, labels = session.run(list(notes["outputs"]), {notes["input"]["name"]: data})
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # newer torch calls all of TorchScript deprecated
            module: Any = torch.jit.load(done.file)  # type: ignore[no-untyped-call]
        boxes, scores, labels = (part.detach().numpy() for part in module(torch.from_numpy(data)))
    expected = found(lively, pictures[0], 0.05)
    np.testing.assert_allclose(boxes, expected.xyxy, atol=0.01)
    np.testing.assert_allclose(scores, expected.scores, atol=1e-4)
    assert labels.dtype == np.int64
    assert labels.tolist() == expected.labels.tolist()


def test_pictures_of_several_sizes_are_padded_to_the_configs(
    lively: Detector, pictures: list[Picture], tmp_path: Path
) -> None:
    mixed = [pictures[0], pictures[1][:40], pictures[2][:, :50]]
    done = run(lively, mixed, tmp_path, "onnx")
    assert done.size == (96, 64)
    assert read_json(done.notes)["input"]["padding_bgr"] == [104, 116, 124]
    with pytest.raises(ModelError, match=r"an image of 64x96 px does not fit into .* 96x64 px"):
        run(lively, [*mixed, pictures[0].swapaxes(0, 1)], tmp_path, "onnx")


@pytest.mark.train
@BOTH
def test_a_trained_model(detector: Any, sets: Any, tmp_path: Path, kind: str) -> None:
    pictures = [read_picture(item.image.path) for item in [*sets[1], *sets[0][:6]]]
    done = run(detector, [*pictures, BLANK], tmp_path, kind)
    assert done.agreement.boxes >= 12
    assert done.agreement.box_px < 0.05
    assert done.agreement.score < 1e-4


@BOTH
@pytest.mark.parametrize("layer", ["fc_cls", "fc_reg"])
def test_a_file_of_other_weights_does_not_agree(
    lively: Detector, pictures: list[Picture], tmp_path: Path, kind: str, layer: str
) -> None:
    done = run(lively, pictures, tmp_path, kind)
    loaded = export._LOADERS[kind](done.file)
    before = [prediction(lively, picture, 0.05) for picture in pictures]
    assert compare(loaded, pictures, before, 0.05).good
    with torch.no_grad():
        lively.model.roi_head.bbox_head.get_submodule(layer).bias[0] += 0.5
    after = [prediction(lively, picture, 0.05) for picture in pictures]
    assert not compare(loaded, pictures, after, 0.05).good


def spoil(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Write files of that kind with one weight changed."""
    real: Callable[..., None] = export._WRITERS[kind]

    def writer(graph: Any, frame: Picture, path: Path) -> None:
        bias = graph.model.roi_head.bbox_head.fc_reg.bias
        with torch.no_grad():
            bias += 0.5
            real(graph, frame, path)
            bias -= 0.5

    monkeypatch.setitem(export._WRITERS, kind, writer)


@BOTH
def test_a_file_that_does_not_agree_is_not_kept(
    lively: Detector, pictures: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    spoil(monkeypatch, kind)
    folder = tmp_path / "export"
    with pytest.raises(ModelError, match=rf"{kind} file does not agree .* 4 images: .* px .*not kept"):
        run(lively, pictures, folder, kind)
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_auto_falls_back_and_says_why(
    lively: Detector, pictures: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "export"
    assert run(lively, pictures, folder, "auto").format == "onnx"
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    spoil(monkeypatch, "onnx")
    done = run(lively, pictures, folder, "auto")
    assert done.format == "torchscript"
    assert "the onnx file does not agree" in done.skipped
    assert {name: (folder / name).read_bytes() for name in kept} == kept
    spoil(monkeypatch, "torchscript")
    with pytest.raises(
        ModelError, match=r"the torchscript file does not.*before that: the onnx file does not"
    ):
        run(lively, pictures, tmp_path / "none", "auto")


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_toolchain(
    lively: Detector,
    pictures: list[Picture],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
) -> None:
    real = importlib.import_module

    def absent(name: str, package: str | None = None) -> Any:
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", absent)
    message = rf"package {missing}, which is not installed: pip install 'al-loop\[onnx\]'"
    with pytest.raises(ModelError, match=message):
        run(lively, pictures, tmp_path, "onnx")
    done = run(lively, pictures, tmp_path, "auto")
    assert done.format == "torchscript"
    assert "pip install 'al-loop[onnx]'" in done.skipped


def test_an_exporter_that_fails_is_reported(
    lively: Detector, pictures: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no symbolic function\nand much more")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ModelError, match=r"cannot be written as ONNX: no symbolic function$"):
        run(lively, pictures, tmp_path / "export", "onnx")
    assert list((tmp_path / "export").iterdir()) == []


def test_what_cannot_be_exported(
    lively: Detector, pictures: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="'tflite': expected one of onnx, torchscript, auto"):
        run(lively, pictures, tmp_path, "tflite")
    with pytest.raises(ModelError, match="checked on real images, got none"):
        run(lively, [], tmp_path, "auto")
    # The settings are shared with the session's config: put back after the test.
    monkeypatch.setitem(lively.model.roi_head.test_cfg, "nms", {"type": "soft_nms", "iou_threshold": 0.5})
    with pytest.raises(ModelError, match="this model has another NMS in its box head"):
        run(lively, pictures, tmp_path, "auto")


def test_differences_by_hand(make_boxes: Callable[..., Boxes]) -> None:
    wanted = make_boxes((10, 10, 30, 30, 0, 0.9), (50, 10, 70, 30, 1, 0.6))
    expected = Prediction("a", wanted, np.zeros((2, 3), np.float32), np.zeros(4, np.float32))

    def against(*rows: tuple[float, ...]) -> Agreement:
        got = make_boxes(*rows)
        scores = np.zeros(0) if got.scores is None else got.scores
        return compare(lambda _: (got.xyxy, scores, got.labels), [BLANK], [expected], 0.05)

    first, second = (10, 10, 30, 30, 0, 0.9), (50, 10, 70, 30, 1, 0.6)
    same = Agreement(images=1, boxes=2, box_px=0.0, score=0.0, unmatched=0, at_threshold=0)
    assert against(first, second) == same
    assert against(second, first) == same
    assert same.good
    moved = against((10, 10.25, 30, 30, 0, 0.9), (50, 10, 70, 29.5, 1, 0.6))
    assert moved == replace(same, box_px=0.5)
    assert moved.good
    assert not against((10, 10, 30, 30.75, 0, 0.9), second).good
    weaker = against((10, 10, 30, 30, 0, 0.875), second)
    assert weaker.score == pytest.approx(0.025)
    assert not weaker.good
    # One box missing; another class is one too few and one too many.
    assert against(first) == replace(same, boxes=1, unmatched=1)
    assert against(first, (50, 10, 70, 30, 0, 0.6)) == replace(same, boxes=1, unmatched=2)
    assert not against(first).good
    # A box just over the threshold may be there or not, by rounding.
    assert against(first, second, (0, 40, 9, 49, 0, 0.0502)) == replace(same, at_threshold=1)
    assert against(first, second, (0, 40, 9, 49, 0, 0.0602)) == replace(same, unmatched=1)


def test_places_of_equal_scores_are_ranked_as_in_predict(lively: Detector) -> None:
    """A flat picture has equal scores everywhere: both passes must take the same of them."""
    with torch.no_grad():
        # Low scores, so that the picture is full of boxes that differ little.
        lively.model.roi_head.bbox_head.fc_cls.weight.mul_(0.05)
    graph = DetectionGraph(fuse_detector(lively, "fp32"), (320, 320), 0.01).eval()
    for grey in (0, 100, 200, 255):
        picture = np.full((320, 320, 3), grey, dtype=np.uint8)
        with torch.no_grad():
            boxes, scores, labels = graph(torch.from_numpy(picture.transpose(2, 0, 1)[None].copy()))
        expected = found(lively, picture, 0.01)
        assert len(expected) > 50
        np.testing.assert_allclose(boxes, expected.xyxy, atol=1e-4)
        np.testing.assert_allclose(scores, expected.scores, atol=1e-6)
        assert labels.tolist() == expected.labels.tolist()


def test_differences_of_masks_by_hand(make_boxes: Callable[..., Boxes]) -> None:
    """One box of 28 px, whose left half is the object; the other box is predicted by the model alone."""
    wanted = make_boxes((10, 10, 38, 38, 0, 0.9), (50, 10, 70, 30, 1, 0.6))
    half = np.zeros((SIDE, SIDE))
    half[:, :14] = 1
    masks = rounded(np.stack([half.ravel(), half.ravel()]))
    expected = Prediction("a", wanted, np.zeros((2, 3), np.float32), np.zeros(4, np.float32), masks=masks)
    box = wanted.xyxy[:1]

    def against(probabilities: Any, pasted: Any) -> MaskAgreement | None:
        outputs = (box, np.array([0.9]), np.array([0]), pasted[None], probabilities[None])
        return compare(lambda _: outputs, [BLANK], [expected], 0.05).masks

    pasted = (pixel_probabilities(masks[0], box[0], (0, 0, 96, 64)) >= 0.5).astype(np.uint8)
    assert pasted.sum() == 14 * 28
    assert against(half, pasted) == MaskAgreement(0.0, 0)
    less = half * 0.99
    assert (agreement := against(less, pasted)) is not None
    assert agreement.good
    assert agreement.probability == pytest.approx(0.01)
    assert (agreement := against(half * 0.9, pasted)) is not None
    assert not agreement.good
    wrong = pasted.copy()
    wrong[20, 12:15] = 0
    assert against(half, wrong) == MaskAgreement(0.0, 3)


@BOTH
def test_masks_are_outputs_of_a_file(
    config: Any, lively: Detector, pictures: list[Picture], tmp_path: Path, kind: str
) -> None:
    """Also of a picture without boxes. The file's masks are those of `predict`, in pixels of the input."""
    masked = lively_masks(config, **{"roi_head.mask_head.class_agnostic": False})
    masked.model.load_state_dict(lively.model.state_dict(), strict=False)
    done = run(masked, pictures, tmp_path, kind)
    assert done.agreement.boxes > 20
    assert done.agreement.masks is not None
    assert done.agreement.masks.probability < 0.01
    notes = read_json(done.notes)
    assert list(notes["outputs"]) == ["boxes", "scores", "labels", "masks", "mask_probabilities"]
    assert notes["outputs"]["masks"].startswith("(n, 64, 96) uint8")
    assert notes["checked"]["masks"]["pixels"] == 0
    loaded = export._LOADERS[kind](done.file)
    covered = 0
    for picture in pictures:
        boxes, _, _, masks, probabilities = loaded(picture)
        expected = prediction(masked, picture, 0.05)
        assert expected.masks is not None
        assert masks.dtype == np.uint8
        assert masks.shape == (len(boxes), 64, 96)
        assert probabilities.shape == (len(boxes), SIDE, SIDE)
        rows = probabilities.reshape(len(boxes), SIDE**2)
        np.testing.assert_allclose(rows, expected.masks / 255, atol=0.01)
        covered += int(masks.sum())
    assert covered > 100
    other = deepcopy(masked)
    with torch.no_grad():
        other.model.roi_head.mask_head.conv_logits.bias[0] += 0.5
    wanted = [prediction(other, picture, 0.05) for picture in pictures]
    agreement = compare(loaded, pictures, wanted, 0.05)
    assert agreement.box_px < 0.05
    assert not agreement.good
    with pytest.raises(ModelError, match=r"probabilities of masks by up to 0\.\d+ \(allowed: 0\.02\)"):
        agreement.check(kind)
