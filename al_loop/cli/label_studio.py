"""al-loop label-studio ..."""

from __future__ import annotations

from pathlib import Path

import click

from al_loop.workspace import open_workspace


@click.group("label-studio")
def label_studio() -> None:
    """The embedded labelling server of this workspace, on this machine only."""


@label_studio.command()
@click.pass_obj
def start(start: Path | None) -> None:
    """Start the server, print its address and login; does nothing more where it runs already."""
    from al_loop.labelling.server import start as start_server

    workspace = open_workspace(start)
    info = start_server(
        workspace.server_home,
        port=workspace.config.label_studio.port,
        on_progress=click.echo,
    )
    click.echo(f"Label Studio runs at {info.url}")
    click.echo(f"login: {info.email}")
    click.echo(f"password: {info.password}")


@label_studio.command()
@click.pass_obj
def stop(start: Path | None) -> None:
    """Stop the server."""
    from al_loop.labelling.server import stop as stop_server

    workspace = open_workspace(start)
    click.echo("stopped" if stop_server(workspace.server_home) else "it was not running")


@label_studio.command()
@click.pass_obj
def status(start: Path | None) -> None:
    """Say whether the server runs, and where."""
    from al_loop.labelling.server import status as server_status

    workspace = open_workspace(start)
    found = server_status(workspace.server_home)
    if not found.running:
        click.echo("not running. Start it: al-loop label-studio start")
    else:
        click.echo(
            f"running at {found.url} (process {found.pid}){'' if found.answers else ', does not answer'}"
        )
    click.echo(f"log: {found.log}")


@label_studio.command("new-project")
@click.pass_obj
def new_project(start: Path | None) -> None:
    """Begin another project with the next push, after the old one was deleted."""
    from al_loop.cycle import restart_labelling

    workspace = open_workspace(start)
    with workspace.lock():
        click.echo(restart_labelling(workspace))
