"""Every stored photograph: is its file there, and what it was?"""

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
from al_loop.state.leftovers import BATCH, unnamed_pictures

REPAIR = "al-loop pool repair"


def stored(context: CheckContext) -> Iterator[Finding]:
    """Files that are gone, changed, no pictures, or of another size than the database says."""
    with context.reporter.progress("examine photographs") as progress:
        for wrong in problems(context.workspace, context.depth, progress):
            row = wrong.row
            mend = "restore al-loop.db from a backup" if wrong.kind == "size" else _mend(row.source)
            yield Finding(f"images.{wrong.kind}", f"{row.file} (from {row.source})", wrong.said, mend)


def places(context: CheckContext) -> Iterator[Finding]:
    """Rows that name a file outside images/: a workspace from elsewhere may name any."""
    for name, file in files_outside(context.workspace.store):
        if not is_url(file):
            yield Finding(
                "images.outside",
                file,
                f"the row of image {name[:12]} names a file outside images/",
                "restore al-loop.db from a backup",
            )


def without_row(context: CheckContext) -> Iterator[Finding]:
    """Files in images/ that no row names; those that a killed command may be writing are left alone."""
    if context.at_work is not None:
        return
    found = list(islice(unnamed_pictures(context.workspace), BATCH + 1))
    if len(found) <= BATCH:
        return  # of a killed pool add: `leftovers` says so
    count = sum(1 for _ in unnamed_pictures(context.workspace))
    again = f"al-loop pool add {shlex.quote(str(context.workspace.images))}"
    yield Finding("images.unnamed", "images/", too_many(context.workspace, count), again)


def _mend(source: str) -> str:
    """From where it came, if that is still there."""
    there = not is_url(source) and Path(name_from_text(source)).is_file()
    return (
        REPAIR
        if there
        else f"{REPAIR} PHOTOS..., with the folder where the originals are, or a backup of images/"
    )
