"""al-loop monitor, al-loop monitor calibrate"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from al_loop.cli.output import say_conversions, say_files, say_lines
from al_loop.cli.parameters import FILE, json_option, number_option, with_locked_workspace
from al_loop.cli.renamed import refused_option
from al_loop.core.console import Silent, Terminal, say, say_json
from al_loop.core.errors import AlLoopError, ConfigError
from al_loop.state.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from al_loop.monitor.run import CheckResult

#: Exit status where a cycle is due, for cron and systemd.
TRIGGERED = 10
_SHOWN = 5
_NO_INBOX = (
    "note: there is no inbox: only al-loop pool add brings photographs. Name folders, globs or URLs in "
    'al-loop.toml, below [monitor]: inbox = ["/path/to/photographs"]'
)
_LONGEST_WAIT_S = 30 * 86_400


@click.group(invoke_without_command=True)
@refused_option("--once", "is not needed: without --watch, the monitor checks once")
@click.option("--watch", metavar="TIME", help="Check repeatedly, as in 30s, 5m or 2h, until stopped.")
@click.option("--act", is_flag=True, help="Begin a cycle that is due, or continue the open one.")
@json_option
@click.option("--prometheus", type=FILE, help="Also write gauges to this file, for a textfile collector.")
@click.pass_context
def monitor(
    context: click.Context, watch: str | None, act: bool, as_json: bool, prometheus: Path | None
) -> int:
    """Check once whether a cycle is due, and why. Exit status 10: one is due; 1: an error.

    Adds new photographs from monitor.inbox to the pool, scores them, and evaluates the triggers of
    al-loop.toml.
    """
    if context.invoked_subcommand is not None:
        return 0

    def check() -> int:
        return _check(context.obj, act=act, as_json=as_json, prometheus=prometheus)

    return check() if watch is None else _watch(check, _seconds(watch))


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
        say(f"error: cannot read {place}", err=True)
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
    inbox, waiting = result.inbox, len(result.inbox.waiting)
    say(
        f"{result.at}  model {result.model}: {result.new_images} new images, "
        f"{inbox.duplicates} known already, {len(inbox.refused)} refused, {waiting} still being written"
    )
    say_conversions(inbox.notes)
    if inbox.passed_over:
        say(f"  {inbox.passed_over}")
    say_files("refused", inbox.refused, most=_SHOWN)
    for verdict in result.verdicts:
        say(f"  {'DUE    ' if verdict.due else 'not due'}  {verdict.trigger:<8}  {verdict.reason}")
    for window in result.windows:
        if window.drifted:
            names = ", ".join(name[:12] for name in window.strangest[:_SHOWN])
            say(f"  most drifted in window {window.id}: {names}")
    if outcome := _outcome(result):
        say(outcome)


def _outcome(result: CheckResult) -> str:
    """Return the last line: the cycle that was begun, is open or is due; "" for none."""
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
    return ""


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip())
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else 0.0
    if not 0 < seconds <= _LONGEST_WAIT_S:
        raise ConfigError(f"--watch {text}: expected a time such as 30s, 5m or 2h, of at most 30 days")
    return seconds


@monitor.command()
@number_option("--trials", 100_000, "Windows per measurement.", 200, least=20)
@number_option("--level", 5, "Strength of the corruptions.", 2)
@json_option
@with_locked_workspace
def calibrate(workspace: Workspace, trials: int, level: int, as_json: bool) -> None:
    """Measure false alarms and power of the drift trigger on the photographs of the pool.

    Windows drawn from the pool have no drift; windows of corrupted copies (blur, noise, light, colour,
    compression) have one.
    """
    from al_loop.monitor.calibrate import calibrate as run
    from al_loop.monitor.calibrate import lines, to_json

    calibration = run(workspace, trials, level, Silent() if as_json else Terminal())
    if as_json:
        say_json(to_json(calibration))
    else:
        say_lines(lines(calibration))
