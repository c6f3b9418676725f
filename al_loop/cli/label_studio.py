"""al-loop label-studio ..."""

from __future__ import annotations

from pathlib import Path

import click

from al_loop.cli.output import say_lines, show_in_browser
from al_loop.cli.parameters import EXISTING_FILE, FILE, number_option, with_locked_workspace, with_workspace
from al_loop.core.console import say
from al_loop.core.errors import LabelStudioError
from al_loop.state.workspace import Workspace


@click.group("label-studio")
def label_studio() -> None:
    """The embedded labelling server of this workspace, on this machine only."""


@label_studio.command()
@with_workspace
def start(workspace: Workspace) -> None:
    """Start the server and print its address; the first time also the login. Safe to repeat."""
    from al_loop.labelling.server.credentials import FILE_NAME, has_credentials
    from al_loop.labelling.server.server import start as start_server

    home = workspace.server_home
    known = has_credentials(home)
    info = start_server(home, port=workspace.config.label_studio.port, on_progress=say)
    say(f"Label Studio runs at {info.url}")
    say(f"login: {info.email}")
    where = home / FILE_NAME
    say(f"password: in {where}" if known else f"password: {info.password} (shown once; it is in {where})")


@label_studio.command()
@with_workspace
def stop(workspace: Workspace) -> None:
    """Stop the server."""
    from al_loop.labelling.server.server import stop as stop_server

    say("stopped" if stop_server(workspace.server_home) else "it was not running")


@label_studio.command()
@with_workspace
def status(workspace: Workspace) -> None:
    """Print whether the server runs, and where."""
    from al_loop.labelling.server.server_state import status as server_status

    found = server_status(workspace.server_home)
    if not found.running:
        say("not running. Start it: al-loop label-studio start")
    else:
        say(f"running at {found.url} (process {found.pid}){'' if found.answers else ', does not answer'}")
    say(f"log: {found.log}")


@label_studio.command("new-project")
@click.option("--yes", is_flag=True, help="Continue even if answers are lost with the old project.")
@with_locked_workspace
def new_project(workspace: Workspace, yes: bool) -> None:
    """Make the next push create a new project. Submitted answers are pulled first."""
    from al_loop.loop.recovery import restart_labelling

    say(restart_labelling(workspace, anyway=yes))


@label_studio.command("open")
@with_workspace
def open_browser(workspace: Workspace) -> None:
    """Open the server in the browser."""
    from al_loop.labelling.server.server import running_server

    info = running_server(workspace.server_home)
    say(f"{info.url}, login: {info.email}")
    show_in_browser(info.url)


@label_studio.command()
@number_option("--lines", 1_000_000, "Number of lines.", 50)
@with_workspace
def logs(workspace: Workspace, lines: int) -> None:
    """Print the end of the server's log."""
    from al_loop.labelling.server.server_state import last_lines
    from al_loop.labelling.server.server_state import status as server_status

    log = server_status(workspace.server_home).log
    if not log.is_file():
        raise LabelStudioError(f"there is no log at {log} yet. Start the server: al-loop label-studio start")
    say_lines(last_lines(log, lines))


@label_studio.command()
@click.argument("file", type=FILE)
@with_workspace
def backup(workspace: Workspace, file: Path) -> None:
    """Write all labels and logins to FILE (.tar.gz). The server may run."""
    from al_loop.labelling.server.backup import back_up

    path = back_up(workspace.server_home, file)
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB. It contains the logins: keep it private")


@label_studio.command("restore")
@click.argument("file", type=EXISTING_FILE)
@with_workspace
def restore_backup(workspace: Workspace, file: Path) -> None:
    """Replace the data of the stopped server with the backup FILE. The old data is kept."""
    from al_loop.labelling.server.backup import restore

    kept = restore(workspace.server_home, file)
    say(f"restored{f'; what was there is in {kept}' if kept else ''}")
    say("next: al-loop label-studio start")


@label_studio.group()
def user() -> None:
    """Annotators."""


@user.command("add")
@click.argument("email")
@with_workspace
def add(workspace: Workspace, email: str) -> None:
    """Create an annotator with the address EMAIL and print the password, once."""
    from al_loop.labelling.server.server import running_server
    from al_loop.labelling.server.users import add_user

    info = running_server(workspace.server_home)
    password = add_user(info, email)
    say_lines([f"address: {info.url}", f"login: {email}", f"password: {password}"])


@label_studio.command()
@click.option("--repair", is_flag=True, help="First make the server show the images of open tasks again.")
@with_workspace
def check(workspace: Workspace, repair: bool) -> int:
    """Check the configured server and the images of open tasks. Exit status 1: there are problems."""
    from al_loop.labelling.backend import connect
    from al_loop.labelling.check import check_images, check_server
    from al_loop.loop.cycle_record import open_cycle_number

    found = check_server(*connect(workspace))
    number = open_cycle_number(workspace)
    if number is not None:
        found += check_images(workspace, number, repair=repair)
    say_lines(f"FIX  {item.what}: {item.fix}" if item.fix else f"ok   {item.what}" for item in found)
    return int(any(item.fix for item in found))
