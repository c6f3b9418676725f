"""al-loop predict"""

from __future__ import annotations

import time
from pathlib import Path

import click

from al_loop.cli.output import say_files
from al_loop.cli.parameters import FILE, FOLDER, with_workspace
from al_loop.core.console import Terminal, say
from al_loop.core.errors import DataError
from al_loop.state.workspace import Workspace


@click.command()
@click.argument("photos", nargs=-1, required=True)
@click.option("--out", type=FILE, help="Write the boxes to this file: COCO JSON, each box with its score.")
@click.option("--overlays", type=FOLDER, help="Write each photograph with its boxes drawn here, as JPEG.")
@click.option("--model", "model_id", help="Model.  [default: the current one]")
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    help="Lowest score of a box.",
)
@with_workspace
def predict(
    workspace: Workspace,
    photos: tuple[str, ...],
    out: Path | None,
    overlays: Path | None,
    model_id: str | None,
    min_score: float,
) -> None:
    """Predict PHOTOS (files, folders, globs, URLs of object stores), which need not be in the workspace.

    Files that cannot be read are listed, and the others are predicted.
    """
    from al_loop.models.prediction import Predictor, photographs_at
    from al_loop.models.written_predictions import PredictionWriter
    from al_loop.state.model_registry import current_model, get_model

    if out is None and overlays is None:
        raise click.UsageError("nothing to write: give --out FILE, --overlays FOLDER, or both")
    writer = PredictionWriter(workspace.config.classes, out, overlays)
    model = get_model(workspace, model_id) if model_id else current_model(workspace)
    (files, skipped), terminal = photographs_at(photos), Terminal()
    predictor = Predictor(workspace, model, min_score, say=terminal.line)
    began = time.monotonic()
    try:
        with terminal.progress("predict") as progress:
            for number, photo in enumerate(predictor.photos(files), start=1):
                writer.add(photo)
                progress(number, len(files))
    except KeyboardInterrupt:
        raise DataError(
            f"interrupted: the first {writer.images} of {len(files)} photographs are written. To predict "
            "all, run the same again with another --out and --overlays"
        ) from None
    finally:
        writer.close()
    seconds = time.monotonic() - began
    say(
        f"{writer.images} photographs, {writer.boxes} boxes of score {min_score:g} or more by {model.id}; "
        f"{writer.images / seconds:.1f} photographs per second"
    )
    if skipped.suffixes:
        say(f"  {skipped.line()}")
    say_files("refused", [*skipped.closed, *predictor.refused])
    if not writer.images:
        raise DataError("none of the photographs could be read")
