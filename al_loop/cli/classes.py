"""The option --classes: names as one line of CSV."""

from __future__ import annotations

import csv
import re
from unicodedata import normalize

from al_loop.core.errors import ConfigError

_OTHER_SEPARATORS = ";|\t\n\r"


def parse_classes(text: str) -> tuple[str, ...]:
    """Return the names of a list such as ``bolt,"nut, hexagonal"``; quotes enclose a comma or a quote.

    Raises ConfigError for an empty name, unclosed quotes, and what looks like another separator.
    """
    if '"' not in text:
        _refuse_other_separators(text)
    try:
        (names,) = csv.reader([text], strict=True, skipinitialspace=True)
    except (csv.Error, ValueError) as error:  # ValueError: nothing, or a line break
        raise ConfigError(
            f"--classes {text!r} is no list ({error}). Enclose a name with a comma or a quote in quotes, and "
            'double its own quotes: --classes \'bolt,"nut, 1/2"""\''
        ) from None
    found = tuple(name.strip() for name in names)
    if not found or "" in found:
        raise ConfigError(f"--classes {text!r} has an empty name. Separate names by single commas.")
    same = {normalize("NFC", name): name for name in found}
    if len(same) < len(set(found)):
        twice = next(name for name in found if same[normalize("NFC", name)] != name)
        raise ConfigError(
            f"--classes {text!r} has {twice!r} twice, written with other code points. Name each class once."
        )
    return found


def _refuse_other_separators(text: str) -> None:
    """Raise ConfigError for `bolt;nut`, which as one class would be noticed after the first labels."""
    if re.search(f"[{_OTHER_SEPARATORS}]", text):
        parts = [part.strip() for part in re.split(f"[,{_OTHER_SEPARATORS}]", text) if part.strip()]
        raise ConfigError(
            f"--classes {text!r} looks like a list by something else than commas. Write: "
            f"--classes {','.join(parts)!r}; or enclose a name that has such a character in quotes: "
            f"--classes '\"{parts[0]};x\"'"
        )
