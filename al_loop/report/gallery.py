"""The picks that the report shows as pictures: the model's boxes, and the corrected ones."""

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
from al_loop.state.stages import output_of_cycle
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes

# A report with any number of picks stays below 20 MB: 12 MB of pictures, and table rows for the rest.
CYCLES_WITH_PICTURES = 5
PICTURES_BYTES = 12_000_000


@dataclass(frozen=True)
class Card:
    """A pick with its picture.

    key: unique within the page.
    picture: data URI; None if the file cannot be read.
    predicted, corrected: None if they are not known.
    """

    pick: PickRow
    key: str
    picture: str | None
    predicted: list[DrawnBox] | None
    corrected: list[DrawnBox] | None


@dataclass(frozen=True)
class Gallery:
    """The picks of a cycle: cards with pictures, the rest for a table. problem: what is missing."""

    cards: tuple[Card, ...]
    listed: tuple[PickRow, ...]
    problem: str | None = None


def build_galleries(workspace: Workspace, cycles: Sequence[CycleRow]) -> dict[int, Gallery]:
    """Return the gallery of every cycle. The newest (they come first) get pictures while there is space."""
    labels = {image: boxes_from_json(text) for image, text in drawn_boxes(workspace.store).items()}
    galleries, space = {}, PICTURES_BYTES
    for place, cycle in enumerate(cycles):
        gallery = Gallery((), cycle.picks)
        if place < CYCLES_WITH_PICTURES and space > 0:
            gallery, space = _gallery(workspace, cycle, labels, space)
        galleries[cycle.number] = gallery
    return galleries


def _gallery(
    workspace: Workspace, cycle: CycleRow, labels: Mapping[str, Boxes], space: int
) -> tuple[Gallery, int]:
    """Return a cycle's gallery, and how many bytes of pictures may follow."""
    predictions, problem = _predictions(workspace, cycle)
    cards: list[Card] = []
    for pick in cycle.picks:
        picture = stored_thumbnail(pick.image)
        size = len(picture or "")
        if size > space:
            space = 0
            break
        space -= size
        drawn = (
            None
            if boxes is None
            else draw_boxes(boxes, cycle.settings.classes, pick.image.width, pick.image.height)
            for boxes in (predictions.get(pick.image.id), labels.get(pick.image.id))
        )
        cards.append(Card(pick, f"c{cycle.number}-{pick.rank}", picture, *drawn))
    return Gallery(tuple(cards), cycle.picks[len(cards) :], problem), space


def _predictions(workspace: Workspace, cycle: CycleRow) -> tuple[dict[str, Boxes], str | None]:
    """Return the boxes that annotators saw, by image id, and a sentence if some are missing."""
    folder = workspace.scores_dir(ScoreKey.of(cycle.settings, cycle.model_id))
    where = folder.relative_to(workspace.root)
    if not cycle.picks:
        return {}, None
    if not folder.is_dir():
        return {}, f"The model's boxes cannot be shown: {where} is missing."
    try:
        scored = shards_in(workspace, folder).load([pick.image.id for pick in cycle.picks])
    except (WorkspaceError, KeyError) as error:
        return {}, f"The model's boxes cannot be shown: {error}"
    boxes, pushed = scored.boxes_by_image(), output_of_cycle(workspace, cycle.number, "push")
    least = pushed.get("least_scores", cycle.settings.label_studio.usual_min_score)
    known = {p.image.id: boxes[p.image.id].shown(least) for p in cycle.picks if p.image.id in boxes}
    known |= dict.fromkeys(pushed.get("blind", ()), Boxes())
    missing = len(cycle.picks) - len(known)
    return known, f"{where} has no predictions for {missing} of these images." if missing else None
