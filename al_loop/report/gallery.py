"""The picks that the report shows as pictures: what the model drew, and what people made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from al_loop.core.errors import WorkspaceError
from al_loop.images.repository import boxes_from_json
from al_loop.report.data import CycleRow, PickRow
from al_loop.report.pictures import DrawnBox, draw_boxes, stored_thumbnail
from al_loop.state.database.label_table import drawn_boxes
from al_loop.state.file_hashes import shards_in
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes

# A report of any number of picks stays below 20 MB: 12 MB of pictures, and a table row for the rest.
CYCLES_WITH_PICTURES = 5
PICTURES_BYTES = 12_000_000


@dataclass(frozen=True)
class Card:
    """A pick with its picture. predicted, corrected: None where nothing is known (yet).

    key: unique within the page.  picture: data URI, or None when the file cannot be read.
    """

    pick: PickRow
    key: str
    picture: str | None
    predicted: tuple[DrawnBox, ...] | None
    corrected: tuple[DrawnBox, ...] | None


@dataclass(frozen=True)
class Gallery:
    """A cycle's picks: the first of them with pictures, the rest in a table; problem says what lacks."""

    cards: tuple[Card, ...]
    listed: tuple[PickRow, ...]
    problem: str | None = None


def build_galleries(workspace: Workspace, cycles: Sequence[CycleRow]) -> dict[int, Gallery]:
    """Return the gallery of every cycle; the newest (they come first) get pictures while there is room."""
    labels = _labels(workspace)
    galleries, room = {}, PICTURES_BYTES
    for place, cycle in enumerate(cycles):
        gallery = Gallery((), cycle.picks)
        if place < CYCLES_WITH_PICTURES and room > 0:
            gallery, room = _gallery(workspace, cycle, labels, room)
        galleries[cycle.number] = gallery
    return galleries


def _gallery(
    workspace: Workspace, cycle: CycleRow, labels: Mapping[str, Boxes], room: int
) -> tuple[Gallery, int]:
    """Return a cycle's gallery, and how many bytes of pictures there is room for after it."""
    predictions, problem = _predictions(workspace, cycle)
    classes = cycle.settings.classes
    cards: list[Card] = []
    for pick in cycle.picks:
        picture = stored_thumbnail(pick.image)
        if len(picture or "") > room:
            room = 0
            break
        room -= len(picture or "")
        width, height = pick.image.width, pick.image.height
        predicted, corrected = predictions.get(pick.image.id), labels.get(pick.image.id)
        cards.append(
            Card(
                pick,
                key=f"c{cycle.number}-{pick.rank}",
                picture=picture,
                predicted=None if predicted is None else tuple(draw_boxes(predicted, classes, width, height)),
                corrected=None if corrected is None else tuple(draw_boxes(corrected, classes, width, height)),
            )
        )
    return Gallery(tuple(cards), cycle.picks[len(cards) :], problem), room


def _predictions(workspace: Workspace, cycle: CycleRow) -> tuple[dict[str, Boxes], str | None]:
    """Return the boxes that annotators got to see, by image id, and a sentence when they are not there."""
    key = ScoreKey.of(cycle.settings, cycle.model_id)
    folder = workspace.scores_dir(key)
    where = folder.relative_to(workspace.root)
    if not cycle.picks:
        return {}, None
    if not folder.is_dir():
        return {}, f"The model's boxes cannot be shown: {where} is missing."
    try:
        scored = shards_in(workspace, folder).load([pick.image.id for pick in cycle.picks])
    except (WorkspaceError, KeyError) as error:
        return {}, f"The model's boxes cannot be shown: {error}"
    place = {name: i for i, name in enumerate(scored.image_ids)}
    known = [pick.image.id for pick in cycle.picks if pick.image.id in place]
    missing = len(cycle.picks) - len(known)
    problem = f"{where} holds no predictions for {missing} of these images." if missing else None
    min_score = cycle.settings.label_studio.min_score
    return {name: scored.boxes(place[name]).above(min_score) for name in known}, problem


def _labels(workspace: Workspace) -> dict[str, Boxes]:
    """Return what people have drawn on the pool, by image id."""
    boxes = drawn_boxes(workspace.store)
    return {image: boxes_from_json(text) for image, text in boxes.items()}
