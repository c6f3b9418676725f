"""Files that ship with al-loop: model configs, recipes, the labelling config."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def resource(relative: str) -> Path:
    """Return the path of a shipped file or folder, such as ``configs/model/small.py``.

    A wheel has a copy inside the package; in a checkout they are beside it.
    """
    for root in (_PACKAGE / "_resources", _PACKAGE.parent):
        path = root / relative
        if path.exists():
            return path
    raise FileNotFoundError(f"{relative} does not ship with this installation of al-loop")
