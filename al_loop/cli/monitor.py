"""al-loop monitor, al-loop monitor calibrate"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from al_loop.cli.renamed import refused_option
from al_loop.core.console import Silent, Terminal, say, say_json
from al_loop.core.errors import AlLoopError, ConfigError
from al_loop.core.files import printable
from al_loop.state.workspace import open_workspace

if TYPE_CHECKING:
    from al_loop.monitor.inbox import InboxReport
    from al_loop.monitor.run import CheckResult

#: Exit status where a cycle is due, for cron and systemd; 0: none is, others: an error.
TRIGGERED = 10
_SHOWN = 5
_NO_INBOX = (
    "note: there is no inbox: only al-loop pool add brings photographs. Name folders, globs or URLs in al-loop.toml, below "
    '[monitor]: inbox = ["/path/to/photographs"]'
)
_LONGEST_WAIT_S = 30 * 86_400


@click.group(invoke_without_command=True)
@refused_option("--once", "is not needed: without --watch, the monitor checks once")
@click.option("--watch", metavar="TIME", help="Check repeatedly, as in 30s, 5m or 2h, until stopped.")
@click.option("--act", is_flag=True, help="Begin a cycle that is due, and go on with one that is under way.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each check.")
@click.option(
    "--prometheus",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the numbers to this file, for a textfile collector.",
)
@click.pass_context
def monitor(
    context: click.Context, watch: str | None, act: bool, as_json: bool, prometheus: Path | None
) -> int:
    """Check once whether a cycle is due, and why. Exit status 10: one is due; 1: an error.

    Takes new photographs from monitor.inbox into the pool, scores them, and evaluates the triggers of
    al-loop.toml.
    """
    if context.invoked_subcommand is not None:
        return 0
    seconds = None if watch is None else _seconds(watch)

    def check() -> int:
        return _check(context.obj, act=act, as_json=as_json, prometheus=prometheus)

    return check() if seconds is None else _watch(check, seconds)


def _check(start: Path | None, *, act: bool, as_json: bool, prometheus: Path | None) -> int:
    """Check once, print the result, and return the exit status; settings are read each time."""
    from al_loop.monitor.prometheus import write_textfile
    from al_loop.monitor.run import check, to_json

    workspace = open_workspace(start)
    try:
        with workspace.lock():
            result = check(workspace, Silent() if as_json else Terminal(), act=act)
    finally:
        workspace.store.close()
    if prometheus is not None:
        write_textfile(result, workspace.config.name, prometheus)
    if as_json:
        say_json(to_json(result))
    else:
        _say(result)
    if not workspace.config.monitor.inbox:
        say(_NO_INBOX, err=as_json)
    for place in result.inbox.missing:
        say(f"error: cannot look at {place}", err=True)
    return TRIGGERED if result.triggered else int(bool(result.inbox.missing))


def _watch(check: Callable[[], int], seconds: float) -> int:
    """Check until SIGTERM; an error in one check is printed, and the next check runs."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    while not stop.is_set():
        try:
            check()
        except (AlLoopError, OSError) as error:  # a disk that is full now may not be later
            say(f"error: {error}", err=True)
        stop.wait(seconds)
    return 0


def _say(result: CheckResult) -> None:
    say(
        f"{result.at}  model {result.model}: {result.new_images} new images, {result.inbox.duplicates} known already, "
        f"{len(result.inbox.refused)} refused, {len(result.inbox.waiting)} still being written"
    )
    _say_inbox(result.inbox)
    for verdict in result.verdicts:
        say(f"  {'DUE  ' if verdict.due else 'quiet'}  {verdict.trigger:<8}  {verdict.reason}")
    for window in result.windows:
        if window.drifted:
            names = ", ".join(name[:12] for name in window.strangest[:_SHOWN])
            say(f"  most unlike in window {window.id}: {names}")
    if (outcome := _outcome(result)) is not None:
        say(outcome)


def _say_inbox(inbox: InboxReport) -> None:
    from al_loop.images.ingest import conversion_lines

    for line in [*conversion_lines(inbox.notes), inbox.passed_over]:
        if line:
            say(f"  {line}")
    for path, reason in inbox.refused[:_SHOWN]:
        say(f"  refused: {printable(path)} {printable(reason)}")
    if len(inbox.refused) > _SHOWN:
        say(f"  and {len(inbox.refused) - _SHOWN} more")


def _outcome(result: CheckResult) -> str | None:
    """Return the last line: the cycle that was begun, is under way or is due; None where none is."""
    if result.cycle is not None:
        state = "is finished" if result.cycle.finished else "waits"
        return f"cycle {result.cycle.number} {state}: {result.cycle.message}"
    if result.under_way is not None:
        return f"cycle {result.under_way} is under way: al-loop cycle"
    if result.triggered:
        return "a cycle is due: al-loop cycle, or let the monitor begin it: al-loop monitor --act"
    if any(verdict.due for verdict in result.verdicts):
        held = [verdict.reason for verdict in result.verdicts if verdict.hold]
        return f"a cycle would be due, but {held[0] if held else 'no image of the pool is unlabelled'}"
    return None


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
    help="Number of windows for each measurement.",
)
@click.option(
    "--level",
    type=click.IntRange(1, 5),
    default=2,
    show_default=True,
    help="Strength of the corruptions, from slight to strong.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
@click.pass_obj
def calibrate(start: Path | None, trials: int, level: int, as_json: bool) -> None:
    """Measure false alarms and power of the drift trigger on the photographs of the pool.

    Windows drawn from the pool have no shift; windows of corrupted copies (blur, noise, light, colour,
    compression) have one.
    """
    from al_loop.monitor.calibrate import calibrate as run
    from al_loop.monitor.calibrate import lines, to_json

    workspace = open_workspace(start)
    with workspace.lock():
        calibration = run(workspace, trials, level, Silent() if as_json else Terminal())
    if as_json:
        say_json(to_json(calibration))
        return
    for line in lines(calibration):
        say(line)
