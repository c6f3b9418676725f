"""Precisions of a training: only the forward pass changes, and only if it is set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import training_job

from al_loop.detector import precision
from al_loop.detector.precision import precision_here
from al_loop.detector.training.optimiser import training_precision
from al_loop.detector.training.train import train


def test_a_given_precision_stays() -> None:
    assert precision_here("bf16", "cpu") == "bf16"
    assert precision_here("fp32", "cpu") == "fp32"
    assert precision_here("auto", "cpu") in ("bf16", "fp32")


@pytest.mark.parametrize(
    ("precision", "device", "numbers"),
    [("auto", "cpu", "fp32"), ("auto", "cuda:1", "fp16"), ("bf16", "cpu", "bf16"), ("fp32", "cuda", "fp32")],
)
def test_what_a_training_computes_in(
    monkeypatch: pytest.MonkeyPatch, precision: str, device: str, numbers: str
) -> None:
    """On a machine that does not compute bf16 faster."""
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert training_precision(precision, device) == numbers


def test_auto_is_what_the_machine_computes_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, took = torch.device("cpu"), (2.0, 1.0)
    monkeypatch.setattr(precision, "convolution_seconds", lambda: took)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert precision_here("auto", cpu) == "fp32"
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        with monkeypatch.context() as patched:
            patched.setattr(torch.cpu, name, lambda: True, raising=False)
            assert precision_here("auto", cpu) == "bf16"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    took = (1.0, 1.9)  # as some processors with AVX512-BF16 and without AMX take
    assert precision_here("auto", cpu) == "fp32"
    assert precision_here("bf16", cpu) == "bf16"


@pytest.mark.integration
def test_the_timing_draws_nothing() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    precision.convolution_seconds.cache_clear()
    assert all(0 < seconds < 60 for seconds in precision.convolution_seconds())
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.train
def test_bf16_is_the_forward_pass_alone(config: Any, sets: Any, tmp_path: Path) -> None:
    for wanted, expected in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        seen = set()

        def look(module: Any, _: Any, out: Any, seen: set[Any] = seen) -> None:
            if isinstance(module, torch.nn.Conv2d) and module.training:
                seen.add(out.dtype)

        hook = torch.nn.modules.module.register_module_forward_hook(look)
        try:
            few = sets[0][:8], sets[1][:1]
            done = train(training_job(config, few, tmp_path / wanted, steps=1, precision=wanted))
        finally:
            hook.remove()
        assert seen == {expected}
        floats = [tensor for tensor in done.weights.values() if tensor.is_floating_point()]
        assert all(tensor.dtype == torch.float32 and torch.isfinite(tensor).all() for tensor in floats)
