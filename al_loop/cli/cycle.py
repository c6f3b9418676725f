"""al-loop score, cycle, status, report, verify, reproduce"""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from al_loop.core.console import Terminal, say, say_json
from al_loop.core.errors import ConfigError
from al_loop.state.workspace import open_workspace

if TYPE_CHECKING:
    from al_loop.loop.verify import Finding


_ray = click.option(
    "--ray",
    metavar="ADDRESS",
    help="Score on a Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local for one on this machine.",
)


@click.command()
@click.option("--model", "model_id", metavar="MODEL", help="Another model than the current one.")
@_ray
@click.pass_obj
def score(start: Path | None, model_id: str | None, ray: str | None) -> None:
    """Score the images of the pool that nobody has labelled, so that the next cycle finds it done.

    What this model has scored before is left as it is; a run that was killed goes on where it stopped.

    Scores in bf16 (score.precision) may order near-ties otherwise than scores in fp32.
    """
    from al_loop.loop.pool_scoring import score_pool

    workspace = open_workspace(start)
    with workspace.lock():
        score_pool(workspace, model_id, Terminal(), ray)


@click.command()
@click.option(
    "--k", "k", type=click.IntRange(1, 1_000_000), help="Images to label; by default cycle.k of al-loop.toml."
)
@click.option(
    "--partial", is_flag=True, help="Train on what is labelled so far; the rest is for a later cycle."
)
@click.option(
    "--refreeze", is_flag=True, help="Take the settings of al-loop.toml into the cycle under way, and go on."
)
@click.option("--abandon", is_flag=True, help="Give the cycle under way up, and keep its labels.")
@_ray
@click.option(
    "--gpus",
    type=click.IntRange(1, 64),
    help="GPUs that share the training, each with its part of a batch; by default gpus of al-loop.toml.",
)
@click.pass_obj
def cycle(
    start: Path | None,
    k: int | None,
    partial: bool,
    refreeze: bool,
    abandon: bool,
    ray: str | None,
    gpus: int | None,
) -> None:
    """Run a cycle, or go on with the one under way, as far as it can go.

    Scores the pool, selects, pushes to the labelling server; once people have labelled: pulls,
    fine-tunes, evaluates, and promotes the new model if it is not worse.
    """
    from al_loop.loop import recovery
    from al_loop.loop.cycle import run_cycle

    if abandon and (k or partial or refreeze or ray or gpus):
        raise ConfigError("--abandon ends the cycle under way: give it alone")
    workspace = open_workspace(start).with_gpus(gpus)
    with workspace.lock():
        if abandon:
            number, kept = recovery.abandon(workspace, Terminal())
            say(f"cycle {number} is abandoned: {kept}\nnext: al-loop cycle")
            return
        if refreeze:
            recovery.refreeze(workspace, k, Terminal())
        result = run_cycle(workspace, k, Terminal(), incomplete=partial, ray=ray)
    if not result.finished:
        say(f"cycle {result.number} waits: {result.message}")
    else:
        say(f"cycle {result.number} is finished: {result.message}")
        say("see: al-loop report")


@click.command()
@click.pass_obj
def status(start: Path | None) -> None:
    """Say where the loop stands and what to do next."""
    from al_loop.loop.status import describe

    for line in describe(open_workspace(start)):
        say(line)


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="By default report.html in the workspace."
)
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
@click.option("--json", "as_json", is_flag=True, help="Instead of a page: what it says, for machines.")
@click.pass_obj
def report(start: Path | None, out: Path | None, show: bool, as_json: bool) -> None:
    """Write report.html: the curve, what comes in, what was picked and why, predicted and corrected boxes."""
    from al_loop.report import report_json, write_report

    workspace = open_workspace(start)
    if as_json:
        say_json(report_json(workspace))
        return
    path = write_report(workspace, out or workspace.root / "report.html")
    say(f"report: {path}")
    if show and not webbrowser.open(path.resolve().as_uri()):
        say("no browser was found here: open the file yourself")


@click.command()
@click.argument("number", type=click.IntRange(1, 2**31 - 1), metavar="CYCLE")
@click.pass_obj
def verify(start: Path | None, number: int) -> int:
    """Compute the hashes of a finished CYCLE anew and say what has changed; exit status 1 if anything has."""
    from al_loop.loop.verify import verify as run

    return _findings(run(open_workspace(start), number))


@click.command()
@click.argument("number", type=click.IntRange(1, 2**31 - 1), metavar="CYCLE")
@click.pass_obj
def reproduce(start: Path | None, number: int) -> int:
    """Select again as CYCLE did, from what its manifest names; exit status 1 if the picks differ."""
    from al_loop.loop.verify import reproduce as run

    return _findings(run(open_workspace(start), number))


def _findings(found: list[Finding]) -> int:
    for finding in found:
        say(f"{'CHANGED' if finding.changed else 'ok     '}  {finding.text}")
    return int(any(finding.changed for finding in found))
