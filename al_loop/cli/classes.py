"""The option --classes: names as one line of CSV."""

from __future__ import annotations

import csv
import re
from unicodedata import normalize

from al_loop.core.errors import ConfigError

_OTHER_SEPARATORS = ";|\t\n\r"


def parse_classes(text: str) -> tuple[str, ...]:
    """Return the names of a list such as ``bolt,"nut, hexagonal"``; a name with a comma or a quote stands in quotes.

    Raises ConfigError for an empty name, quotes that do not close, and what looks like a list of another
    kind.
    """
    try:
        (names,) = csv.reader([text], strict=True, skipinitialspace=True)
    except (csv.Error, ValueError) as error:  # ValueError: a line break
        names = _lines(text, error)
    found = tuple(name.strip() for name in names)
    if not found or "" in found:
        raise ConfigError(f"--classes {text!r} has an empty name. Separate names by single commas.")
    same = {normalize("NFC", name): name for name in found}
    if len(same) < len(set(found)):
        twice = next(name for name in found if same[normalize("NFC", name)] != name)
        raise ConfigError(
            f"--classes {text!r} has {twice!r} twice, written with other code points. Name each class once."
        )
    if '"' not in text:
        _refuse_other_separators(text)
    return found


def _lines(text: str, error: Exception) -> list[str]:
    if "\n" in text or "\r" in text:
        _refuse_other_separators(text)
    raise ConfigError(
        f"--classes {text!r} is no list ({error}). Put a name with a comma or a quote into quotes, its own quotes doubled: "
        '--classes \'bolt,"nut, 1/2"""\''
    ) from None


def _refuse_other_separators(text: str) -> None:
    """A class may hold a semicolon; a list by semicolons, taken for one class, would be found out after the first labels."""
    if re.search(f"[{_OTHER_SEPARATORS}]", text):
        parts = [part.strip() for part in re.split(f"[,{_OTHER_SEPARATORS}]", text) if part.strip()]
        raise ConfigError(
            f"--classes {text!r} looks like a list by something else than commas. Write: "
            f"--classes {','.join(parts)!r}; or put a name that has such a letter into quotes: --classes '\"{parts[0]};x\"'"
        )
