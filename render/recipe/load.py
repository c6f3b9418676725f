"""Reading and checking a recipe file: every complaint names the key path, the value, and what is allowed."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from render.core.errors import RecipeError
from render.core.files import read_regular
from render.core.struct_errors import StructError, read_struct_error
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
        raise RecipeError(_explain(read_struct_error(error, table, Recipe))) from None
    check(recipe)
    return recipe


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of the recipe with its defaults filled in."""
    return hashlib.sha256(msgspec.json.encode(recipe)).hexdigest()


def _explain(problem: StructError) -> str:
    """Return key path, value found, and what is allowed."""
    if problem.unknown is not None:
        # The path of a table with keys of the user's does not say which one it is.
        table = problem.value if isinstance(problem.value, dict) else {}
        found = f" = {table[problem.unknown]!r}" if problem.unknown in table else ""
        keys = ", ".join(problem.keys)
        return f"{problem.below(problem.unknown)}{found}: unknown key; expected one of {keys}"
    if problem.missing is not None:
        return f"{problem.below(problem.missing)}: expected a value, got none"
    return f"{problem.path} = {problem.value!r}: {_expected(problem)}" if problem.path else problem.text


def _expected(problem: StructError) -> str:
    """Return msgspec's words about a value in the words of a recipe."""
    text, words = problem.text, problem.choices
    if text.startswith("Invalid enum value") and words:
        return f"expected one of {', '.join(words)}"
    if "float | object" in text:
        return "expected a number, or a distribution such as { uniform = [1, 2] }"
    if "matching regex" in text:
        return 'expected a colour such as "#c4141c"' if "#" in text else "expected printable ASCII characters"
    return text[0].lower() + text[1:]
