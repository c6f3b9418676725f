"""Write a graph as ONNX or TorchScript, and run such files."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from al_loop.core.errors import ModelError, first_line
from al_loop.detector.export.graph import DetectionGraph
from al_loop.detector.transforms import Picture

# RoIAlign has the attribute `aligned` since opset 16.
OPSET = 17

# Maps an image, (h, w, 3) uint8 BGR, to arrays: the outputs of `DetectionGraph` in their order.
Run = Callable[[Picture], tuple[Any, ...]]

_jit: Any = torch.jit  # parts of it have no types
#: torch and mmdet warn that tracing is deprecated and may freeze branches. The comparison on other images
#: would show frozen branches.
_no_warnings = partial(warnings.catch_warnings, action="ignore")


def _as_input(image: Picture) -> Picture:
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


def write_onnx(graph: DetectionGraph, image: Picture, path: Path) -> None:
    """Trace the graph on an image, (h, w, 3) uint8 BGR, and write it as ONNX.

    Raises ModelError if the export fails, or if its packages are missing.
    """
    onnx = _import_package("onnx")
    _import_package("onnxruntime")
    try:
        with _no_warnings(), torch.no_grad():
            torch.onnx.export(
                graph,
                (torch.from_numpy(_as_input(image)),),
                str(path),
                input_names=["image"],
                output_names=list(graph.outputs),
                dynamic_axes={output: {0: "n"} for output in graph.outputs},
                opset_version=OPSET,
                # The exporter by torch.export needs onnxscript, and lacks NMS and RoIAlign of torchvision.
                dynamo=False,
            )
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # an exporter may raise any exception
        raise ModelError(f"the model cannot be written as ONNX: {first_line(error)}") from error


def load_onnx(path: Path) -> Run:
    """Return a function that runs an ONNX file on the CPU."""
    runtime = _import_package("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    # Waiting threads sleep, like those of torch (al_loop/detector/__init__.py).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # errors of onnxruntime derive directly from Exception
        raise ModelError(f"onnxruntime refuses the ONNX file: {first_line(error)}") from error

    def run(image: Picture) -> tuple[Any, ...]:
        try:
            return tuple(session.run(None, {"image": _as_input(image)}))
        except Exception as error:  # as above
            raise ModelError(f"onnxruntime cannot run the ONNX file: {first_line(error)}") from error

    return run


def write_torchscript(graph: DetectionGraph, image: Picture, path: Path) -> None:
    """Trace the graph on an image, (h, w, 3) uint8 BGR, and write it as TorchScript."""
    with _no_warnings(), torch.no_grad():
        # check_trace would run only the traced image. `export.compare` runs others.
        traced = _jit.trace(graph, torch.from_numpy(_as_input(image)), check_trace=False)
        traced.save(str(path))


def load_torchscript(path: Path) -> Run:
    """Return a function that runs a TorchScript file on the CPU."""
    with _no_warnings():
        module = _jit.load(str(path), map_location="cpu")

    def run(image: Picture) -> tuple[Any, ...]:
        with torch.no_grad():
            outputs = module(torch.from_numpy(_as_input(image)))
        return tuple(output.numpy() for output in outputs)

    return run


def _import_package(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ModelError(
            f"an export to ONNX needs the package {module}, which is not installed: "
            "pip install 'al-loop[onnx]'"
        ) from None
