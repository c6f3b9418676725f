"""Test pipelines of mmdet configs: the size that mmdet takes, and the boxes of mmdet's own pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from support.factories import CLASSES, draw

from al_loop.core.errors import ModelError
from al_loop.detector.config.model_config import load_model_config
from al_loop.detector.config.preprocessing import read_pipeline
from al_loop.detector.inference.predict import Detector, predict
from al_loop.detector.inference.scoring import Reader
from al_loop.detector.transforms import FitInto, fitted_size, read_picture
from al_loop.evaluation.evaluate import evaluate
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage

LOAD, PACK = {"type": "LoadImageFromFile"}, {"type": "PackDetInputs"}
KEEP = {"type": "Resize", "scale": (96, 64), "keep_ratio": True}


def write(tmp_path: Path, **settings: Any) -> str:
    """Write a config with the small model, no size of its own, and these settings."""
    base = load_model_config.__globals__["resource"]("configs/model/small.py")
    lines = "".join(f"{name} = {value!r}\n" for name, value in settings.items())
    path = tmp_path / "mine.py"
    path.write_text(f"_base_ = {str(base)!r}\nimage_size = None\n{lines}")
    return str(path)


def loader(*steps: Any, wrapped: int = 0) -> dict[str, Any]:
    dataset: dict[str, Any] = {"type": "CocoDataset", "pipeline": [LOAD, *steps, PACK]}
    for _ in range(wrapped):
        dataset = {"type": "RepeatDataset", "times": 1, "dataset": dataset}
    return {"batch_size": 1, "dataset": dataset}


OTHER = [LOAD, {"type": "Resize", "scale": (500, 400), "keep_ratio": True}]
WHERE_THE_SIZE_STANDS = {
    "in test_dataloader": {"test_dataloader": loader(KEEP)},
    "before test_pipeline": {"test_dataloader": loader(KEEP), "test_pipeline": OTHER},
    "in a wrapped data set": {"test_dataloader": loader(KEEP, wrapped=2), "val_dataloader": loader(*OTHER)},
    "in the first of several":
        {"test_dataloader": {"dataset": {"type": "ConcatDataset", "datasets": [loader(KEEP)["dataset"]]}}},
    "in test_pipeline": {"test_pipeline": [LOAD, KEEP]},
    "in val_dataloader": {"val_dataloader": loader(KEEP)},
    "in test_cfg": {"test_cfg": {"type": "TestLoop", "pipeline": [LOAD, KEEP]}},
    "of mmdet 2":
        {"data": {"test": {"pipeline": [LOAD, {
                   "type": "MultiScaleFlipAug", "img_scale": (96, 64), "flip": False,
                   "transforms": [{"type": "Resize", "keep_ratio": True}, {"type": "RandomFlip"}]}]}}},
    "a list of one size": {"test_dataloader": loader({**KEEP, "scale": [(96, 64)]})},
    "FixScaleResize": {"test_dataloader": loader({**KEEP, "type": "FixScaleResize"})},
    "RandomResize to one size":
        {"test_dataloader": loader({**KEEP, "type": "RandomResize", "scale": [(96, 64), (96, 64)]})},
    "RandomChoiceResize":
        {"test_dataloader": loader({"type": "RandomChoiceResize", "scales": [(96, 64)], "keep_ratio": True})},
    "ResizeShortestEdge":
        {"test_dataloader": loader({"type": "ResizeShortestEdge", "scale": 64, "max_size": 96})},
    "TestTimeAug":
        {"tta_pipeline": [LOAD, {
                   "type": "TestTimeAug", "transforms": [[KEEP], [{"type": "RandomFlip"}], [PACK]]}]},
    "before a name of the training's": {"image_size": (1024, 1024), "test_dataloader": loader(KEEP)},
    "a scoped name": {"test_dataloader": loader({**KEEP, "type": "mmdet.Resize"})},
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("where", WHERE_THE_SIZE_STANDS)
def test_the_size_is_read_from_where_mmdet_reads_it(tmp_path: Path, where: str) -> None:
    config = load_model_config(write(tmp_path, **WHERE_THE_SIZE_STANDS[where]), CLASSES)
    assert (config.image_size, config.resize, config.enlarge) == ((96, 64), "either-way", True)
    assert config.notes == []


NO_SIZE = {
    "no pipeline": ({}, "it has no test pipeline"),
    "no resize": ({"test_dataloader": loader()}, "names no size in px"),
    "a factor": (
        {"test_dataloader": loader({"type": "Resize", "scale_factor": 0.5, "keep_ratio": True})},
        "names no size in px",
    ),
    "two sizes": (
        {"test_dataloader": loader({**KEEP, "type": "RandomResize", "scale": [(96, 64), (192, 128)]})},
        r"several sizes \(96x64, 192x128\)",
    ),
    "sizes of test-time augmentation": (
        {"tta_pipeline": [{"type": "TestTimeAug", "transforms": [[KEEP, {**KEEP, "scale": (48, 32)}]]}]},
        r"several sizes \(96x64, 48x32\)",
    ),
    "words": ({"test_dataloader": loader({**KEEP, "scale": "96x64"})}, "names no size in px"),
}


@pytest.mark.parametrize("case", NO_SIZE)
def test_a_config_without_a_size_asks_for_one(tmp_path: Path, case: str) -> None:
    settings, message = NO_SIZE[case]
    path = write(tmp_path, **settings)
    with pytest.raises(
        ModelError, match=rf"mine\.py.*{message}.*image_size = \[WIDTH, HEIGHT\] \(model\.image_size\)"
    ):
        load_model_config(path, CLASSES)
    assert load_model_config(path, CLASSES, (96, 64)).image_size == (96, 64)


def test_a_picture_lies_in_the_size_as_mmdet_puts_it() -> None:
    """By hand: 1600x1200 into 1333x800 scales by 800/1200, also upright; keep_ratio=False fills the size."""
    assert fitted_size(1600, 1200, (1333, 800), True, "either-way") == (1067, 800)
    assert fitted_size(1200, 1600, (1333, 800), True, "either-way") == (800, 1067)
    assert fitted_size(1600, 1200, (800, 1333), True, "either-way") == (1067, 800)
    assert fitted_size(1000, 1000, (1333, 800), True, "either-way") == (800, 800)
    assert fitted_size(1200, 1600, (1333, 800), True) == (600, 800)  # a box of al-loop.toml
    assert fitted_size(1200, 1600, (1333, 800), False, "stretch") == (1333, 800)


def test_a_training_stretches_boxes_with_their_picture(tmp_path: Path) -> None:
    from mmdet.structures.bbox import HorizontalBoxes  # only after al_loop.detector

    draw(96, 64, [[10, 20, 30, 40]]).save(tmp_path / "x.png")
    results = {
        "img": read_picture(tmp_path / "x.png"),
        "gt_bboxes": HorizontalBoxes([[10.0, 20.0, 40.0, 60.0]]),
    }
    done = FitInto((192, 96), enlarge=True, way="stretch").transform(results)
    assert done["img"].shape == (96, 192, 3)
    assert done["scale_factor"] == (2.0, 1.5)
    assert done["gt_bboxes"].tensor.tolist() == [[20.0, 30.0, 80.0, 90.0]]


@pytest.mark.train
@pytest.mark.parametrize(
    "resize",
    [
        {"type": "Resize", "scale": (144, 96), "keep_ratio": True},
        {"type": "Resize", "scale": (96, 144), "keep_ratio": True},
        {"type": "Resize", "scale": (144, 64), "keep_ratio": False},
        {"type": "Resize", "scale": (96, 96)},
    ],
)
def test_the_boxes_and_the_ap_are_those_of_mmdets_own_pipeline(
    detector: Any, sets: Any, tmp_path: Path, resize: dict[str, Any]
) -> None:
    """Also of an upright picture. Enlarged, so that both interpolate in the same way."""
    config = load_model_config(write(tmp_path, test_dataloader=loader(resize)), CLASSES)
    model = detector.model
    resized = Detector(model, config, torch.device("cpu"))
    upright = tmp_path / "upright.png"
    draw(64, 96, [[10, 20, 12, 22], [30, 60, 22, 12]], seed=5).save(upright)
    truth = Boxes(np.asarray([[10, 20, 22, 42], [30, 60, 52, 72]], float), np.asarray([1, 0]))
    labelled = [*sets[1], LabelledImage(ImageFile("upright", upright, 64, 96), truth)]
    reader = Reader.of(config)
    ours, theirs = {}, {}
    for item in labelled:
        picture = reader.read(item.image)
        assert isinstance(picture, np.ndarray)
        ours[item.image.id] = predict(resized, [item.image], [picture], 0.05)[0].boxes
        theirs[item.image.id] = by_mmdet(model, item.image.path, resize)
    assert sum(map(len, ours.values())) >= 4
    for name, boxes in ours.items():
        np.testing.assert_allclose(boxes.xyxy, theirs[name].xyxy, atol=0.01)
        assert boxes.labels.tolist() == theirs[name].labels.tolist()
    assert evaluate(labelled, ours, CLASSES) == evaluate(labelled, theirs, CLASSES)


def by_mmdet(model: Any, path: Path, resize: dict[str, Any]) -> Boxes:
    pipeline = Compose(
        [LOAD, resize, {**PACK, "meta_keys": ("img_id", "ori_shape", "img_shape", "scale_factor")}]
    )
    data = batch_of_one(pipeline({"img_path": str(path), "img_id": 0}))
    with torch.inference_mode():
        [sample] = model.test_step(data)
    predicted = sample.pred_instances[sample.pred_instances.scores > 0.05]
    return Boxes(
        predicted.bboxes.double().numpy(), predicted.labels.numpy(), predicted.scores.double().numpy()
    )


def batch_of_one(item: dict[str, Any]) -> dict[str, Any]:
    """A batch of one, as mmdet's loader makes it."""
    return {"inputs": [item["inputs"]], "data_samples": [item["data_samples"]]}


