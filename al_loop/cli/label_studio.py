"""al-loop label-studio ..."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from al_loop.core.console import say
from al_loop.core.errors import LabelStudioError
from al_loop.state.workspace import open_workspace


@click.group("label-studio")
def label_studio() -> None:
    """The embedded labelling server of this workspace, on this machine only."""


@label_studio.command()
@click.pass_obj
def start(start: Path | None) -> None:
    """Start the server and print its address, the first time with the login; does nothing more where it runs already."""
    from al_loop.labelling.server.credentials import FILE_NAME, have_credentials
    from al_loop.labelling.server.server import start as start_server

    workspace = open_workspace(start)
    known = have_credentials(workspace.server_home)
    info = start_server(
        workspace.server_home,
        port=workspace.config.label_studio.port,
        on_progress=say,
    )
    say(f"Label Studio runs at {info.url}")
    say(f"login: {info.email}")
    where = workspace.server_home / FILE_NAME
    say(f"password: in {where}" if known else f"password: {info.password} (said once; it is in {where})")


@label_studio.command()
@click.pass_obj
def stop(start: Path | None) -> None:
    """Stop the server."""
    from al_loop.labelling.server.server import stop as stop_server

    workspace = open_workspace(start)
    say("stopped" if stop_server(workspace.server_home) else "it was not running")


@label_studio.command()
@click.pass_obj
def status(start: Path | None) -> None:
    """Say whether the server runs, and where."""
    from al_loop.labelling.server.server_state import status as server_status

    workspace = open_workspace(start)
    found = server_status(workspace.server_home)
    if not found.running:
        say("not running. Start it: al-loop label-studio start")
    else:
        say(f"running at {found.url} (process {found.pid}){'' if found.answers else ', does not answer'}")
    say(f"log: {found.log}")


@label_studio.command("new-project")
@click.option(
    "--yes", is_flag=True, help="Also where unfinished or refused answers are lost with the old project."
)
@click.pass_obj
def new_project(start: Path | None, yes: bool) -> None:
    """Begin another project with the next push, after the old one was deleted; its answers are pulled first."""
    from al_loop.loop.recovery import restart_labelling

    workspace = open_workspace(start)
    with workspace.lock():
        say(restart_labelling(workspace, anyway=yes))


@label_studio.command("open")
@click.pass_obj
def open_browser(start: Path | None) -> None:
    """Show the server in the browser."""
    from al_loop.labelling.server.server import running

    info = running(open_workspace(start).server_home)
    say(f"{info.url}, login: {info.email}")
    if not webbrowser.open(info.url):
        say("no browser was found here: open the address yourself")


@label_studio.command()
@click.option(
    "--lines",
    type=click.IntRange(1, 1_000_000),
    default=50,
    show_default=True,
    help="How many, from the end.",
)
@click.pass_obj
def logs(start: Path | None, lines: int) -> None:
    """Print the end of the server's log."""
    from al_loop.labelling.server.server_state import last_lines
    from al_loop.labelling.server.server_state import status as server_status

    log = server_status(open_workspace(start).server_home).log
    if not log.is_file():
        raise LabelStudioError(f"there is no log at {log} yet. Start the server: al-loop label-studio start")
    for line in last_lines(log, lines):
        say(line)


@label_studio.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def backup(start: Path | None, file: Path) -> None:
    """Write everything that people have labelled, and the logins, to FILE (.tar.gz); the server may run."""
    from al_loop.labelling.server.backup import back_up

    workspace = open_workspace(start)
    path = back_up(workspace.server_home, file)
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB. It holds the logins: keep it to yourself")


@label_studio.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.pass_obj
def restore(start: Path | None, file: Path) -> None:
    """Put the backup FILE in the place of the server, which must be stopped; what was there is kept."""
    from al_loop.labelling.server.backup import restore as repair_images

    kept = repair_images(open_workspace(start).server_home, file)
    say(f"restored{f'; what was there is in {kept}' if kept else ''}")
    say("next: al-loop label-studio start")


@label_studio.group()
def user() -> None:
    """People who label."""


@user.command("add")
@click.argument("email")
@click.pass_obj
def add_user(start: Path | None, email: str) -> None:
    """Make an annotator with the address EMAIL, and print the password, once."""
    from al_loop.labelling.server.server import running
    from al_loop.labelling.server.users import add_user as make

    info = running(open_workspace(start).server_home)
    password = make(info, email)
    say(f"address: {info.url}")
    say(f"login: {email}")
    say(f"password: {password}")


@label_studio.command()
@click.option(
    "--repair",
    is_flag=True,
    help="Show the images of open tasks again, from where they lie now, before asking.",
)
@click.pass_obj
def check(start: Path | None, repair: bool) -> int:
    """Ask the server of al-loop.toml for what a cycle needs, and for the images of open tasks; status 1 if anything is wrong."""
    from al_loop.labelling.backend import connect
    from al_loop.labelling.check import check_images, inspect
    from al_loop.loop.cycle_record import open_cycle_number

    workspace = open_workspace(start)
    found = inspect(*connect(workspace))
    number = open_cycle_number(workspace)
    if number is not None:
        found += check_images(workspace, number, repair=repair)
    for item in found:
        say(f"FIX  {item.what}: {item.fix}" if item.fix else f"ok   {item.what}")
    return int(any(item.fix for item in found))
