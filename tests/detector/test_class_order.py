"""Classes of a checkpoint: brought into the workspace's order, or refused with both lists."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
from support.factories import CLASSES

from al_loop.core.errors import ModelError
from al_loop.detector.checkpoint import load_into, read_checkpoint, read_weights, write_weights
from al_loop.detector.class_order import reorder_classes
from al_loop.detector.config.model_config import build_model
from al_loop.detector.inference.predict import Detector, predict
from al_loop.detector.transforms import read_picture

CLS, REG = "roi_head.bbox_head.fc_cls.", "roi_head.bbox_head.fc_reg."


def head(agnostic: bool = False) -> dict[str, torch.Tensor]:
    """A head of three classes with rows 10, 20 and 30, and 90 for the background."""
    regression = torch.arange(4.0) if agnostic else torch.arange(12.0)
    return {
        f"{CLS}weight": torch.tensor([[10.0], [20.0], [30.0], [90.0]]),
        f"{CLS}bias": torch.tensor([1.0, 2.0, 3.0, 9.0]),
        f"{REG}weight": regression[:, None],
        f"{REG}bias": regression,
        "neck.weight": torch.arange(3.0),
    }


def test_the_rows_of_classes_are_moved_and_the_background_stays() -> None:
    weights, notes = reorder_classes(head(), ("c", "a", "b"), ("a", "b", "c"), "x.pth")
    assert weights[f"{CLS}weight"].flatten().tolist() == [20, 30, 10, 90]
    assert weights[f"{CLS}bias"].tolist() == [2, 3, 1, 9]
    assert weights[f"{REG}bias"].tolist() == [4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3]
    assert weights[f"{REG}weight"].flatten().tolist() == weights[f"{REG}bias"].tolist()
    assert weights["neck.weight"].tolist() == [0, 1, 2]
    assert notes == [
        "x.pth has the classes in another order (c, a, b): its box head was reordered to that of the "
        "workspace (a, b, c)"
    ]
    agnostic, _ = reorder_classes(head(agnostic=True), ("c", "a", "b"), ("a", "b", "c"), "x.pth")
    assert agnostic[f"{REG}bias"].tolist() == [0, 1, 2, 3]
    assert reorder_classes(head(), ("a", "b", "c"), ("a", "b", "c"), "x.pth")[1] == []


def test_spellings_of_one_name_are_equal() -> None:
    nfd = unicodedata.normalize("NFD", "Mutter grün")
    weights, notes = reorder_classes(head(), ("Bolt", nfd, "C "), ("C", "Mutter grün", "bolt"), "x.pth")
    assert weights[f"{CLS}bias"].tolist() == [3, 2, 1, 9]
    assert len(notes) == 4
    assert "'Bolt' of x.pth is 'bolt' here" in notes
    # Within one list, names that differ only in case are two names.
    weights, _ = reorder_classes(head(), ("a", "A", "b"), ("A", "a", "b"), "x.pth")
    assert weights[f"{CLS}bias"].tolist() == [2, 1, 3, 9]
    with pytest.raises(ModelError):
        reorder_classes(head(), ("a", "A", "b"), ("a", "b", "c"), "x.pth")


def test_other_classes_are_refused_unless_taken_by_position() -> None:
    with pytest.raises(
        ModelError, match=r"classes 'a', 'b', 'd'; this workspace has 'a', 'b', 'c'.*--classes-as-is"
    ):
        reorder_classes(head(), ("a", "b", "d"), ("a", "b", "c"), "x.pth")
    weights, notes = reorder_classes(head(), ("a", "b", "d"), ("a", "b", "c"), "x.pth", as_is=True)
    assert weights[f"{CLS}bias"].tolist() == [1, 2, 3, 9]
    assert notes == ["classes taken by position: d as c"]
    with pytest.raises(ModelError, match=r"classes 'a', 'b', 'c'; this workspace has 'a', 'b'\.") as refused:
        reorder_classes(head(), ("a", "b", "c"), ("a", "b"), "x.pth")
    assert "--classes-as-is" not in str(refused.value)


def test_an_unknown_order_is_noted() -> None:
    assert reorder_classes(head(), (), ("a", "b", "c"), "x.pth")[1] == [
        "x.pth does not name its classes; they are taken to be, in this order: a, b, c"
    ]
    [note] = reorder_classes(head(), tuple("abcdefgh"), ("a", "b", "c"), "x.pth")[1]
    assert note.startswith("x.pth names 8 classes and its box head has 3: the names are not used")


@pytest.mark.parametrize(
    ("meta", "found"),
    [
        ({"dataset_meta": {"classes": ("nut", "bolt")}}, ("nut", "bolt")),
        ({"dataset_meta": {"CLASSES": ["nut", "bolt"]}}, ("nut", "bolt")),
        ({"CLASSES": ("nut", "bolt")}, ("nut", "bolt")),
        ({"CLASSES": "bolt"}, ("bolt",)),
        ({"dataset_meta": None, "CLASSES": None}, ()),
        ({"dataset_meta": {"classes": [1, 2]}}, ()),
        ("x", ()),
        (None, ()),
    ],
)
def test_where_a_checkpoint_names_its_classes(tmp_path: Path, meta: Any, found: tuple[str, ...]) -> None:
    torch.save({"meta": meta, "state_dict": head()}, tmp_path / "x.pth")
    assert read_checkpoint(tmp_path / "x.pth").classes == found


@pytest.mark.train
def test_a_model_in_another_order_finds_the_same(
    trained: Any, config: Any, sets: Any, tmp_path: Path
) -> None:
    """The trained head in reverse order, as one with ("nut", "bolt"): boxes, scores and names come back."""
    turned, _ = reorder_classes(trained[0].weights, CLASSES, CLASSES[::-1], "x")
    assert not torch.equal(turned[f"{CLS}weight"], trained[0].weights[f"{CLS}weight"])
    torch.save(
        {"meta": {"dataset_meta": {"classes": CLASSES[::-1]}}, "state_dict": turned}, tmp_path / "x.pth"
    )
    found = read_checkpoint(tmp_path / "x.pth")
    weights, _ = reorder_classes(found.weights, found.classes, CLASSES, "x")
    for name, tensor in trained[0].weights.items():
        torch.testing.assert_close(weights[name], tensor, rtol=0, atol=0)
    image = sets[1][0].image
    picture = read_picture(image.path)
    results = []
    for state in (trained[0].weights, weights):
        model = build_model(config)
        load_into(model, state, "x")
        results.append(
            predict(Detector(model, config, torch.device("cpu")), [image], [picture], 0.05)[0].boxes
        )
    assert len(results[0]) >= 1
    assert results[0].labels.tolist() == results[1].labels.tolist()


def test_our_own_weights_name_their_classes(tmp_path: Path) -> None:
    write_weights(tmp_path / "x.pth", head(), ("a", "b", "c"), ap=0.5)
    assert read_checkpoint(tmp_path / "x.pth").classes == ("a", "b", "c")


OWN = {"neck.weight": torch.tensor([1.0]), "backbone.weight": torch.tensor([2.0])}
SECOND = {"neck.weight": torch.tensor([8.0]), "backbone.weight": torch.tensor([9.0])}


def prefixed(prefix: str, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in weights.items()}


WRAPPED: dict[str, tuple[Any, str]] = {
    "plain": (OWN, ""),
    "module.": (prefixed("module.", OWN), ""),
    "_orig_mod.module.": (prefixed("_orig_mod.module.", OWN), ""),
    "under model": ({"model": prefixed("model.", OWN), "epoch": 3}, "those under 'model'"),
    "model_state_dict": ({"model_state_dict": OWN, "optimizer": {}}, "those under 'model_state_dict'"),
    "mmengine's EMA": (
        {"state_dict": OWN, "ema_state_dict": {**prefixed("module.", SECOND), "steps": torch.tensor(7)}},
        "moving averages (EMA)",
    ),
    "EMA alone": (
        {"ema_state_dict": {**prefixed("module.", OWN), "steps": torch.tensor(7)}},
        "those of ema_state_dict",
    ),
    "mmdet 2's EMA": (
        {"state_dict": {**OWN, **{f"ema_{n.replace('.', '_')}": t for n, t in SECOND.items()}}},
        "2 tensors ema_* are left out",
    ),
    "teacher and student": (
        {"state_dict": prefixed("teacher.", OWN) | prefixed("student.", SECOND)},
        "those of the teacher",
    ),
    "a student alone": ({"state_dict": prefixed("student.", OWN)}, "those of the student"),
}  # fmt: skip


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_the_weights_that_mmdet_would_use_are_taken_and_noted(tmp_path: Path, wrapper: str) -> None:
    content, said = WRAPPED[wrapper]
    torch.save(content, tmp_path / "x.pth")
    found = read_checkpoint(tmp_path / "x.pth")
    assert {name: tensor.item() for name, tensor in found.weights.items()} == {
        "neck.weight": 1.0,
        "backbone.weight": 2.0,
    }
    assert (said in " ".join(found.notes)) if said else not found.notes


def test_a_checkpoint_is_a_regular_file(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(ModelError, match="a named pipe"):
        read_weights(tmp_path / "pipe.pth")
    with pytest.raises(ModelError, match="no checkpoint at"):
        read_weights(tmp_path / "none.pth")