def test_deviations_from_the_config_are_noted(tmp_path: Path) -> None:
    stretched = {"type": "Resize", "scale": (96, 64)}  # mmcv's default is keep_ratio=False
    steps = (
        stretched,
        {"type": "Pad", "size": (128, 128)},
        {"type": "CLAHE"},
        {"type": "RandomFlip", "prob": 0.0},
    )
    path = write(
        tmp_path,
        test_dataloader=loader(*steps),
        model={"backbone": {"init_cfg": {"type": "Pretrained", "checkpoint": "torchvision://resnet18"}}},
    )
    config = load_model_config(path, CLASSES)
    assert config.resize == "stretch"
    assert config.notes == [
        "weights that the config names are not loaded: torchvision://resnet18",
        "steps of the config's test_dataloader.dataset that are not applied: Pad, CLAHE",
        "images are stretched to 96x64 px, as the config's test_dataloader.dataset does (keep_ratio=False)",
    ]
    sized = load_model_config(path, CLASSES, (96, 64))
    assert sized.resize == "inside"
    assert "with image_size their aspect ratio is kept" in sized.notes[-1]


def test_pixels_are_as_the_config_has_them(tmp_path: Path) -> None:
    old = {"type": "Normalize", "mean": [103.53, 116.28, 123.675], "std": [1.0, 1.0, 1.0], "to_rgb": False}
    pad = {"type": "Pad", "size_divisor": 16}
    bare = {
        **load_model_config("small", CLASSES).to_dict()["model"],
        "data_preprocessor": None,
        "_delete_": True,
    }
    none = {"model": bare, "data_preprocessor": None}
    config = load_model_config(write(tmp_path, **none, test_dataloader=loader(KEEP, old, pad)), CLASSES)
    assert config.model.data_preprocessor == {
        "type": "DetDataPreprocessor",
        "mean": [103.53, 116.28, 123.675],
        "std": [1.0, 1.0, 1.0],
        "bgr_to_rgb": False,
        "pad_size_divisor": 16,
    }
    assert ["normalised as Normalize" in note for note in config.notes] == [True]
    with pytest.raises(ModelError, match="normalises images twice"):
        load_model_config(write(tmp_path, test_dataloader=loader(KEEP, old)), CLASSES)
    with pytest.raises(ModelError, match=r"expected model\.data_preprocessor"):
        load_model_config(write(tmp_path, **none, test_dataloader=loader(KEEP)), CLASSES)
    rgb = {"dataset": {"pipeline": [{**LOAD, "channel_order": "rgb"}, KEEP]}}
    config = load_model_config(write(tmp_path, test_dataloader=rgb), CLASSES)
    assert config.model.data_preprocessor.bgr_to_rgb is False  # small's True would swap what is RGB already
    grey = {"dataset": {"pipeline": [{**LOAD, "color_type": "grayscale"}, KEEP]}}
    with pytest.raises(ModelError, match="reads images as grey"):
        load_model_config(write(tmp_path, test_dataloader=grey), CLASSES)


