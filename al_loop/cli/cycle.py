"""al-loop score, cycle, status, report, verify, reproduce"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from al_loop.cli.output import say_lines, show_in_browser
from al_loop.cli.parameters import (
    FILE,
    gpus_option,
    json_option,
    number_option,
    ray_option,
    with_locked_workspace,
    with_workspace,
)
from al_loop.core.console import Terminal, say, say_json
from al_loop.core.errors import ConfigError
from al_loop.state.workspace import Workspace

if TYPE_CHECKING:
    from al_loop.evaluation.detection_counts import CountRuleName
    from al_loop.loop.finding import Finding

_cycle_argument = click.argument("number", type=click.IntRange(1, 2**31 - 1), metavar="CYCLE")


@click.command()
@click.option("--model", "model_id", metavar="MODEL", help="Model to score with.  [default: the current one]")
@ray_option("Score")
@with_locked_workspace
def score(workspace: Workspace, model_id: str | None, ray: str | None) -> None:
    """Score the unlabelled images of the pool, for the next cycle.

    Images that this model has scored are skipped. A killed run resumes.
    """
    from al_loop.loop.pool_scoring import score_pool

    score_pool(workspace, model_id, Terminal(), ray)


@click.command()
@number_option("--k", 1_000_000, "Images to label.  [default: cycle.k of al-loop.toml]")
@click.option("--partial", is_flag=True, help="Train on the labels so far; leave the rest to a later cycle.")
@click.option("--refreeze", is_flag=True, help="Apply the settings of al-loop.toml to the open cycle.")
@click.option("--abandon", is_flag=True, help="End the open cycle and keep its labels.")
@ray_option("Score")
@gpus_option
@with_locked_workspace
def cycle(
    workspace: Workspace,
    k: int | None,
    partial: bool,
    refreeze: bool,
    abandon: bool,
    ray: str | None,
    gpus: int | None,
) -> None:
    """Begin a cycle, or continue the open one, as far as possible.

    Score the pool, select images, push them to the labelling server. Once they are labelled: pull, fine-tune,
    evaluate, and promote the new model if it is not worse.
    """
    from al_loop.loop import recovery
    from al_loop.loop.cycle import run_cycle

    if abandon and (k or partial or refreeze or ray or gpus):
        raise ConfigError("--abandon ends the cycle under way: give it alone")
    workspace = workspace.with_gpus(gpus)
    if abandon:
        number, kept = recovery.abandon(workspace, Terminal())
        say(f"cycle {number} is abandoned: {kept}\nnext: al-loop cycle")
        return
    if refreeze:
        recovery.refreeze(workspace, k, Terminal())
    result = run_cycle(workspace, k, Terminal(), incomplete=partial, ray=ray)
    if result.finished:
        say(f"cycle {result.number} is finished: {result.message}\nsee: al-loop report")
    else:
        say(f"cycle {result.number} waits: {result.message}")


@click.command()
@with_workspace
def status(workspace: Workspace) -> None:
    """Show the state of the loop and the next command."""
    from al_loop.loop.status import describe

    say_lines(describe(workspace))


@click.command()
@click.option("--out", type=FILE, help="HTML page.  [default: report.html in the workspace]")
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--rule", type=click.Choice(["iou", "cordier", "faltings"]), default="iou", show_default=True,
    help="How boxes are matched and counted.",
)  # fmt: skip
@json_option
@with_workspace
def report(workspace: Workspace, out: Path | None, show: bool, as_json: bool, rule: CountRuleName) -> None:
    """Write an HTML report: learning curve, drift, picks with predicted and corrected boxes, models."""
    from al_loop.report import report_json, write_report

    if as_json:
        say_json(report_json(workspace, rule))
        return
    path = write_report(workspace, out or workspace.root / "report.html", rule)
    say(f"report: {path}")
    if show:
        show_in_browser(path.resolve().as_uri())


@click.command()
@_cycle_argument
@with_workspace
def verify(workspace: Workspace, number: int) -> int:
    """Compare the files of a finished CYCLE with the hashes in its manifest. Exit status 1: some differ."""
    from al_loop.loop.verify import verify as run

    return _say_findings(run(workspace, number))


@click.command()
@_cycle_argument
@with_workspace
def reproduce(workspace: Workspace, number: int) -> int:
    """Repeat the selection of CYCLE from its manifest. Exit status 1: the picks differ."""
    from al_loop.loop.verify import reproduce as run

    return _say_findings(run(workspace, number))


def _say_findings(found: list[Finding]) -> int:
    say_lines(f"{'CHANGED' if finding.changed else 'ok     '}  {finding.text}" for finding in found)
    return int(any(finding.changed for finding in found))
