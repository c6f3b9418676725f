"""The config stored with a model: `config.json`, or the `config.py` of an older workspace.

Nothing in it runs: a Python file is parsed and not executed, no text is substituted, types are registered
parts of a detector (`al_loop.detector.config.allowed_types`), and modules are imported only where the user
has approved of the workspace.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from mmdet.utils import register_all_modules
from mmengine.config import Config

from al_loop.core.config_errors import explain
from al_loop.core.errors import ModelError
from al_loop.core.files import read_regular, write_atomically
from al_loop.core.python_literals import literals
from al_loop.detector.config.allowed_types import check_types, registered_name
from al_loop.state.model_registry import CONFIG, config_file

#: The parts of a config that al-loop uses; the rest (data, hooks, schedules, visualisers, ...) is not stored.
KEPT = (
    "classes", "custom_imports", "default_scope", "enlarge", "find_unused_parameters", "fine_tune_lr",
    "image_size", "model", "named_classes", "notes", "optim_wrapper", "resize",
)  # fmt: skip
_MAX_BYTES = 4 << 20
#: mmdet's own models are nested less than 12 deep.
_MAX_DEPTH = 40
_TUPLES = "tuples"
_ADVICE = "Use another model (al-loop models list), or go back: al-loop models rollback"


def write_config(folder: Path, config: Config) -> str:
    """Write `config.json` and return its SHA-256."""
    data = encoded(config)
    write_atomically(folder / CONFIG, data)
    return hashlib.sha256(data).hexdigest()


def encoded(config: Mapping[str, Any]) -> bytes:
    """Return a config as JSON, with the places of its tuples: parts of mmdet need either a list or a tuple.

    Braces in texts are escaped: mmengine would substitute `{{ ... }}` when somebody else reads the file.
    """
    tuples: list[str] = []
    kept = {name: _listed(config[name], f"/{name}", tuples) for name in KEPT if name in config}
    text = json.dumps({**kept, _TUPLES: tuples}, indent=2, ensure_ascii=False)
    return (re.sub(r'"(?:[^"\\]|\\.)*"', _without_braces, text) + "\n").encode()


def _without_braces(text: re.Match[str]) -> str:
    return text[0].replace("{", "\\u007b").replace("}", "\\u007d")


def _listed(value: Any, path: str, tuples: list[str]) -> Any:
    """Return a value with lists in place of tuples; append the places of the tuples."""
    if isinstance(value, Mapping):
        return {name: _listed(item, f"{path}/{name}", tuples) for name, item in value.items()}
    if isinstance(value, list | tuple):
        if isinstance(value, tuple):
            tuples.append(path)
        return [_listed(item, f"{path}/{number}", tuples) for number, item in enumerate(value)]
    return value


def plain(value: Any, where: str) -> Any:
    """Return a value of an executed config as data.

    where: key of the value, for the error.
    Raises ModelError for functions, objects and keys that are not text.
    """
    if isinstance(value, Mapping):
        if strange := next((name for name in value if not isinstance(name, str)), None):
            raise ModelError(f"{where}: expected names as keys, got {strange!r}")
        return {
            name: _type(item) if name == "type" else plain(item, f"{where}.{name}")
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        items = [plain(item, f"{where}[{number}]") for number, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if hasattr(value, "item") and getattr(value, "size", 0) == 1:  # a scalar of NumPy
        return value.item()
    raise ModelError(
        f"{where}: expected text, numbers, lists and dicts, got {type(value).__name__}. A model's config is "
        "kept as data: write its value into the config"
    )


def _type(value: Any) -> Any:
    """Return the registered name of a type; Python-style configs hold the class or its dotted name."""
    if isinstance(value, type):
        value = f"{value.__module__}.{value.__qualname__}"
    return registered_name(value) if isinstance(value, str) else plain(value, "type")


def read_config(folder: Path, sha256: str | None = None, *, trusted: bool = False) -> Config:
    """Return a model's config.

    sha256: hash of its file; None: not checked.
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
    config = decoded(data, str(path)) if path.suffix == ".json" else _older(data, str(path))
    return checked(config, str(path), trusted=trusted)


