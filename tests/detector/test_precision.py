"""Precisions of a training: the forward pass alone changes, and only where that was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from al_loop.detector.precision import precision_of
from al_loop.detector.train import TrainSettings, train

QUICK = TrainSettings(
    epochs=1, batch_size=8, lr=1e-3, val_every=1, patience=9, repeat=1, workers=0, seed=0, device="cpu"
)


def test_what_was_asked_for() -> None:
    assert precision_of(None, "cpu") is None
    assert precision_of("bf16", "cpu") == "bf16"
    assert precision_of("fp32", "cpu") == "fp32"
    assert precision_of("auto", "cpu") in ("bf16", "fp32")


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
