"""al-loop monitor, al-loop monitor calibrate"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from al_loop.core.console import Silent, Terminal, say, say_json
from al_loop.core.errors import AlLoopError, ConfigError
from al_loop.core.files import printable
from al_loop.state.workspace import open_workspace

if TYPE_CHECKING:
    from al_loop.monitor.run import Look

#: For cron and systemd: 0 is quiet, others are errors.
TRIGGERED = 10
_SHOWN = 5
_NO_INBOX = (
    "note: there is no inbox, so that nothing comes in here by itself: only al-loop pool add brings photographs. Name "
    'folders, globs or URLs in al-loop.toml, below [monitor]: inbox = ["/path/to/photographs"]'
)
_LONGEST_WAIT_S = 30 * 86_400


@click.group(invoke_without_command=True)
@click.option("--once", is_flag=True, help="Look once and end; this is also what happens without --watch.")
@click.option("--watch", metavar="TIME", help="Look again and again, as in 30s, 5m or 2h, until stopped.")
@click.option("--act", is_flag=True, help="Begin a cycle that is due, and go on with one that is under way.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each look.")
@click.option(
    "--prometheus",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the numbers to this file (for a textfile collector).",
)
@click.pass_context
def monitor(
    context: click.Context, once: bool, watch: str | None, act: bool, as_json: bool, prometheus: Path | None
) -> int:
    """Look at what comes in: is a cycle due, and why? Exit status 10 says that one is, 1 that something went wrong.

    Takes new photographs from monitor.inbox into the pool, scores them, and asks the triggers of al-loop.toml.
    """
    if context.invoked_subcommand is not None:
        return 0
    if once and watch is not None:
        raise ConfigError("--once looks once, --watch again and again: give one of them")
    seconds = None if watch is None else _seconds(watch)

    def look() -> int:
        return _look(context.obj, act=act, as_json=as_json, prometheus=prometheus)

    return look() if seconds is None else _watch(look, seconds)


def _look(start: Path | None, *, act: bool, as_json: bool, prometheus: Path | None) -> int:
    """Look once, say what was found, and return the exit status; settings are read anew."""
    from al_loop.monitor.prometheus import write_textfile
    from al_loop.monitor.run import look, to_json

    workspace = open_workspace(start)
    try:
        with workspace.lock():
            found = look(workspace, Silent() if as_json else Terminal(), act=act)
    finally:
        workspace.store.close()
    if prometheus is not None:
        write_textfile(found, workspace.config.name, prometheus)
    if as_json:
        say_json(to_json(found))
    else:
        _say(found)
    if not workspace.config.monitor.inbox:
        say(_NO_INBOX, err=as_json)
    for place in found.inbox.missing:
        say(f"error: cannot look at {place}", err=True)
    return TRIGGERED if found.triggered else int(bool(found.inbox.missing))


def _watch(look: Callable[[], int], seconds: float) -> int:
    """Look until a signal comes; what goes wrong in one look is said, and the next looks again."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    while not stop.is_set():
        try:
            look()
        except (AlLoopError, OSError) as error:  # a disk that is full now may not be later
            say(f"error: {error}", err=True)
        stop.wait(seconds)
    return 0


def _say(found: Look) -> None:
    from al_loop.images.ingest import conversion_lines

    inbox = found.inbox
    say(
        f"{found.at}  model {found.model}: {found.new_images} new images, {inbox.duplicates} known already, "
        f"{len(inbox.refused)} refused, {len(inbox.waiting)} still being written"
    )
    for line in [*conversion_lines(inbox.notes), inbox.passed_over]:
        if line:
            say(f"  {line}")
    for path, reason in inbox.refused[:_SHOWN]:
        say(f"  refused: {printable(path)} {printable(reason)}")
    if len(inbox.refused) > _SHOWN:
        say(f"  and {len(inbox.refused) - _SHOWN} more")
    for verdict in found.verdicts:
        say(f"  {'DUE  ' if verdict.due else 'quiet'}  {verdict.trigger:<8}  {verdict.reason}")
    for window in found.windows:
        if window.drifted:
            say(
                f"  most unlike in window {window.id}: {', '.join(i[:12] for i in window.strangest[:_SHOWN])}"
            )
    if found.cycle is not None:
        state = "is finished" if found.cycle.finished else "waits"
        say(f"cycle {found.cycle.number} {state}: {found.cycle.message}")
    elif found.under_way is not None:
        say(f"cycle {found.under_way} is under way: al-loop cycle")
    elif found.triggered:
        say("a cycle is due: al-loop cycle, or let the monitor begin it: al-loop monitor --act")
    elif any(v.due for v in found.verdicts):
        held = [v.reason for v in found.verdicts if v.hold]
        say(f"a cycle would be due, but {held[0] if held else 'no image of the pool is unlabelled'}")


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip())
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else 0.0
    if not 0 < seconds <= _LONGEST_WAIT_S:
        raise ConfigError(f"--watch {text}: expected a time such as 30s, 5m or 2h, of at most 30 days")
    return seconds


@monitor.command()
@click.option(
    "--trials",
    type=click.IntRange(20, 100_000),
    default=200,
    show_default=True,
    help="Windows for each number.",
)
@click.option(
    "--level",
    type=click.IntRange(1, 5),
    default=2,
    show_default=True,
    help="Of the shifts, from slight to strong.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
@click.pass_obj
def calibrate(start: Path | None, trials: int, level: int, as_json: bool) -> None:
    """Measure false alarms and power of the drift trigger on the pool's own photographs.

    Windows drawn from the pool have no shift; of shifted copies (blur, noise, light, colour, compression) they have one.
    """
    from al_loop.monitor.calibrate import calibrate as run
    from al_loop.monitor.calibrate import lines, to_json

    workspace = open_workspace(start)
    with workspace.lock():
        found = run(workspace, trials, level, Silent() if as_json else Terminal())
    if as_json:
        say_json(to_json(found))
        return
    for line in lines(found):
        say(line)
