"""Check the file of every stored image."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from al_loop.core.files import name_from_text
from al_loop.doctor.finding import CheckContext, Finding
from al_loop.images.integrity import problems
from al_loop.images.sources import is_url
from al_loop.models.gc import too_many
from al_loop.state.database.image_table import files_outside
from al_loop.state.leftovers import BATCH, images_without_row

REPAIR = "al-loop pool repair"
_RESTORE = "restore al-loop.db from a backup"


def stored(context: CheckContext) -> Iterator[Finding]:
    """Find files that are missing, changed, damaged, or of another size than in the database."""
    with context.reporter.progress("examine photographs") as progress:
        for wrong in problems(context.workspace, context.depth, progress):
            row = wrong.row
            mend = _RESTORE if wrong.kind == "size" else _repair(row.source)
            yield Finding(f"images.{wrong.kind}", f"{row.file} (from {row.source})", wrong.reason, mend)


def places(context: CheckContext) -> Iterator[Finding]:
    """Find rows that name a file outside images/, as in a workspace from another machine."""
    for name, file in files_outside(context.workspace.store):
        if not is_url(file):
            problem = f"the row of image {name[:12]} names a file outside images/"
            yield Finding("images.outside", file, problem, _RESTORE)


def without_row(context: CheckContext) -> Iterator[Finding]:
    """Find many files in images/ without a row; `leftovers` reports the few of a killed `pool add`."""
    if context.at_work is not None:
        return
    if len(list(islice(images_without_row(context.workspace), BATCH + 1))) > BATCH:
        count = sum(1 for _ in images_without_row(context.workspace))
        mend = f"al-loop pool add {shlex.quote(str(context.workspace.images))}"
        yield Finding("images.unnamed", "images/", too_many(context.workspace, count), mend)


def _repair(source: str) -> str:
    """Return the repair command, without arguments if the source still exists."""
    if not is_url(source) and Path(name_from_text(source)).is_file():
        return REPAIR
    return f"{REPAIR} PHOTOS..., with the folder of the originals, or a backup of images/"
