"""Two models side by side, in words: how far apart, how sure, and on which images."""

from __future__ import annotations

from pathlib import Path

from al_loop import library, modelling, models
from al_loop.boxes import Boxes
from al_loop.console import Reporter
from al_loop.counts import all_right
from al_loop.workspace import Workspace

#: Images that are named; the rest are counted.
_NAMED = 8


def differing(workspace: Workspace, first: str, second: str, reporter: Reporter) -> list[str]:
    """Lines about model `first` minus model `second` on the validation set."""
    a, b = models.get_model(workspace, first), models.get_model(workspace, second)
    validation = library.validation(workspace)
    apart = modelling.compare_models(workspace, a, b, library.VALIDATION, reporter)
    lines = [f"{a.id} − {b.id} on {apart.images} validation images, {apart.resamples} resamples"]
    rows = {"AP": apart.ap, "AP50": apart.ap50}
    rows |= {f"AP, {name} boxes": d for name, d in apart.by_area.items()}
    rows |= {f"AP of {name}": d for name, d in apart.per_class.items()}
    width = max(map(len, rows))
    lines += [f"  {name.ljust(width)}  {difference}" for name, difference in rows.items()]
    seen = {
        model.id: modelling.predictions(workspace, model, library.VALIDATION, reporter) for model in (a, b)
    }
    for better, worse in ((a.id, b.id), (b.id, a.id)):
        named = [
            _source(workspace, item.image.id)
            for item in validation
            if all_right(item, seen[better].get(item.image.id, Boxes()))
            and not all_right(item, seen[worse].get(item.image.id, Boxes()))
        ]
        shown = ", ".join(named[:_NAMED]) + (
            f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        )
        lines.append(f"entirely right with {better} alone: {len(named)}{': ' + shown if named else ''}")
    return lines


def _source(workspace: Workspace, image: str) -> str:
    """The name an image came in with."""
    row = workspace.store.row("SELECT source FROM images WHERE id = ?", image)
    return Path(row["source"]).name if row else image[:12]
