"""A model's own config: data in `config.json`, or the `config.py` of an older workspace, which is read and never executed.

Nothing in it runs: no text is substituted, no module is imported unless the user approved of the workspace, and types are
registered parts of a detector (`al_loop.detector.config.allowed_types`).
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdet.utils import register_all_modules
from mmengine.config import Config

from al_loop.core.errors import ModelError
from al_loop.core.files import read_regular, write_atomically
from al_loop.core.python_literals import literals
from al_loop.detector.config.allowed_types import check_types, registered_name
from al_loop.detector.transforms import WAYS
from al_loop.state.model_registry import CONFIG, config_file

#: What al-loop uses of a config; the rest (data, hooks, schedules, visualisers, ...) is not kept.
KEPT = (
    "classes", "custom_imports", "default_scope", "enlarge", "find_unused_parameters", "fine_tune_lr", "image_size",
    "model", "named_classes", "notes", "optim_wrapper", "resize",
)  # fmt: skip
#: No config of a detector is larger.
_LARGEST = 4 << 20
#: Those of mmdet's models are nested less than 12 deep.
_DEEPEST = 40
#: As of model.image_size.
_LARGEST_PX = 8192
_TUPLES = "tuples"
_AGAIN = "Use another model (al-loop models list), or go back: al-loop models rollback"


def write_config(folder: Path, config: Config) -> str:
    """Write `config.json` and return its SHA-256."""
    data = encoded(config)
    write_atomically(folder / CONFIG, data)
    return hashlib.sha256(data).hexdigest()


def encoded(config: Mapping[str, Any]) -> bytes:
    """Return a config as JSON. Which lists were tuples stands beside them, as parts of mmdet ask for one or the other.

    No text in it holds a brace: mmengine would replace `{{ ... }}` in it where somebody else reads it.
    """
    tuples: list[str] = []
    kept = {name: _listed(config[name], f"/{name}", tuples) for name in KEPT if name in config}
    text = json.dumps({**kept, _TUPLES: tuples}, indent=2, ensure_ascii=False)
    return (re.sub(r'"(?:[^"\\]|\\.)*"', _without_braces, text) + "\n").encode()


def _without_braces(found: re.Match[str]) -> str:
    return found[0].replace("{", "\\u007b").replace("}", "\\u007d")


def _listed(value: Any, path: str, tuples: list[str]) -> Any:
    """Return a value with lists for its tuples, and note where these were."""
    if isinstance(value, Mapping):
        return {name: _listed(item, f"{path}/{name}", tuples) for name, item in value.items()}
    if isinstance(value, list | tuple):
        if isinstance(value, tuple):
            tuples.append(path)
        return [_listed(item, f"{path}/{number}", tuples) for number, item in enumerate(value)]
    return value


def plain(value: Any, where: str) -> Any:
    """Return a value of an executed config as data; ModelError for what cannot be: functions, objects, keys that are no text."""
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
        f"{where}: expected text, numbers, lists and dicts, got {type(value).__name__}. A model's config is kept as data: "
        "write its value into the config"
    )


def _type(value: Any) -> Any:
    """Return the registered name of a type: Python-style configs name classes, or have them."""
    if isinstance(value, type):
        value = f"{value.__module__}.{value.__qualname__}"
    return registered_name(value) if isinstance(value, str) else plain(value, "type")


def read_config(folder: Path, sha256: str | None = None, *, trusted: bool = False) -> Config:
    """Return a model's config; sha256: of its file, None where that was not noted.

    trusted: import what it names in custom_imports. Raises ModelError for a file that is missing, damaged or changed, that
    would run something, or that names parts that are not there.
    """
    path = config_file(folder, sha256)
    data = read_file(path)
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise ModelError(
            f"{path} was changed: expected SHA-256 {sha256}, got {found}. Restore it from a backup. {_AGAIN}"
        )
    config = decoded(data, str(path)) if path.suffix == ".json" else _older(data, str(path))
    return checked(config, str(path), trusted=trusted)


def checked(config: Mapping[str, Any], source: str, *, trusted: bool) -> Config:
    """Return data as a model's config: only what is used, with parts that are registered; ModelError for anything else."""
    kept = {name: config[name] for name in KEPT if name in config}
    _require(kept, source)
    kept["model"] = without_weights(kept["model"])[0]
    register_all_modules(init_default_scope=True)
    import_modules(modules_of(kept, source), source, trusted=trusted)
    check_types(kept["model"], kept["optim_wrapper"], source)
    return Config({**kept, "default_scope": "mmdet"})


