"""Moved workspaces, two workspaces in one browser, classes that look like templates."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from support.annotation_page import AnnotationPage, chromium, needs_chromium
from support.labelling_tasks import Running, block_tasks, fetch_tasks, push_cycle, send_tasks

from al_loop.cli import cli
from al_loop.labelling import sync
from al_loop.labelling.check import check_images
from al_loop.labelling.open_tasks import queue_address
from al_loop.labelling.server import process, server, server_state
from al_loop.labelling.tasks.project import (
    check_labels,
    ensure_project,
    labelling_config,
    read_labels,
)
from al_loop.state.workspace import Workspace, open_workspace

pytestmark = pytest.mark.server


def log_in(browser: httpx.Client, info: server.ServerInfo) -> None:
    page = f"{info.url}/user/login/"
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', browser.get(page).text)
    assert token is not None
    form = {"email": info.email, "password": info.password, "csrfmiddlewaretoken": token[1]}
    assert browser.post(page, data=form, headers={"Referer": page}).status_code == 302


def test_two_workspaces_in_one_browser(label_studio: Running, tmp_path: Path) -> None:
    """With one cookie jar, as in a browser, a login on the second server keeps that on the first."""
    home = tmp_path / "label-studio"
    try:
        both = [label_studio.info, server.start(home)]
        with httpx.Client(trust_env=False) as browser:
            for info in both:
                log_in(browser, info)
            for info in both:
                assert browser.get(f"{info.url}/api/current-user/whoami").json()["email"] == info.email
                names = [c.name for c in browser.cookies.jar if c.name.startswith(("session", "csrf"))]
        assert len(set(names)) == 4
    finally:
        server.stop(home)


def al_loop(workspace: Workspace, *args: str) -> str:
    """What a command prints."""
    command = ["-w", str(workspace.root), "label-studio", *args]
    return CliRunner().invoke(cli, command, standalone_mode=False).output


def seen(home: Path, images: list[str]) -> list[int]:
    """Status codes that a person's browser gets for the images."""
    info = server.running_server(home)
    with httpx.Client(trust_env=False, base_url=info.url) as browser:
        log_in(browser, info)
        return [browser.get(image).status_code for image in images]


def test_a_workspace_that_is_moved_while_people_label(filled: Workspace, tmp_path: Path) -> None:
    """After a move with the server stopped, and one with it running, annotators see every image."""
    places = [filled.server_home, tmp_path / "moved" / "label-studio", tmp_path / "again" / "label-studio"]
    try:
        server.start(places[0])
        project, _ = push_cycle(filled)
        with server.running_server(places[0]).connection.open() as api:
            images = [task["data"]["image"] for task in api.tasks(project, whole=False)]
        assert seen(places[0], images) == [200, 200]
        server.stop(places[0])
        filled.store.close()
        filled.root.rename(places[1].parent)
        server.start(places[1])
        assert seen(places[1], images) == [200, 200]

        before = server_state.status(places[1])
        places[1].parent.rename(places[2].parent)
        workspace = open_workspace(places[2].parent)
        after = server.start(places[2])
        assert after.pid != before.pid
        assert process.command_line(before.pid or 0) == ""  # the server of the old place
        assert seen(places[2], images) == [200, 200]
        assert [finding.fix for finding in check_images(workspace, 1)] == [""]

        # The address of a push may be another server's by now, as in a copy.
        pushed = {"server": "embedded", "project_id": 1, "view_id": 2, "queue_url": "http://127.0.0.1:9/old"}
        assert queue_address(workspace, pushed) == f"{after.url}/projects/1/data?tab=2&labeling=1"
        shutil.copytree(workspace.root, tmp_path / "copy", ignore=shutil.ignore_patterns("data"))
        assert queue_address(open_workspace(tmp_path / "copy"), pushed) is None
        assert queue_address(workspace, pushed | {"server": "https://labels"}) == "http://127.0.0.1:9/old"

        shutil.rmtree(places[2] / "media")
        (finding,) = check_images(workspace, 1)
        assert "2 are not shown to annotators" in finding.fix
        assert "al-loop label-studio check --repair" in finding.fix
        assert "FIX  the images of 2 of 2 open tasks of cycle 1" in al_loop(workspace, "check")
        assert "ok   the images of 2 of 2 open tasks of cycle 1" in al_loop(workspace, "check", "--repair")
        assert seen(places[2], images) == [200, 200]

        shutil.rmtree(places[2] / "media")
        sync.pull_labels(workspace, 1, "embedded", sync.known_project(workspace) or 0)
        assert seen(places[2], images) == [200, 200]  # as `al-loop cycle` asks for labels
    finally:
        for place in places:
            server.stop(place)


def test_the_login_is_printed_when_it_is_made(workspace: Workspace) -> None:
    try:
        first, again = al_loop(workspace, "start"), al_loop(workspace, "start")
        password = server.running_server(workspace.server_home).password
    finally:
        server.stop(workspace.server_home)
    assert password in first
    assert password not in again
    assert str(workspace.server_home / "credentials.json") in again


NAMES = ("$price", "US$5 {x}", "{{ $a }}", "a&b<c>\"d'", "x, y; z", "\u05d0\u05d1\u05d2", "\N{NUT AND BOLT}")


def test_a_config_shows_and_returns_any_class() -> None:
    config = labelling_config(NAMES)
    assert read_labels(config)["label"] == list(NAMES)
    check_labels(1, config, NAMES)
    shown = re.findall(r'<Label value="([^"]*)"', config)
    # What Label Studio's page would replace by a field of the task.
    assert not [value for value in shown if re.search(r"\$[\w[\].{}]", value)]
    assert "$\N{WORD JOINER}price" in shown


@needs_chromium
def test_classes_that_look_like_templates_in_the_browser(label_studio: Running, tmp_path: Path) -> None:
    connection = label_studio.info.connection
    project = ensure_project(connection, "templates", NAMES)
    some = block_tasks(tmp_path, 1)
    queue = send_tasks(connection, project, some, label_studio.images, classes=NAMES).queue_url

    def pulled() -> Any:
        return fetch_tasks(connection, project, some, classes=NAMES)[0]

    with chromium() as browser:
        annotator = AnnotationPage.log_in(
            browser, label_studio.info.url, label_studio.info.email, label_studio.info.password
        )
        annotator.page.goto(queue)
        annotator.open(pulled().task_id, boxes=2)
        said = annotator.page.inner_text("body").replace("\N{WORD JOINER}", "")
        assert [name for name in NAMES if name not in said] == []
        annotator.page.keyboard.press("1")  # "$price"
        annotator.drag((20, 300), (120, 380))
        annotator.wait_for(boxes=3)
        annotator.submit()
    # The model's two as they were, and the new one.
    assert pulled().boxes.labels.tolist() == [0, 1, 0]
