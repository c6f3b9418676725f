"""Checkpoints: what comes back, what is refused, and what a model can load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.factories import CLASSES

from al_loop.core.errors import ModelError
from al_loop.detector.checkpoint import Weights, load_into, read_weights, write_weights
from al_loop.detector.config.model_config import build_model, load_model_config


@pytest.fixture(scope="module")
def weights(config: Any) -> Weights:
    """Random weights of the small model."""
    return build_model(config).state_dict()


class Evil:
    """What a malicious checkpoint holds: something that runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_checkpoint_that_runs_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "meta": Evil(tmp_path / "pwned")}, tmp_path / "evil.pth")
    with pytest.raises(
        ModelError, match=r"evil.pth was refused: it holds more than weights and would run code"
    ):
        read_weights(tmp_path / "evil.pth")
    assert not (tmp_path / "pwned").exists()


def test_getattr_in_a_checkpoint_reaches_nothing_but_statistics(tmp_path: Path) -> None:
    class Reach:
        def __reduce__(self) -> tuple[Any, ...]:
            from mmengine.logging import HistoryBuffer

            return (getattr, (HistoryBuffer, "__init__"))

    torch.save({"state_dict": {}, "meta": Reach()}, tmp_path / "reach.pth")
    with pytest.raises(ModelError, match="was refused"):
        read_weights(tmp_path / "reach.pth")


def test_truncated_missing_and_other_files(weights: Weights, tmp_path: Path) -> None:
    write_weights(tmp_path / "ok.pth", weights)
    whole = (tmp_path / "ok.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pth").write_text("not a checkpoint")
    torch.save([1, 2, 3], tmp_path / "list.pth")
    for name, says in (
        ("cut.pth", "is not a complete checkpoint"),
        ("none.pth", "no checkpoint at"),
        ("list.pth", "holds no weights"),
    ):
        with pytest.raises(ModelError, match=says):
            read_weights(tmp_path / name)
    with pytest.raises(ModelError):
        read_weights(tmp_path / "text.pth")
    with pytest.raises(ModelError, match=r"has SHA-256 .* expected abc"):
        read_weights(tmp_path / "ok.pth", "abc")


def test_weights_come_back_as_they_went(weights: Weights, tmp_path: Path) -> None:
    write_weights(tmp_path / "w.pth", weights)
    back = read_weights(tmp_path / "w.pth")
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[n], t) for n, t in weights.items())


@pytest.mark.integration
def test_another_class_count_and_another_architecture(weights: Weights, config: Any, tmp_path: Path) -> None:
    three = build_model(load_model_config("small", ("a", "b", "c"), (96, 64)))
    with pytest.raises(ModelError, match="was trained for 2 classes, this workspace has 3"):
        load_into(three, weights, "x.pth")
    load_into(three, weights, "x.pth", new_classes=True)
    same = weights["backbone.conv1.weight"]
    assert torch.equal(three.state_dict()["backbone.conv1.weight"], same)
    deeper = build_model(load_model_config("r50", CLASSES))
    with pytest.raises(ModelError, match=r"another architecture.*--config"):
        load_into(deeper, weights, "x.pth")
    broken = {n: t * float("nan") if t.is_floating_point() else t for n, t in weights.items()}
    with pytest.raises(ModelError, match="not finite"):
        load_into(build_model(config), broken, "x.pth")
