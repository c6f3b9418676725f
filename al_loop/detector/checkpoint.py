"""Read and write weights. Nothing in a checkpoint is executed, because its source is not trusted."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

from al_loop.core.errors import ModelError, first_line
from al_loop.core.files import open_regular, write_atomically

Weights = dict[str, Tensor]

#: Layers whose shape follows from the number of classes.
CLASS_LAYERS = (
    "roi_head.bbox_head.fc_cls.", "roi_head.bbox_head.fc_reg.", "roi_head.mask_head.conv_logits.",
)  # fmt: skip
_MASK_HEAD = "roi_head.mask_head."
_CLASSIFIER = "roi_head.bbox_head.fc_cls.weight"
#: Keys under which training programs store the weights. mmengine and mmdet use the first.
_HOLDERS = ("state_dict", "model_state_dict", "model")
#: Prefixes that wrappers add to names: DistributedDataParallel, torch.compile, programs around a detector.
_PREFIXES = ("module.", "_orig_mod.", "model.", "detector.")


def _safe_getattr(owner: object, name: str) -> object:
    """Replace `getattr` inside a checkpoint. Only the statistics of HistoryBuffer are allowed."""
    if owner is not HistoryBuffer or name not in ("mean", "max", "min", "current"):
        raise pickle.UnpicklingError(f"getattr({owner!r}, {name!r}) is not allowed")
    return getattr(HistoryBuffer, name)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The content of a file of weights.

    classes: class names in the order of the outputs. Empty if the file has none.
    notes: which set of weights was read, if the file has several.
    """

    weights: Weights
    classes: tuple[str, ...]
    notes: tuple[str, ...]


@contextmanager
def runner_checkpoints() -> Iterator[None]:
    """Let `torch.load` read only the plain data that mmengine's Runner stores with the weights."""
    multiarray: Any = np.core.multiarray
    allowed: list[Any] = [
        HistoryBuffer,
        (_safe_getattr, "builtins.getattr"),
        multiarray._reconstruct,
        multiarray.scalar,
        np.ndarray,
        np.dtype,
        *{type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)},
    ]
    with torch.serialization.safe_globals(allowed):
        yield


def read_weights(path: Path, sha256: str | None = None) -> Weights:
    """Return the weights of a checkpoint, see `read_checkpoint`."""
    return read_checkpoint(path, sha256).weights


def read_checkpoint(path: Path, sha256: str | None = None) -> Checkpoint:
    """Return the weights of a checkpoint, on the CPU, and its classes.

    Raises ModelError for a missing or truncated file, another hash than `sha256`, a pickle that would run
    code, and a file without weights.
    """
    try:
        # Open the file once: the bytes that are hashed are the bytes that are read.
        with io.BufferedReader(open_regular(path)) as file, runner_checkpoints():
            _check_hash(file, path, sha256)
            content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"no checkpoint at {path}: expected a .pth file of weights") from None
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} was refused: it holds more than weights and would run code when opened "
            f"({first_line(error)}). "
            "Export it as plain weights: torch.save(model.state_dict(), 'weights.pth')"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path} is not a complete checkpoint ({first_line(error)}). Copy or fetch the file again."
        ) from None
    state, notes = _state(content if isinstance(content, dict) else {})
    if not _is_state(state):
        raise ModelError(f"{path} holds no weights: expected a dict of tensors, or one under 'state_dict'")
    weights, more = _without_wrappers({str(name): tensor for name, tensor in state.items()})
    return Checkpoint(weights, _classes(content), (*notes, *more))


def _check_hash(file: io.BufferedReader[Any], path: Path, sha256: str | None) -> None:
    if sha256 is None:
        return
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256.lower():
        raise ModelError(
            f"{path} has SHA-256 {digest}, expected {sha256}. "
            "Fetch it again, or correct model.load_from_sha256 in al-loop.toml."
        )
    file.seek(0)


def _is_state(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(v, Tensor) for v in value.values())


def _state(content: dict[Any, Any]) -> tuple[Any, list[str]]:
    """Return the weights that mmdet would use for inference, and notes that say which these are.

    mmengine's EMAHook swaps both sets when it writes: `state_dict` holds the averaged weights.
    """
    holder = next((name for name in _HOLDERS if _is_state(content.get(name))), None)
    averaged = content.get("ema_state_dict")
    if holder is None:
        if averaged is None or not _is_state(averaged):
            return content, []
        state = {name: tensor for name, tensor in averaged.items() if name != "steps"}
        return state, ["weights: those of ema_state_dict, there are no others"]
    if holder != "state_dict":
        return content[holder], [f"weights: those under {holder!r}"]
    ema = "weights: the moving averages (EMA), as mmdet uses for inference"
    return content[holder], [] if averaged is None else [ema]