def checked(config: Mapping[str, Any], source: str, *, trusted: bool) -> Config:
    """Return data as a model's config, reduced to `KEPT`.

    source: name of the config in errors.
    trusted: import the modules of custom_imports.
    Raises ModelError for values or parts that cannot be used.
    """
    kept = {name: config[name] for name in KEPT if name in config}
    _check_values(kept, source)
    kept["model"] = without_weights(kept["model"])[0]
    register_all_modules(init_default_scope=True)
    import_modules(modules_of(kept, source), source, trusted=trusted)
    check_types(kept["model"], kept["optim_wrapper"], source)
    return Config({**kept, "default_scope": "mmdet"})


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


def _check_values(config: dict[str, Any], source: str) -> None:
    """Check the values that al-loop itself reads, and restore their types."""
    try:
        checked = msgspec.convert(config, _StoredConfig)
    except msgspec.ValidationError as error:
        problem = explain(str(error), config, _StoredConfig)
        raise ModelError(f"{source}: {problem}. Correct it, or: {_ADVICE}") from None
    config.update(image_size=checked.image_size, classes=checked.classes)
    config["enlarge"] = bool(config.get("enlarge", False))


def decoded(data: bytes, source: str) -> dict[str, Any]:
    """Return the config in JSON that `encoded` has made."""
    try:
        config = json.loads(data)
        _refuse_deep(config)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{source} is no JSON that can be used ({_first_line(error)}). {_ADVICE}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{source}: expected a table of settings, got {type(config).__name__}. {_ADVICE}")
    pointers = config.pop(_TUPLES, [])
    tuples = {p for p in pointers if isinstance(p, str)} if isinstance(pointers, list) else set()
    return {name: _tupled(value, f"/{name}", tuples) for name, value in config.items()}


def _refuse_deep(value: Any) -> None:
    """Raise ValueError for deep nesting, on which the recursive functions here would fail."""
    level, depth = [value], 0
    while level:
        level = [item for outer in level for item in _items(outer)]
        depth += 1
        if depth > _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def _older(data: bytes, source: str) -> dict[str, Any]:
    """Return the data in the `config.py` of an older workspace."""
    try:
        config = literals(data)
        _refuse_deep(config)
        return config
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ModelError(
            f"{source} holds more than data, and a model's own config is not executed "
            f"({_first_line(error)}). {_ADVICE}"
        ) from None


def _tupled(value: Any, path: str, tuples: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: _tupled(item, f"{path}/{name}", tuples) for name, item in value.items()}
    if isinstance(value, list):
        items = [_tupled(item, f"{path}/{number}", tuples) for number, item in enumerate(value)]
        return tuple(items) if path in tuples else items
    return value


def without_weights(tree: Any) -> tuple[Any, list[str]]:
    """Return a model's tree without keys that load weights (init_cfg, pretrained), and the weights they name.

    al-loop loads weights from a checkpoint that it has checked, never from a hub or a pickle that a config
    names.
    """
    dropped: list[str] = []

    def clean(value: Any) -> Any:
        if isinstance(value, Mapping):
            kept = {}
            for name, item in value.items():
                if (name == "pretrained" and isinstance(item, str)) or (
                    name in ("init_cfg", "override") and _loads(item)
                ):
                    dropped.append(_weights_of(item))
                else:
                    kept[name] = clean(item)
            return kept
        if isinstance(value, list | tuple):
            items = [clean(item) for item in value]
            return tuple(items) if isinstance(value, tuple) else items
        return value

    return clean(tree), dropped


def _loads(value: Any) -> bool:
    """Return whether an init_cfg names a checkpoint, at any depth."""
    if isinstance(value, Mapping):
        kind = str(value.get("type", ""))
        return (
            "checkpoint" in value
            or kind.endswith("Pretrained")
            or kind.endswith("PretrainedInit")
            or any(_loads(item) for item in value.values())
        )
    return isinstance(value, list | tuple) and any(_loads(item) for item in value)


def _weights_of(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("checkpoint", "a checkpoint"))
    return str(value) if isinstance(value, str) else "checkpoints"


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
    """Import the modules of custom_imports; ModelError where one is new and the user has not approved."""
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
                f"({type(error).__name__}: {_first_line(error)}). Install it, or put its folder on the path: "
                "PYTHONPATH=FOLDER al-loop ..."
            ) from None


def read_file(path: Path) -> bytes:
    """Return the bytes of a config; ModelError where it cannot be read or is too large."""
    try:
        return read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}). {_ADVICE}") from None


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
