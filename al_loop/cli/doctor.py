"""al-loop doctor"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from al_loop.cli.parameters import json_option
from al_loop.core.console import Silent, Terminal, say, say_json
from al_loop.core.errors import ConfigError
from al_loop.core.files import printable

if TYPE_CHECKING:
    from al_loop.doctor import Diagnosis


@click.command()
@click.option("--quick", is_flag=True, help="Skip hashes, scores, rendered sets and manifests.")
@click.option("--deep", is_flag=True, help="Also decode every photograph and load the current model.")
@click.option("--server", "ask", is_flag=True, help="Also check a labelling server of your own.")
@json_option
@click.pass_obj
def doctor(start: Path | None, quick: bool, deep: bool, ask: bool, as_json: bool) -> int:
    """Check the whole workspace. List problems, each with the command that fixes it.

    Exit status 1: there are problems. Nothing is changed. Works on damaged and read-only workspaces too.
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