def _without_wrappers(state: Weights) -> tuple[Weights, list[str]]:
    """Return only the weights of the detector, under the names that the detector gives them."""
    notes = []
    averages = [name for name in state if name.startswith("ema_")]
    if averages and len(averages) < len(state):
        # mmdet 2's EMAHook registers them beside the weights, and swaps both when it writes.
        notes.append(f"{len(averages)} tensors ema_* are left out: the averaged weights have the plain names")
        state = {name: tensor for name, tensor in state.items() if not name.startswith("ema_")}
    kinds = {name.partition(".")[0] for name in state}
    if kinds <= {"teacher", "student"}:  # of semi-supervised training; mmdet predicts with the teacher
        kind = max(kinds)
        state = {n.partition(".")[2]: t for n, t in state.items() if n.startswith(f"{kind}.")}
        notes.append(f"weights: those of the {kind}")
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state, notes


def _classes(content: Any) -> tuple[str, ...]:
    """Return the classes that mmengine (dataset_meta) or mmdet 2 (CLASSES) stored in a checkpoint."""
    meta = content.get("meta") if isinstance(content, dict) else None
    dataset = meta.get("dataset_meta") if isinstance(meta, dict) else None
    return class_names(dataset) or class_names(meta)


def class_names(table: Any) -> tuple[str, ...]:
    """Return the names under "classes" or "CLASSES" in a table of mmengine. Empty if it has none."""
    for key in ("classes", "CLASSES") if isinstance(table, Mapping) else ():
        names = (table[key],) if isinstance(table.get(key), str) else table.get(key)
        if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
    return ()


def write_weights(path: Path, weights: Weights, classes: Sequence[str] = (), **notes: float) -> None:
    """Write tensors and numbers atomically.

    classes: in the order of the outputs, stored as mmengine does.
    notes: numbers that `read_note` returns.
    """
    buffer = io.BytesIO()
    meta = {"meta": {"dataset_meta": {"classes": tuple(classes)}}} if classes else {}
    torch.save({"state_dict": weights, "notes": notes, **meta}, buffer)
    write_atomically(path, buffer.getvalue())


def read_note(path: Path, name: str) -> float:
    """Return a number that was written with the weights."""
    return float(torch.load(path, map_location="cpu", weights_only=True)["notes"][name])


def load_into(model: nn.Module, weights: Weights, source: str, *, new_classes: bool = False) -> None:
    """Load weights into a model of the same architecture.

    source: names the weights in errors.
    new_classes: allow another number of classes, so that a training can start from a COCO checkpoint. Layers
        whose shape depends on this number then stay random.
    Raises ModelError for tensors that are missing, unknown, of another shape or not finite.
    """
    expected = model.state_dict()
    count, got = class_count(expected), class_count(weights)
    if new_classes and count != got:
        weights = {n: t for n, t in weights.items() if not n.startswith(CLASS_LAYERS)}
    elif got is not None and count is not None and count != got:
        raise ModelError(
            f"{source} was trained for {got} classes, this workspace has {count}. "
            "Import a checkpoint of the same classes, or start from it: set model.load_from in al-loop.toml "
            "and run: al-loop pretrain"
        )
    optional = CLASS_LAYERS if new_classes else ()
    missing = [
        n
        for n in expected
        if n not in weights and not (n.startswith(optional) or n.endswith("num_batches_tracked"))
    ]
    unknown = [n for n in weights if n not in expected]
    shapes = [n for n in weights if n in expected and weights[n].shape != expected[n].shape]
    if missing or unknown or shapes:
        example = (shapes or missing or unknown)[0]
        raise ModelError(
            f"{source} is of another architecture: {len(missing)} of {len(expected)} tensors are missing, "
            f"{len(unknown)} unknown, {len(shapes)} of another shape (such as {example}). "
            "Give its own config: al-loop models import CHECKPOINT --config mmdet_config.py"
        )
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"{source} holds values that are not finite (such as {name}): it cannot be used")
    model.load_state_dict(weights, strict=False)


def predicts_masks(weights: Weights) -> bool:
    """Return whether weights have a mask head."""
    return any(name.startswith(_MASK_HEAD) for name in weights)


def without_mask_head(weights: Weights) -> Weights:
    """Return weights without those of a mask head."""
    return {name: tensor for name, tensor in weights.items() if not name.startswith(_MASK_HEAD)}


def with_mask_head_of(weights: Weights, others: Weights) -> Weights:
    """Return weights with the mask head of others."""
    return without_mask_head(weights) | {n: t for n, t in others.items() if n.startswith(_MASK_HEAD)}


def class_count(weights: Weights) -> int | None:
    """Return the number of classes without the background. None for weights without a box head."""
    return len(weights[_CLASSIFIER]) - 1 if _CLASSIFIER in weights else None
