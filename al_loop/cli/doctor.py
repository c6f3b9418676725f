"""al-loop doctor, al-loop pool repair"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from al_loop.core.console import Silent, Terminal, say, say_json
from al_loop.core.errors import ConfigError, DataError
from al_loop.core.files import printable
from al_loop.state.workspace import open_workspace

if TYPE_CHECKING:
    from al_loop.doctor import Diagnosis

_SHOWN = 20


@click.command()
@click.option(
    "--quick",
    is_flag=True,
    help="Do not read every byte: leaves out hashes, damage inside files, rendered sets.",
)
@click.option(
    "--deep",
    is_flag=True,
    help="Decode every photograph and load the model, too: finds damage that was stored.",
)
@click.option(
    "--server", "ask", is_flag=True, help="Also ask a labelling server of your own, with its token."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
@click.pass_obj
def doctor(start: Path | None, quick: bool, deep: bool, ask: bool, as_json: bool) -> int:
    """Examine the whole workspace and say what is wrong, with the command that mends it; exit status 1 if anything is.

    Nothing is changed; damaged and read-only workspaces are examined as far as they can be.
    """
    from al_loop.doctor import examine
    from al_loop.images.integrity import CheckDepth

    if quick and deep:
        raise ConfigError("--quick reads less, --deep reads more: give one of them")
    depth = CheckDepth.QUICK if quick else CheckDepth.DEEP if deep else CheckDepth.BYTES
    found = examine(start, Silent() if as_json else Terminal(), depth, ask=ask)
    if as_json:
        say_json(
            json.dumps({**asdict(found), "root": str(found.root), "wrong": found.count}, ensure_ascii=False)
        )
    else:
        _say(found)
    return int(found.count > 0)


def _say(found: Diagnosis) -> None:
    for note in found.notes:
        say(f"note: {printable(note)}")
    for finding in found.findings:
        say(f"WRONG  {finding.check}: {printable(finding.subject)}: {finding.problem}")
        say(f"       {finding.mend}")
    for check, count in found.more.items():
        say(f"... and {count} more of {check}")
    wrong = "1 thing is wrong" if found.count == 1 else f"{found.count} things are wrong"
    say(wrong if found.count else f"{found.root}: nothing is wrong")


@click.command()
@click.argument("photos", nargs=-1)
@click.pass_obj
def repair(start: Path | None, photos: tuple[str, ...]) -> None:
    """Store photographs again whose stored files are missing or changed: from PHOTOS (files, folders, globs), or from where they came.

    Only a file that gives the very bytes that were stored is taken.
    """
    from al_loop.images.integrity import repair_images

    workspace = open_workspace(start)
    with workspace.lock(), Terminal().progress("examine photographs") as progress:
        done = repair_images(workspace, photos, progress)
    say(f"{len(done.fixed)} photographs stored again, {len(done.lost)} cannot be")
    for file, why in done.lost[:_SHOWN]:
        say(f"  lost: {printable(file)}, {printable(why)}")
    if len(done.lost) > _SHOWN:
        say(f"  ... and {len(done.lost) - _SHOWN} more")
    if done.lost:
        raise DataError(
            "name the folder where their originals are: al-loop pool repair PHOTOS..., or restore images/ from a backup"
        )
