"""Settings that 0.2 has renamed: old names are refused, and translated in files of 0.1."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from types import MappingProxyType
from typing import Any

import msgspec

#: Dotted key in 0.1, or in a version before 0.2 -> dotted name in the same table since 0.2. If a setting had
#: two names, that of 0.1 is the last.
RENAMED: Mapping[str, str] = MappingProxyType(
    {
        "cycle.explore": "explore_fraction",
        "cycle.audit": "random_audit_fraction",
        "monitor.settle_s": "min_age_s",
        "monitor.drift.in_a_row": "consecutive_windows",
        "monitor.drift.effect": "min_effect",
        "pretrain.rotate90": "augment.rotate90",
        "pretrain.turns": "augment.rotate90",
        "train.rotate90": "augment.rotate90",
        "train.turns": "augment.rotate90",
    }
)
#: Tables of a training. 0.1 counted it in epochs, each of which showed an image `repeat` times.
TRAININGS = ("pretrain", "train")
_EPOCHS, _VAL_EVERY = 50, 1  # defaults in 0.1
#: Value of cycle.strategy in 0.1 -> value since 0.2.
RENAMED_STRATEGIES: Mapping[str, str] = MappingProxyType({"ours": "coverage"})

_HEADER = re.compile(r"\s*\[\s*([\w.\s-]+?)\s*\]\s*(#.*)?$")
_PAIR = re.compile(r"(\s*)([\w.-]+)(\s*=\s*)(.*)$", re.DOTALL)


def refusals(plain: Mapping[str, Any]) -> list[str]:
    """Return a sentence with the new name for each old name in the settings."""
    sentences = []
    for key, name in RENAMED.items():
        where, _, old = key.rpartition(".")
        if old in _table(plain, where):
            sentences.append(f"{key} is called {where}.{name} now")
    sentences += [
        f"{name}.repeat is gone: expected {name}.steps, the number of steps of the training"
        for name in TRAININGS
        if "repeat" in _table(plain, name)
    ]
    strategy = _table(plain, "cycle").get("strategy")
    if isinstance(strategy, str) and strategy in RENAMED_STRATEGIES:
        sentences.append(f'cycle.strategy = "{strategy}" is called "{RENAMED_STRATEGIES[strategy]}" now')
    return sentences


def with_new_names(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of settings, as plain data, with the names of this version."""
    keys = {key: f"{key.rpartition('.')[0]}.{name}" for key, name in RENAMED.items()}
    renamed = _renamed(plain, keys, RENAMED_STRATEGIES)
    for name in TRAININGS:
        _without_repeat(table := _table(renamed, name))
        if table.get("precision", "") is None:  # the default of 0.1
            table["precision"] = "auto"
    return renamed


def with_old_names(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of settings with the names of 0.1."""
    keys = {f"{key.rpartition('.')[0]}.{name}": key for key, name in RENAMED.items()}
    renamed = _renamed(plain, keys, {new: old for old, new in RENAMED_STRATEGIES.items()})
    for name in TRAININGS:
        table = _table(renamed, name)
        if table.get("precision") == "auto":
            table["precision"] = None
        if table.get("epochs") is not None:
            del table["steps"]
            table.update(val_every=table["val_every"] or _VAL_EVERY, repeat=1)
    return renamed


def rewritten(text: bytes) -> bytes | None:
    """Return a TOML file of 0.1 with the new names, its comments and order kept.

    None where it has no old name, or one that is written in a way that is not understood here.
    """
    plain = _decoded(text)
    renamed = with_new_names(plain)
    if renamed == plain:
        return None
    table, lines = "", []
    for line in text.decode().splitlines(keepends=True):
        if header := _HEADER.match(line.rstrip()):
            table = header[1]
        counted = _counted(_table(plain, table), _table(renamed, table), line) if table in TRAININGS else None
        lines.append(_rewritten_line(table, line) if counted is None else counted)
    new = "".join(lines).encode()
    return new if _decoded(new) == renamed else None


def _decoded(text: bytes) -> dict[str, Any]:
    """Return the tables of a TOML file, none where it is not valid."""
    try:
        return msgspec.toml.decode(text, type=dict[str, Any])
    except (ValueError, RecursionError):
        return {}


def _rewritten_line(table: str, line: str) -> str:
    pair = _PAIR.match(line)
    if pair is None:
        return line
    indent, written, equals, value = pair.groups()
    key = f"{table}.{written}".lstrip(".")
    if key in RENAMED:
        written = ".".join([*written.split(".")[:-1], RENAMED[key]])
    if key == "cycle.strategy":
        for old, new in RENAMED_STRATEGIES.items():
            value = re.sub(rf"""^(["']){old}\1""", rf"\g<1>{new}\g<1>", value)
    return f"{indent}{written}{equals}{value}"


def _counted(old: dict[str, Any], new: dict[str, Any], line: str) -> str | None:
    """Return the lines of a training's table that replace a line with a number of epochs. None for others.

    The line of `repeat`, or else of `val_every`, also becomes the keys that the old table did not have.
    """
    pair = _PAIR.match(line)
    if pair is None or pair[2] not in ("epochs", "val_every", "repeat"):
        return None
    indent, key, equals, value = pair.groups()
    keys = [key] if key in new else []
    if key == ("repeat" if "repeat" in old else "val_every"):
        keys += [name for name in ("epochs", "val_every") if name in new and name not in old]
    return "".join(f"{indent}{name}{equals}{new[name]}{value.lstrip('0123456789_')}" for name in keys)


def _without_repeat(table: dict[str, Any]) -> None:
    """Count the epochs of a training of 0.1 as epochs that show each image once."""
    if "steps" in table or not {"repeat", "val_every"} & table.keys():
        return
    epochs, val_every = table.get("epochs", _EPOCHS), table.get("val_every", _VAL_EVERY)
    repeat = table.get("repeat", 1)
    if all(isinstance(count, int) for count in (epochs, val_every, repeat)):
        table.pop("repeat", None)
        table.update(epochs=epochs * repeat, val_every=val_every * repeat)


def _renamed(plain: dict[str, Any], keys: Mapping[str, str], strategies: Mapping[str, str]) -> dict[str, Any]:
    """Return a copy with settings moved. keys: dotted key -> dotted new key."""
    renamed = deepcopy(plain)
    for key, new in keys.items():
        table, _, name = key.rpartition(".")
        new_table, _, new_name = new.rpartition(".")
        values = _table(renamed, table)
        if name in values and new_name not in _table(renamed, new_table):
            _made_table(renamed, new_table)[new_name] = values.pop(name)
    cycle = _table(renamed, "cycle")
    if isinstance(strategy := cycle.get("strategy"), str):
        cycle["strategy"] = strategies.get(strategy, strategy)
    return renamed


def _made_table(plain: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the table at a dotted key, made where there is none."""
    for part in where.split("."):
        plain = plain.setdefault(part, {})
    return plain


def _table(plain: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the table at a dotted key; an empty one where there is none."""
    table: Any = plain
    for part in where.split("."):
        table = table.get(part) if isinstance(table, Mapping) else None
    return table if isinstance(table, dict) else {}
