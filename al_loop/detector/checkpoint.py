"""Reading and writing weights. A checkpoint from elsewhere is untrusted: nothing in it is executed."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

from al_loop.errors import ModelError
from al_loop.files import cache_dir, file_sha256, write_atomically

Weights = dict[str, Tensor]

# Layers whose shape follows from the number of classes.
_CLASS_LAYERS = ("roi_head.bbox_head.fc_cls.", "roi_head.bbox_head.fc_reg.")
_CLASSIFIER = "roi_head.bbox_head.fc_cls.weight"


# What HistoryBuffer keeps as its statistics, pickled as getattr(HistoryBuffer, name).
_STATISTICS = ("mean", "max", "min", "current")


def _statistic(owner: object, name: str) -> object:
    """Stand for `getattr` inside a checkpoint: anything but HistoryBuffer's statistics is refused."""
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise pickle.UnpicklingError(f"getattr({owner!r}, {name!r}) is not allowed")
    return getattr(HistoryBuffer, name)


@contextmanager
def runner_checkpoints() -> Iterator[None]:
    """Allow `torch.load` the plain data that mmengine's Runner writes beside the weights, nothing else."""
    multiarray: Any = np.core.multiarray
    allowed: list[Any] = [
        HistoryBuffer,
        (_statistic, "builtins.getattr"),
        multiarray._reconstruct,
        multiarray.scalar,
        np.ndarray,
        np.dtype,
        *{type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)},
    ]
    with torch.serialization.safe_globals(allowed):
        yield


def read_weights(path: Path, sha256: str | None = None) -> Weights:
    """Return the tensors of a checkpoint, on the CPU.

    Raises ModelError for a missing or truncated file, another hash than `sha256`, a pickle that
    would run code, and a file that holds no weights.
    """
    if not path.is_file():
        raise ModelError(f"no checkpoint at {path}: expected a .pth file of weights")
    if sha256 is not None and file_sha256(path) != sha256.lower():
        raise ModelError(
            f"{path} has SHA-256 {file_sha256(path)}, expected {sha256}. "
            "Fetch it again, or correct model.load_from_sha256 in al-loop.toml."
        )
    try:
        with runner_checkpoints():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} was refused: it holds more than weights and would run code when opened "
            f"({_first_line(error)}). Export it as plain weights: torch.save(model.state_dict(), 'weights.pth')"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path} is not a complete checkpoint ({_first_line(error)}). Copy or fetch the file again."
        ) from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{path} holds no weights: expected a dict of tensors, or one under 'state_dict'")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def write_weights(path: Path, weights: Weights, **notes: float) -> None:
    """Write tensors, and numbers to go with them, so that the file is either whole or not there."""
    buffer = io.BytesIO()
    torch.save({"state_dict": weights, "notes": notes}, buffer)
    write_atomically(path, buffer.getvalue())


def read_note(path: Path, name: str) -> float:
    """Return a number that was written with the weights."""
    return float(torch.load(path, map_location="cpu", weights_only=True)["notes"][name])


def load_into(model: nn.Module, weights: Weights, source: str, *, new_classes: bool = False) -> None:
    """Load weights into a model of the same architecture.

    new_classes: the layers that depend on the number of classes may differ and then stay random (how
    a COCO checkpoint becomes a start). Raises ModelError that says what does not fit.
    """
    expected = model.state_dict()
    classes, got = _class_count(expected), _class_count(weights)
    if new_classes and classes != got:
        weights = {n: t for n, t in weights.items() if not n.startswith(_CLASS_LAYERS)}
    elif got is not None and classes is not None and classes != got:
        raise ModelError(
            f"{source} was trained for {got} classes, this workspace has {classes}. "
            "Import a checkpoint of the same classes, or start from it: set model.load_from in al-loop.toml "
            "and run: al-loop pretrain"
        )
    ignorable = _CLASS_LAYERS if new_classes else ()
    missing = [n for n in expected if n not in weights and not n.endswith("num_batches_tracked")]
    missing = [n for n in missing if not n.startswith(ignorable)]
    strange = [n for n in weights if n not in expected]
    shapes = [n for n in weights if n in expected and weights[n].shape != expected[n].shape]
    if missing or strange or shapes:
        example = (shapes or missing or strange)[0]
        raise ModelError(
            f"{source} is of another architecture: {len(missing)} of {len(expected)} tensors are missing, "
            f"{len(strange)} unknown, {len(shapes)} of another shape (such as {example}). "
            "Give its own config: al-loop models import CHECKPOINT --config mmdet_config.py"
        )
    broken = [n for n, t in weights.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if broken:
        raise ModelError(
            f"{source} holds values that are not finite (such as {broken[0]}): it cannot be used"
        )
    model.load_state_dict(weights, strict=False)


def fetch(location: str, sha256: str | None = None) -> Path:
    """Return the local path of a checkpoint given by path or URL; a URL is downloaded once.

    The hash is checked: `sha256` where given, else the first digits that OpenMMLab and torch put
    at the end of the file's name (name-0123abcd.pth).
    """
    if urlparse(location).scheme not in ("http", "https"):
        return Path(location).expanduser()
    name = Path(urlparse(location).path).name
    target = cache_dir() / "checkpoints" / f"{hashlib.sha256(location.encode()).hexdigest()[:8]}-{name}"
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    in_name = re.search(r"-([0-9a-f]{8,64})\.pth$", name)
    prefix = sha256 or (in_name[1] if in_name else None)
    try:
        torch.hub.download_url_to_file(location, str(target), hash_prefix=prefix, progress=False)
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"{location} could not be fetched ({_first_line(error)}). Fetch it by hand and set "
            "model.load_from in al-loop.toml to its path."
        ) from None
    return target


def _class_count(weights: Weights) -> int | None:
    """Return the number of classes without the background, where the box head tells it."""
    return len(weights[_CLASSIFIER]) - 1 if _CLASSIFIER in weights else None


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