def _require(config: dict[str, Any], source: str) -> None:
    """Check what al-loop itself reads, and make it what it was when it was written."""
    wrapper, size, classes = (config.get(name) for name in ("optim_wrapper", "image_size", "classes"))
    if not isinstance(config.get("model"), dict) or not isinstance(wrapper, dict):
        raise ModelError(f"{source} is no model's config: expected model and optim_wrapper. {_AGAIN}")
    _expect(
        source, "optim_wrapper.optimizer", wrapper.get("optimizer"), "a table", lambda v: isinstance(v, dict)
    )
    _expect(source, "optim_wrapper.optimizer.lr", wrapper["optimizer"].get("lr"), "a rate above 0", _is_rate)
    _expect(source, "fine_tune_lr", config.get("fine_tune_lr", 1.0), "a rate above 0", _is_rate)
    _expect(source, "image_size", size, f"two sizes from 1 to {_LARGEST_PX} px", _is_size)
    _expect(source, "resize", config.get("resize", "inside"), f"one of {', '.join(WAYS)}", WAYS.__contains__)
    for name in ("classes", "named_classes", "notes"):
        _expect(source, name, config.get(name, ()), "a list of texts", _are_texts)
    config["image_size"], config["classes"] = tuple(size or ()), tuple(classes or ())
    config["enlarge"] = bool(config.get("enlarge", False))


def _expect(source: str, key: str, value: Any, expected: str, holds: Callable[[Any], bool]) -> None:
    if not holds(value):
        raise ModelError(
            f"{source}: expected {key} to be {expected}, got {value!r:.80}. Correct it, or: {_AGAIN}"
        )


def _is_rate(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


def _is_size(value: Any) -> bool:
    whole = isinstance(value, list | tuple) and len(value) == 2
    return whole and all(type(side) is int and 1 <= side <= _LARGEST_PX for side in value)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)


def decoded(data: bytes, source: str) -> dict[str, Any]:
    """Return what `encoded` wrote."""
    try:
        found = json.loads(data)
        _refuse_deep(found)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{source} is no JSON that can be used ({_first_line(error)}). {_AGAIN}") from None
    if not isinstance(found, dict):
        raise ModelError(f"{source}: expected a table of settings, got {type(found).__name__}. {_AGAIN}")
    pointers = found.pop(_TUPLES, [])
    wanted = (
        set(pointers) if isinstance(pointers, list) and all(isinstance(p, str) for p in pointers) else set()
    )
    config: dict[str, Any] = _tupled(found, "", wanted)
    return config


def _refuse_deep(value: Any) -> None:
    """Raise ValueError for tables inside tables beyond any config's: what reads them calls itself for each."""
    level, depth = [value], 0
    while level:
        level = [item for one in level for item in _inside(one)]
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def _older(data: bytes, source: str) -> dict[str, Any]:
    """Return what `config.py` of an older workspace says."""
    try:
        found = literals(data)
        _refuse_deep(found)
        return found
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ModelError(
            f"{source} holds more than data, and a model's own config is not executed ({_first_line(error)}). {_AGAIN}"
        ) from None


def _tupled(value: Any, path: str, tuples: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: _tupled(item, f"{path}/{name}", tuples) for name, item in value.items()}
    if isinstance(value, list):
        items = [_tupled(item, f"{path}/{number}", tuples) for number, item in enumerate(value)]
        return tuple(items) if path in tuples else items
    return value


def without_weights(tree: Any) -> tuple[Any, list[str]]:
    """Return a model's tree without what would load other weights (init_cfg, pretrained), and what those were.

    Weights come from a checkpoint that al-loop checks, never from a hub or a pickle behind its back.
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
    """Say whether an init_cfg names a checkpoint at any depth."""
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
    """Return the modules that a config names in custom_imports."""
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
    """Import what a config names in custom_imports; nothing happens for what is imported already."""
    missing = [name for name in names if name not in sys.modules]
    if missing and not trusted:
        raise ModelError(
            f"{source} names {', '.join(missing)} in custom_imports: importing runs code, and this workspace was not made "
            "here by you. Look at these modules; then approve of the workspace: al-loop models trust"
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
    """Return the bytes of a config; ModelError where it cannot be read, or is no config by its size."""
    try:
        return read_regular(path, _LARGEST)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}). {_AGAIN}") from None


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