@pytest.mark.parametrize(
    "pipeline", [None, 3, "x", {"type": "Resize"}, [3, None, "x", {}], {"dataset": {"pipeline": {}}}]
)
def test_a_pipeline_of_any_shape_is_read(pipeline: Any) -> None:
    assert read_pipeline({"test_dataloader": pipeline, "test_pipeline": pipeline}).sizes == ()


def test_other_families_are_refused_before_a_training(tmp_path: Path) -> None:
    grid = {"roi_head": {"grid_head": {"type": "GridHead"}}, "type": "GridRCNN"}
    with pytest.raises(ModelError, match=r"predicts boxes or masks \(.*\); got GridRCNN with grid_head"):
        load_model_config(write(tmp_path, model=grid, test_dataloader=loader(KEEP)), CLASSES)
    cascade = {
        "roi_head": {"type": "CascadeRoIHead", "bbox_head": [{"_delete_": True}]},
        "type": "CascadeRCNN",
    }
    (tmp_path / "cascade.py").write_text(f"model = {cascade!r}")
    with pytest.raises(ModelError, match=r"one box head \(Faster R-CNN\); got CascadeRCNN"):
        load_model_config(str(tmp_path / "cascade.py"), CLASSES)
    with pytest.raises(
        ModelError, match=r"model\.type to be a two-stage detector \(FasterRCNN\), got 'DETR'"
    ):
        load_model_config(write(tmp_path, model={"type": "DETR"}, test_dataloader=loader(KEEP)), CLASSES)


