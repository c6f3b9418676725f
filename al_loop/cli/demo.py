"""The demo: the whole loop on dice, with a simulated annotator in place of people.

Every step is a command of al-loop and can be repeated: a demo that was stopped resumes.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from al_loop.cli.parameters import EXISTING_FOLDER, FOLDER, number_option
from al_loop.cli.simulated_annotator import SimulatedAnnotator
from al_loop.core.config import FILE_NAME
from al_loop.core.console import Terminal, say
from al_loop.core.errors import AlLoopError, DataError
from al_loop.core.files import file_sha256, write_json
from al_loop.core.resources import resource
from al_loop.images import repository
from al_loop.images.coco import listed, read_coco
from al_loop.images.import_sources import add_sources
from al_loop.images.synthetic import render_set
from al_loop.images.validation_sets import add_validation
from al_loop.labelling.server.credentials import FILE_NAME as CREDENTIALS
from al_loop.labelling.server.credentials import has_credentials
from al_loop.labelling.server.server import ServerInfo, start
from al_loop.loop.cycle import run_cycle
from al_loop.models.pretrain import pretrain
from al_loop.report import write_report
from al_loop.state import model_registry
from al_loop.state.database.cycle_table import finished_cycles
from al_loop.state.database.facts import write_fact
from al_loop.state.database.image_table import pool_size
from al_loop.state.model_registry import saved_metrics
from al_loop.state.stages import output_of
from al_loop.state.workspace import Workspace, init_workspace, open_workspace
from al_loop.structures.boxes import Boxes
from render import RenderError, render_dataset

CLASSES = ("one", "two", "three", "four", "five", "six")
RENDERED_NOTE = (
    "The pool and the validation set of this demo are RENDERED images of a second, different scene, "
    "not real photographs: the numbers show that the loop works, not how well it does on your parts."
)
REAL_NOTE = "The pool and the validation set are the photographs given with --photos."


@dataclass(frozen=True)
class Sizes:
    """Numbers of rendered images: for pretraining, and as a stand-in for photographs."""

    synthetic: int = 80
    pool: int = 60
    validation: int = 30


@contextmanager
def _stage(tell: Terminal, times: dict[str, float], name: str) -> Iterator[None]:
    """Announce a stage and time it, in seconds."""
    began = time.monotonic()
    tell.line(f"\n[{sum(times.values()):5.0f} s] {name}")
    yield
    times[name] = time.monotonic() - began


def run_demo(root: Path, photos: Path | None, k: int, cycles: int, sizes: Sizes) -> None:
    """Run the loop in a workspace of its own, from rendering to the report."""
    known = (root / FILE_NAME).is_file()
    workspace = open_workspace(root) if known else init_workspace(root, CLASSES, template="demo")
    tell, times = Terminal(), dict[str, float]()
    stage = partial(_stage, tell, times)
    with workspace.lock():
        with stage("render synthetic images"):
            render_set(workspace, "dice", sizes.synthetic, 0, tell)
        with stage("collect photographs"):
            truth = _photographs(workspace, photos, sizes, tell)
        with stage("pretrain"):
            pretrain(workspace, tell)
        with stage("start the labelling server"):
            known = has_credentials(workspace.server_home)
            server = start(workspace.server_home, on_progress=tell.line)
            password = f"in {workspace.server_home / CREDENTIALS}" if known else server.password
            tell.line(f"Label Studio: {server.url}   login: {server.email}   password: {password}")
        while (number := len(finished_cycles(workspace.store)) + 1) <= cycles:
            with stage(f"cycle {number}"):
                _cycle(workspace, server, truth, k, tell)
        with stage("report"):
            report = write_report(workspace, root / "report.html")
    tell.line(f"\nAP on {'the real photographs' if photos else 'RENDERED stand-ins, not real photographs'}")
    _say_metrics(workspace, tell)
    tell.line("\nseconds by stage")
    for name, seconds in {**times, "total": sum(times.values())}.items():
        tell.line(f"  {name:<28} {seconds:6.0f}")
    tell.line(f"\nreport: {report}")
    where = workspace.server_home / CREDENTIALS
    tell.line(f"Label Studio still runs: {server.url}   login: {server.email}   password: in {where}")
    tell.line(f"stop it: al-loop --workspace {shlex.quote(str(root))} label-studio stop")


def _photographs(workspace: Workspace, photos: Path | None, sizes: Sizes, tell: Terminal) -> dict[str, Boxes]:
    """Fill pool and validation set; return the hidden truth by image id, for the annotator only."""
    folder = photos or _rendered_station(workspace, sizes, tell)
    note = REAL_NOTE if photos else RENDERED_NOTE
    write_fact(workspace.store, "pool_note", note)
    tell.line(note)
    for name in ("pool.json", "val.json"):
        if not (folder / name).is_file():
            raise DataError(
                f"--photos {folder} lacks {name}: expected pool.json, val.json (COCO) and images/"
            )
    hidden = read_coco(folder / "pool.json", CLASSES)
    added = add_sources(workspace, [str(image.path) for image in hidden.images]) if hidden.images else None
    problems = listed(hidden.problems, "pool.json") if hidden.problems else ""
    if added is None or not added.added + added.known:
        raise DataError(f"{problems}no usable photograph in {folder / 'pool.json'}")
    if problems:
        tell.line(problems.rstrip())
    add_validation(workspace, folder / "val.json")
    tell.line(
        f"{pool_size(workspace.store)} images in the pool, "
        f"{len(repository.validation(workspace))} in the validation set → images/"
    )
    return {file_sha256(image.path): image.boxes for image in hidden.images}


def _rendered_station(workspace: Workspace, sizes: Sizes, tell: Terminal) -> Path:
    """Render the stand-in for photographs and split it into pool.json and val.json."""
    folder = workspace.root / "demo" / "station"
    recipe = resource("configs/render/dice-station.toml")
    try:
        with tell.progress("render the stand-in") as progress:
            coco = render_dataset(recipe, folder, sizes.pool + sizes.validation, 1, on_progress=progress)
    except RenderError as error:
        raise DataError(str(error)) from error
    data = json.loads(coco.read_bytes())
    images = data["images"]
    for name, part in (("pool.json", images[: sizes.pool]), ("val.json", images[sizes.pool :])):
        ids = {image["id"] for image in part}
        kept = [a for a in data["annotations"] if a["image_id"] in ids]
        write_json(folder / name, {**data, "images": part, "annotations": kept})
    return folder


def _cycle(workspace: Workspace, server: ServerInfo, truth: dict[str, Boxes], k: int, tell: Terminal) -> None:
    """Run one cycle; where it waits for people, the simulated annotator labels its queue."""
    result = run_cycle(workspace, k, tell)
    if result.finished:
        return
    folder = workspace.cycle_dir(result.number) / "push"
    push: Any = output_of(workspace.store, f"cycle-{result.number}", "push", folder)
    with tell.progress("simulated annotator") as progress:
        counts = SimulatedAnnotator(server.url, server.email, server.password).annotate(
            push["project_id"],
            push["view_id"],
            truth.get,
            classes=CLASSES,
            on_progress=lambda done: progress(done, push["tasks"]),
        )
    tell.line(
        f"  simulated annotator: {counts.tasks} tasks; boxes: {counts.kept} of the model's kept or "
        f"corrected, {counts.deleted} deleted, {counts.added} added"
    )
    result = run_cycle(workspace, k, tell)
    if not result.finished:
        raise DataError(f"the simulated annotator left work undone: {result.message}")


def _say_metrics(workspace: Workspace, tell: Terminal) -> None:
    """Print the metrics of the initial model, and those before and after each cycle."""
    first = model_registry.all_models(workspace)[0]
    if initial := saved_metrics(workspace, first.id):
        tell.line(f"  M0 ({first.id}): AP {initial.ap:.3f}, AP50 {initial.ap50:.3f}")
    for row in finished_cycles(workspace.store):
        before = saved_metrics(workspace, row.model_id)
        after = saved_metrics(workspace, f"cycle-{row.number}")
        if before and after:
            tell.line(
                f"  cycle {row.number}: AP {before.ap:.3f} → {after.ap:.3f}, "
                f"AP50 {before.ap50:.3f} → {after.ap50:.3f} ({row.outcome})"
            )


@click.command()
@click.option("--photos", type=EXISTING_FOLDER, help="Folder with pool.json, val.json (COCO) and images/.")
@number_option("--k", 1_000_000, "Images per cycle.", 25)
@number_option("--cycles", 10_000, "Number of cycles.", 2)
@click.option("--workspace", type=FOLDER, help="Folder of the workspace.")
@number_option("--synthetic", 1_000_000, "Images to render for pretraining.", Sizes.synthetic)
@number_option("--pool", 1_000_000, "Images to render in place of photographs.", Sizes.pool)
@number_option("--validation", 1_000_000, "Images to render for the validation set.", Sizes.validation)
def main(photos: Path | None, k: int, cycles: int, workspace: Path | None, **sizes: int) -> None:
    """Run the whole loop on dice. A stopped demo resumes with the same command."""
    root = workspace or Path("demo-workspace") / ("photos" if photos else "rendered")
    try:
        run_demo(root.resolve(), photos, k, cycles, Sizes(**sizes))
    except AlLoopError as error:
        say(f"error: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        say("\nstopped; nothing is lost: run scripts/demo again to continue", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
