"""The settings that a cycle began with: kept as they were, held against what is allowed now, and replaced on request."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import msgspec
from msgspec import inspect, structs

from al_loop.core.config import FILE_NAME, Config, Section
from al_loop.core.config_errors import explain
from al_loop.core.errors import ConfigError
from al_loop.core.renamed_settings import with_new_names, with_old_names
from al_loop.core.urls import masked_in

S = TypeVar("S", bound=Section)
#: Read anew by every command: where the server is, and what computes.
LIVE = ("label_studio", "device", "gpus")
#: What a selection has been made with, which stays as it was.
SELECTION = ("classes", "name", "task", "cycle", "score.score_thr", "score.precision")


class UnreadableError(ConfigError):
    """The settings of a cycle cannot be read from the database at all."""


def thawed(text: str | bytes) -> Config:
    """Return settings that were frozen, whatever they are: an older al-loop may have allowed more.

    Raises UnreadableError for what is no table of settings.
    """
    try:
        return from_plain(msgspec.json.decode(text, type=dict[str, Any]))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UnreadableError(
            f"the settings that the cycle began with cannot be read ({error}). Give it up, and keep its labels: al-loop "
            "cycle --abandon"
        ) from None


def from_plain(plain: dict[str, Any]) -> Config:
    """Do what `thawed` does for plain data."""
    return _built(Config(classes=()), with_new_names(plain))


def hashed(settings: Config, table: str) -> dict[str, Any]:
    """Return a table of the settings as stages are known by it: with the names of 0.1, whose stages stay valid."""
    return cast(dict[str, Any], with_old_names(_plain(settings))[table])


def check(settings: Config, number: int, *, selected: bool) -> None:
    """Raise ConfigError for the first setting out of range that cycle `number` still reads.

    selected: its images are chosen, so that what they were chosen with is not read again.
    """
    plain = _plain(settings)
    if selected:
        usual = _plain(Config(classes=settings.classes))
        for key in SELECTION:
            _set(plain, key, _get(usual, key))
    try:
        msgspec.convert(plain, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"cycle {number} began with {explain(str(error), plain, Config)}. Correct it in {FILE_NAME}, then: "
            "al-loop cycle --refreeze. Or give the cycle up and keep its labels: al-loop cycle --abandon"
        ) from None


@dataclass(frozen=True)
class Refrozen:
    """settings: what the cycle goes on with.  changed, kept: key and two values, of those that were taken and those not."""

    settings: Config
    changed: tuple[str, ...]
    kept: tuple[str, ...]


def refrozen(frozen: Config, now: Config, *, selected: bool) -> Refrozen:
    """Return the settings of al-loop.toml for a cycle that is under way; of one whose images are chosen, those for later stages."""
    plain, current, changed, kept = _plain(frozen), masked_in(_plain(now)), list[str](), list[str]()
    for key in _keys(Config):
        old, new = _get(plain, key), _get(current, key)
        if _same(old, new) or key.split(".")[0] in LIVE:
            continue
        if selected and any(key == stays or key.startswith(f"{stays}.") for stays in SELECTION):
            kept.append(f"{key} = {old!r} stays; al-loop.toml says {new!r}")
            continue
        _set(plain, key, new)
        changed.append(f"{key}: {old!r} → {new!r}")
    return Refrozen(from_plain(plain), tuple(changed), tuple(kept))


def _built(usual: S, plain: dict[str, Any]) -> S:
    """Return a struct of plain data without a check of any value; `usual` has what is not there, what is unknown is left out."""
    made = copy(usual)  # not made anew: that would check which of its fields go together
    for field in structs.fields(usual):
        value = plain.get(field.encode_name, msgspec.UNSET)
        if value is msgspec.UNSET:
            continue
        own = getattr(usual, field.name)
        if isinstance(own, Section):
            value = _built(own, value) if isinstance(value, dict) else own
        structs.force_setattr(made, field.name, tuple(value) if isinstance(value, list) else value)
    return made


def _plain(settings: Config) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(settings)
    return found


def _keys(kind: type[Section], before: str = "") -> Iterator[str]:
    for field in structs.fields(kind):
        inner = inspect.type_info(field.type)
        if isinstance(inner, inspect.StructType):
            yield from _keys(field.type, f"{before}{field.name}.")
        else:
            yield f"{before}{field.name}"


def _get(plain: dict[str, Any], key: str) -> Any:
    found: Any = plain
    for part in key.split("."):
        found = found[part]
    return found


def _set(plain: dict[str, Any], key: str, value: Any) -> None:
    *tables, last = key.split(".")
    for part in tables:
        plain = plain[part]
    plain[last] = value


def _same(old: Any, new: Any) -> bool:
    """As plain data: infinity is kept as null, and a list may have been a tuple."""
    return bool(msgspec.json.encode(old) == msgspec.json.encode(new))
