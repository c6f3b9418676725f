"""The config stored with a model: `config.json`, or the `config.py` of an older workspace.

Nothing in it runs: a Python file is parsed and not executed, no text is substituted, types are registered
parts of a detector (`al_loop.detector.config.allowed_types`), and modules are imported only if the user
trusts the workspace.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from mmdet.utils import register_all_modules
from mmengine.config import Config

from al_loop.core.config_errors import explain
from al_loop.core.errors import ModelError, first_line
from al_loop.core.files import read_regular, write_atomically
from al_loop.core.python_literals import literals
from al_loop.detector.backbones import timm_backbone
from al_loop.detector.config.allowed_types import check_types, registered_name
from al_loop.detector.config.tree import Place, refuse_deep, walk
from al_loop.state.model_registry import CONFIG, config_file

#: The parts of a config that al-loop uses; the rest (data, hooks, schedules, visualisers, ...) is not stored.
PARTS = (
    "classes", "custom_imports", "default_scope", "enlarge", "find_unused_parameters", "fine_tune_lr",
    "image_size", "model", "named_classes", "notes", "optim_wrapper", "resize", "untrained",
)  # fmt: skip
# Importing this class registers it as a part of a detector.
_REGISTERED = timm_backbone.TimmBackbone
_MAX_BYTES = 4 << 20
_TUPLES = "tuples"
_ADVICE = "Use another model (al-loop models list), or go back: al-loop models rollback"


def write_config(folder: Path, config: Config) -> str:
    """Write `config.json` and return its SHA-256."""
    data = encode_config(config)
    write_atomically(folder / CONFIG, data)
    return hashlib.sha256(data).hexdigest()


def encode_config(config: Mapping[str, Any]) -> bytes:
    """Encode a config as JSON that lists its tuples, because parts of mmdet distinguish tuples and lists.

    Braces in texts are escaped, because mmengine substitutes `{{ ... }}` if it reads the file.
    """
    parts = {name: config[name] for name in PARTS if name in config}
    tuples = [_pointer(place) for place, value in walk(parts) if isinstance(value, tuple)]
    text = json.dumps({**parts, _TUPLES: tuples}, indent=2, ensure_ascii=False)
    escaped = re.sub(
        r'"(?:[^"\\]|\\.)*"', lambda match: match[0].replace("{", "\\u007b").replace("}", "\\u007d"), text
    )
    return (escaped + "\n").encode()


def _pointer(place: Place) -> str:
    return "".join(f"/{key}" for key in place)


def to_plain(value: Any, where: str) -> Any:
    """Convert a value of an executed config to plain data.

    where: key of the value, for the error.
    Raises ModelError for functions, objects and keys that are not text.
    """
    if isinstance(value, Mapping):
        if bad_key := next((name for name in value if not isinstance(name, str)), None):
            raise ModelError(f"{where}: expected names as keys, got {bad_key!r}")
        return {
            name: _type(item) if name == "type" else to_plain(item, f"{where}.{name}")
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        items = [to_plain(item, f"{where}[{number}]") for number, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if hasattr(value, "item") and getattr(value, "size", 0) == 1:  # a scalar of NumPy
        return value.item()
    raise ModelError(
        f"{where}: expected text, numbers, lists and dicts, got {type(value).__name__}. A model's config is "
        "stored as data: write its value into the config"
    )


def _type(value: Any) -> Any:
    """Return the registered name of a type; Python-style configs hold the class or its dotted name."""
    if isinstance(value, type):
        value = f"{value.__module__}.{value.__qualname__}"
    return registered_name(value) if isinstance(value, str) else to_plain(value, "type")


def read_config(folder: Path, sha256: str | None = None, *, trusted: bool = False) -> Config:
    """Return a model's config.

    sha256: expected hash of the file. None: do not check it.
    trusted: import the modules of custom_imports.
    Raises ModelError for a file that is missing, damaged or changed, and for code or unknown parts in it.
    """
    path = config_file(folder, sha256)
    data = read_file(path)
    actual = hashlib.sha256(data).hexdigest()
    if sha256 is not None and actual != sha256:
        raise ModelError(
            f"{path} was changed: expected SHA-256 {sha256}, got {actual}. Restore it from a backup. "
            f"{_ADVICE}"
        )
    config = decode_config(data, str(path)) if path.suffix == ".json" else _read_old_config(data, str(path))
    return check_config(config, str(path), trusted=trusted)


def check_config(config: Mapping[str, Any], source: str, *, trusted: bool) -> Config:
    """Check data and return it as a model's config, reduced to `PARTS`.

    source: name of the config in errors.
    trusted: import the modules of custom_imports.
    Raises ModelError for values or parts that cannot be used.
    """
    parts = {name: config[name] for name in PARTS if name in config}
    _check_values(parts, source)
    drop_weights(parts["model"])
    register_all_modules(init_default_scope=True)
    import_modules(modules_of(parts, source), source, trusted=trusted)
    check_types(parts["model"], parts["optim_wrapper"], source)
    return Config({**parts, "default_scope": "mmdet"})


_Rate = Annotated[float, msgspec.Meta(gt=0, lt=1e6)]
_Side = Annotated[int, msgspec.Meta(ge=1, le=8192)]  # px, as of model.image_size


class _Optimizer(msgspec.Struct):
    lr: _Rate


class _OptimWrapper(msgspec.Struct):
    optimizer: _Optimizer


class _StoredConfig(msgspec.Struct):
    """The parts of a config that al-loop itself reads."""

    model: dict[str, Any]
    optim_wrapper: _OptimWrapper
    image_size: tuple[_Side, _Side]
    classes: tuple[str, ...] = ()
    named_classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    resize: Literal["inside", "either-way", "stretch"] = "inside"
    fine_tune_lr: _Rate = 1.0
    untrained: bool = False


def _check_values(config: dict[str, Any], source: str) -> None:
    """Check the values that al-loop itself reads, and restore their types."""
    try:
        stored = msgspec.convert(config, _StoredConfig)
    except msgspec.ValidationError as error:
        problem = explain(error, config, _StoredConfig)
        raise ModelError(f"{source}: {problem}. Correct it, or: {_ADVICE}") from None
    config.update(image_size=stored.image_size, classes=stored.classes)
    config["enlarge"] = bool(config.get("enlarge", False))


def decode_config(data: bytes, source: str) -> dict[str, Any]:
    """Decode a config that `encode_config` wrote."""
    try:
        config = json.loads(data)
        refuse_deep(config)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{source} is not usable JSON ({first_line(error)}). {_ADVICE}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{source}: expected a table of settings, got {type(config).__name__}. {_ADVICE}")
    pointers = config.pop(_TUPLES, [])
    tuples = {p for p in pointers if isinstance(p, str)} if isinstance(pointers, list) else set()
    restored: dict[str, Any] = _restore_tuples(config, (), tuples)
    return restored


def _read_old_config(data: bytes, source: str) -> dict[str, Any]:
    """Parse the `config.py` of an older workspace, without executing it."""
    try:
        config = literals(data)
        refuse_deep(config)
        return config
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ModelError(
            f"{source} holds more than data, and a model's own config is not executed "
            f"({first_line(error)}). {_ADVICE}"
        ) from None


def _restore_tuples(value: Any, place: Place, tuples: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: _restore_tuples(item, (*place, name), tuples) for name, item in value.items()}
    if isinstance(value, list):
        items = [_restore_tuples(item, (*place, number), tuples) for number, item in enumerate(value)]
        return tuple(items) if _pointer(place) in tuples else items
    return value


def drop_weights(model: Any) -> list[str]:
    """Delete the keys of a model that load weights (init_cfg, pretrained). Return the weights they name.

    al-loop loads weights only from a checkpoint that passed its checks, never from a hub or a pickle that a
    config names.
    """
    dropped = []
    for _, table in walk(model):
        for name in (
            [name for name in table if _loads_weights(name, table[name])] if isinstance(table, dict) else ()
        ):
            value = table.pop(name)
            weights = value.get("checkpoint", "a checkpoint") if isinstance(value, Mapping) else "checkpoints"
            dropped.append(value if isinstance(value, str) else str(weights))
    return dropped


def _loads_weights(name: str, value: Any) -> bool:
    """Return whether a key of a model loads weights. An init_cfg may name a checkpoint at any depth."""
    if name not in ("init_cfg", "override"):
        return name == "pretrained" and isinstance(value, str)
    tables = (table for _, table in walk(value) if isinstance(table, Mapping))
    return any(
        "checkpoint" in t or str(t.get("type")).endswith(("Pretrained", "PretrainedInit")) for t in tables
    )


def modules_of(config: Mapping[str, Any], source: str) -> tuple[str, ...]:
    """Return the modules of a config's custom_imports."""
    named = config.get("custom_imports") or ()
    if isinstance(named, Mapping):
        named = named.get("imports") or ()
    names = (named,) if isinstance(named, str) else named
    if not isinstance(names, Sequence) or not all(isinstance(n, str) and _is_module(n) for n in names):
        raise ModelError(f"{source}: expected custom_imports to name modules, got {str(named)[:80]!r}")
    return tuple(names)


def _is_module(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def import_modules(names: Sequence[str], source: str, *, trusted: bool) -> None:
    """Import the modules of custom_imports.

    Raises ModelError for a new module without the user's approval.
    """
    missing = [name for name in names if name not in sys.modules]
    if missing and not trusted:
        raise ModelError(
            f"{source} names {', '.join(missing)} in custom_imports: importing runs code, and this workspace "
            "was not made here by you. Look at these modules; then approve of the workspace: al-loop models "
            "trust"
        )
    for name in missing:
        try:
            importlib.import_module(name)
        except Exception as error:  # a module of the user's: anything can go wrong in it
            raise ModelError(
                f"{source} needs the module {name} (custom_imports), which cannot be imported "
                f"({type(error).__name__}: {first_line(error)}). Install it, or put its folder on the path: "
                "PYTHONPATH=FOLDER al-loop ..."
            ) from None


def read_file(path: Path) -> bytes:
    """Return the bytes of a config. Raises ModelError if it is unreadable or too large."""
    try:
        return read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}). {_ADVICE}") from None