def test_a_missing_module_of_custom_imports_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, custom_imports={"imports": ["no_such_backbone"]}, test_dataloader=loader(KEEP))
    with pytest.raises(ModelError, match=r"mine\.py needs the module no_such_backbone.*PYTHONPATH=FOLDER"):
        load_model_config(path, CLASSES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"optim_wrapper": {"_delete_": True, "type": "OptimWrapper"}},
            "optim_wrapper: .*missing required field `optimizer`",
        ),
        (
            {"optim_wrapper": {"_delete_": True, "type": "OptimWrapper", "optimizer": {"type": "SGD"}}},
            r"optim_wrapper\.optimizer: .*missing required field `lr`",
        ),
        ({"fine_tune_lr": "slow"}, "fine_tune_lr = 'slow': expected a number above 0"),
        (
            {"test_dataloader": None, "image_size": (96, 64, 3)},
            r"image_size = \(96, 64, 3\): expected a list of 2, each an integer from 1 to 8192",
        ),
        (
            {"test_dataloader": None, "image_size": (96, 10**6)},
            "expected a list of 2, each an integer from 1 to 8192",
        ),
        ({"model": {"backbone": {"type": "MyBackbone"}}}, "'MyBackbone' is no registered part of a detector"),
        (
            {"model": {"backbone": {"conv_cfg": {"type": "Conv2d", "x": object}}}},
            r"expected text, numbers.*got type",
        ),
    ],
)
def test_a_config_that_would_fail_later_is_refused(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    text = {"test_dataloader": loader(KEEP), **settings}
    path = write(tmp_path, **text)
    Path(path).write_text(Path(path).read_text().replace("<class 'object'>", "type"))
    with pytest.raises(ModelError, match=message):
        load_model_config(path, CLASSES)


def test_json_inherits_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"_base_": "./other.py"}')
    with pytest.raises(ModelError, match="inherits from another config"):
        load_model_config(str(tmp_path / "x.json"), CLASSES)


def test_an_optimiser_of_mmdet_2_is_noted_as_unused(tmp_path: Path) -> None:
    config = load_model_config("small", CLASSES).to_dict()
    del config["optim_wrapper"]
    config["optimizer"] = {"type": "SGD", "lr": 0.1}
    path = tmp_path / "old.py"
    path.write_text("".join(f"{name} = {value!r}\n" for name, value in config.items()))
    [note] = load_model_config(str(path), CLASSES).notes
    assert (
        note == "the config's optimizer is not used, only optim_wrapper would be: SGD with lr 0.0025 is used"
    )
