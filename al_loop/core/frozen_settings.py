"""Settings that a cycle has frozen: kept as they are, compared with today's ranges, replaced on request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Any, TypeVar

import msgspec
from msgspec import structs

from al_loop.core.config import FILE_NAME, Config
from al_loop.core.config_errors import explain
from al_loop.core.errors import ConfigError
from al_loop.core.renamed_settings import TRAININGS, with_new_names, with_old_names
from al_loop.core.setting_types import Section
from al_loop.core.urls import masked_in

S = TypeVar("S", bound=Section)
#: Every command reads these from al-loop.toml: the server, and the hardware.
LIVE = ("label_studio", "device", "gpus")
#: Settings and tables that 0.1 did not have.
_TRAINING = ("augment", "backbone_lr", "balance", "ema", "freeze", "replay")
SINCE_0_1 = (
    *(f"{table}.{name}" for table in TRAININGS for name in _TRAINING),
    "cycle.cost",
    "cycle.near_duplicates",
    "cycle.validation_images",
)
#: A selection depends on these; they stay once its images are chosen.
SELECTION = ("classes", "name", "task", "cycle", "score.score_thr", "score.precision")


class UnreadableError(ConfigError):
    """The settings of a cycle cannot be read from the database."""


def thawed(text: str | bytes) -> Config:
    """Return frozen settings without checking values: an older al-loop may have allowed more.

    Raises UnreadableError for anything but a table of settings.
    """
    try:
        return from_plain(msgspec.json.decode(text, type=dict[str, Any]))
    except (ValueError, RecursionError) as error:
        raise UnreadableError(
            f"the settings that the cycle began with cannot be read ({error}). "
            "Give it up, and keep its labels: al-loop cycle --abandon"
        ) from None


def from_plain(plain: dict[str, Any]) -> Config:
    """Return settings from plain data, as `thawed` does."""
    return _filled(Config(classes=()), with_new_names(plain))


def hashed(settings: Config, table: str) -> dict[str, Any]:
    """Return a table of the settings for the hash of a stage, so that stages of 0.1 stay valid.

    The settings have the names of 0.1. Those that 0.1 did not have are left out at their defaults.
    """
    values, usual = (
        with_old_names(msgspec.to_builtins(config))[table] for config in (settings, Config(classes=()))
    )
    new = {key.split(".")[1] for key in SINCE_0_1 if key.startswith(f"{table}.")}
    return {name: value for name, value in values.items() if name not in new or value != usual[name]}


def check(settings: Config, number: int, *, selected: bool) -> None:
    """Raise ConfigError for the first setting out of range that cycle `number` will read.

    selected: its images are chosen, so it will not read the settings of `SELECTION` again.
    """
    plain = msgspec.to_builtins(settings)
    if selected:
        usual = msgspec.to_builtins(Config(classes=settings.classes))
        for key in SELECTION:
            names = key.split(".")
            _table_of(plain, names)[names[-1]] = _table_of(usual, names)[names[-1]]
    try:
        msgspec.convert(plain, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"cycle {number} began with {explain(error, plain, Config)}. Correct it in {FILE_NAME}, "
            "then: al-loop cycle --refreeze. Or give the cycle up and keep its labels: "
            "al-loop cycle --abandon"
        ) from None


@dataclass(frozen=True)
class Refrozen:
    """New settings of a cycle. changed, kept: key, old and new value of those replaced and those not."""

    settings: Config
    changed: tuple[str, ...]
    kept: tuple[str, ...]


def refrozen(frozen: Config, now: Config, *, selected: bool) -> Refrozen:
    """Return the settings of al-loop.toml for an open cycle.

    selected: its images are chosen, so the settings of `SELECTION` stay.
    """
    plain, current = msgspec.to_builtins(frozen), masked_in(msgspec.to_builtins(now))
    changed, kept = list[str](), list[str]()
    for names in _keys(Config):
        key, table = ".".join(names), _table_of(plain, names)
        old, new = table[names[-1]], _table_of(current, names)[names[-1]]
        # JSON has null for infinity, and lists for tuples.
        if names[0] in LIVE or msgspec.json.encode(old) == msgspec.json.encode(new):
            continue
        if selected and any(f"{key}.".startswith(f"{stays}.") for stays in SELECTION):
            kept.append(f"{key} = {old!r} stays; al-loop.toml says {new!r}")
            continue
        table[names[-1]] = new
        changed.append(f"{key}: {old!r} → {new!r}")
    return Refrozen(from_plain(plain), tuple(changed), tuple(kept))


def _filled(usual: S, plain: dict[str, Any]) -> S:
    """Return a copy of a struct with values of plain data, unchecked; unknown keys are left out."""
    filled = copy(usual)  # a new struct would check which of its fields go together
    for field in structs.fields(usual):
        default = getattr(usual, field.name)
        value = plain.get(field.name, default)
        if isinstance(default, Section):
            value = _filled(default, value) if isinstance(value, dict) else default
        structs.force_setattr(filled, field.name, tuple(value) if isinstance(value, list) else value)
    return filled


def _keys(kind: type[Section], *tables: str) -> Iterator[tuple[str, ...]]:
    """Yield the names of every setting: its tables, then its own."""
    for field in structs.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, Section):
            yield from _keys(field.type, *tables, field.name)
        else:
            yield (*tables, field.name)


def _table_of(plain: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the table that holds the setting of these names."""
    return reduce(getitem, names[:-1], plain)
