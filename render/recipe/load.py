"""Reading and checking a recipe file: every complaint names the key path, the value, and what is allowed."""

from __future__ import annotations

import hashlib
import re
import tomllib
import typing
from pathlib import Path
from typing import Any

import msgspec

from render.core.errors import RecipeError
from render.core.files import read_regular
from render.recipe.checks import check
from render.recipe.tables import Recipe

_MAX_BYTES = 16 << 20


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe file; raises RecipeError with file, key path, value and what is allowed."""
    try:
        table = tomllib.loads(read_regular(path, _MAX_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe; expected a TOML file, see configs/render/") from None
    except OSError as error:
        raise RecipeError(
            f"{path}: cannot be read: {error.strerror or error}; expected a TOML file"
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: cannot be read: {error}; expected a TOML file in UTF-8") from error
    except RecursionError:
        raise RecipeError(f"{path}: nested too deeply; expected a TOML file, see configs/render/") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not valid TOML: {error}; correct the file and run again") from error
    try:
        return parse_recipe(table)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}; correct the recipe and run again") from None


def parse_recipe(table: dict[str, Any]) -> Recipe:
    """Build a Recipe from plain tables; raises RecipeError with key path, value and what is allowed."""
    try:
        recipe = msgspec.convert(table, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(_explain(str(error), table)) from None
    check(recipe)
    return recipe


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of the recipe with its defaults filled in."""
    return hashlib.sha256(msgspec.json.encode(recipe)).hexdigest()


def _explain(message: str, table: dict[str, Any]) -> str:
    """msgspec's message, with the key path in front, the value found there, and the keys allowed."""
    text, _, where = message.partition(" - at `$")
    path = where.rstrip("`").lstrip(".")
    value, hint = _at(path, table)
    if unknown := re.match(r"Object contains unknown field `(.*)`", text):
        full = f"{path}.{unknown[1]}".lstrip(".")
        keys = getattr(_struct_in(hint), "__struct_fields__", ())
        return f"{full} = {_at(full, table)[0]!r}: unknown key; expected one of {', '.join(keys)}"
    if absent := re.match(r"Object missing required field `(.*)`", text):
        return f"{path}.{absent[1]}".lstrip(".") + ": expected a value, got none"
    return f"{path} = {value!r}: {_expected(text, hint)}" if path else text


def _expected(text: str, hint: Any) -> str:
    """msgspec's complaint about a value in the words of a recipe."""
    words = _words_in(hint)
    if text.startswith("Invalid enum value") and words:
        return f"expected one of {', '.join(words)}"
    if "float | object" in text:
        return "expected a number, or a distribution such as { uniform = [1, 2] }"
    if "matching regex" in text:
        return 'expected a colour such as "#c4141c"' if "#" in text else "expected printable ASCII characters"
    return text[0].lower() + text[1:]


def _at(path: str, value: Any) -> tuple[Any, Any]:
    """Value and type at a key path; "[...]" in msgspec's paths stands for any key."""
    hint: Any = Recipe
    for key, number in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        try:
            value = value[key or int(number)]
        except (KeyError, IndexError, TypeError):
            value = None
        hint = _struct_in(hint)
        if key and isinstance(hint, type(msgspec.Struct)):
            hint = typing.get_type_hints(hint).get(key)
    return value, hint


def _words_in(hint: Any) -> tuple[str, ...]:
    """The words of the Literals in a type, at any depth."""
    if typing.get_origin(hint) is typing.Literal:
        return tuple(map(str, typing.get_args(hint)))
    return tuple(word for inner in typing.get_args(hint) for word in _words_in(inner))


def _struct_in(kind: Any) -> Any:
    """The struct inside `X | None`, `tuple[X, ...]`, `dict[str, X]` or X itself."""
    inner = [struct for arg in typing.get_args(kind) if (struct := _struct_in(arg)) is not None]
    if inner:
        return inner[0]
    return kind if isinstance(kind, type(msgspec.Struct)) else None
