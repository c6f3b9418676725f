"""Pictures that are decoded once in a training: the same as from the file, within their room, for all processes."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from al_loop.detector import kept as module
from al_loop.detector import transforms
from al_loop.detector.kept import KeptPictures, room
from al_loop.detector.train import TrainSettings, train
from al_loop.detector.transforms import ReadFitted
from al_loop.errors import DataError

QUICK = TrainSettings(
    epochs=3, batch_size=8, lr=1e-3, val_every=1, patience=9, repeat=1, workers=0, seed=0, device="cpu"
)


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Three pictures of 40x20 px."""
    rng = np.random.default_rng(0)
    paths = [str(tmp_path / f"{n}.png") for n in range(3)]
    for path in paths:
        cv2.imwrite(path, rng.integers(0, 256, (20, 40, 3), dtype=np.uint8))
    return paths


def test_the_same_from_memory_as_from_the_file(pictures: list[str]) -> None:
    read = ReadFitted((20, 20), False, KeptPictures(dict.fromkeys(pictures, (20, 10)), 2 * 600 + 599))
    first = [read.transform({"img_path": path}) for path in pictures]
    for path in pictures:
        Path(path).unlink()
    again = [read.transform({"img_path": path}) for path in pictures[:2]]
    for one, other in zip(first, again, strict=False):
        assert np.array_equal(one.pop("img"), other["img"])
        assert one == {name: value for name, value in other.items() if name != "img"}
        assert one["ori_shape"] == (20, 40)
        assert one["img_shape"] == (10, 20)
        assert one["scale_factor"] == (0.5, 0.5)
        other["img"][:] = 0
    assert read.transform({"img_path": pictures[0]})["img"].any()
    with pytest.raises(DataError):  # there was no room for the third
        read.transform({"img_path": pictures[2]})


def test_a_file_of_another_size_than_was_said_is_not_kept(pictures: list[str]) -> None:
    kept = KeptPictures(dict.fromkeys(pictures, (20, 10)), 10_000)
    kept.put(pictures[0], np.ones((10, 21, 3), np.uint8), (10, 21))
    assert kept.get(pictures[0]) is None
    kept.put(pictures[1], np.ones((10, 20, 3), np.uint8), (10, 20))
    kept.put("unknown.png", np.ones((10, 20, 3), np.uint8), (10, 20))
    assert kept.get("unknown.png") is None
    assert kept.get(pictures[0]) is None
    assert kept.get(pictures[2]) is None


def test_processes_share_them(pictures: list[str]) -> None:
    kept = KeptPictures(dict.fromkeys(pictures, (20, 10)), 10_000)
    picture = np.random.default_rng(1).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    child = multiprocessing.get_context("fork").Process(
        target=kept.put, args=(pictures[1], picture, (20, 40))
    )
    child.start()
    child.join()
    found = kept.get(pictures[1])
    assert found is not None
    assert np.array_equal(found[0], picture)
    assert found[1] == (20, 40)


def test_the_room_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < room(1) <= module.MOST_BYTES
    assert room(4) == room(1) // 4
    monkeypatch.setattr(module, "MOST_SHARE", 1e-9)
    assert room(1) < 1000


@pytest.mark.train
def test_a_training_decodes_each_picture_once_and_learns_the_same(
    config: Any, sets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    real = transforms.read_picture

    def counted(path: Any) -> Any:
        reads.append(str(path))
        return real(path)

    monkeypatch.setattr(transforms, "read_picture", counted)
    once = train(config, None, sets[0][:8], sets[1][:2], replace(QUICK, lr=1e-3), tmp_path / "kept")
    assert sorted(reads) == sorted(str(item.image.path) for item in [*sets[0][:8], *sets[1][:2]])
    reads.clear()
    monkeypatch.setattr(module, "MOST_BYTES", 0)
    each = train(config, None, sets[0][:8], sets[1][:2], QUICK, tmp_path / "read")
    assert len(reads) == 3 * 10
    assert all(torch.equal(once.weights[name], tensor) for name, tensor in each.weights.items())


@pytest.mark.train
def test_bf16_is_the_forward_pass_alone(config: Any, sets: Any, tmp_path: Path) -> None:
    for precision, expected in ((None, torch.float32), ("fp32", torch.float32), ("bf16", torch.bfloat16)):
        seen = set()

        def look(module: Any, _: Any, out: Any, seen: set[Any] = seen) -> None:
            if isinstance(module, torch.nn.Conv2d) and module.training:
                seen.add(out.dtype)

        hook = torch.nn.modules.module.register_module_forward_hook(look)
        try:
            settings = replace(QUICK, epochs=1, precision=precision)
            done = train(config, None, sets[0][:8], sets[1][:1], settings, tmp_path / str(precision))
        finally:
            hook.remove()
        assert seen == {expected}
        floats = [tensor for tensor in done.weights.values() if tensor.is_floating_point()]
        assert all(tensor.dtype == torch.float32 and torch.isfinite(tensor).all() for tensor in floats)
