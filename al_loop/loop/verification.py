"""Choose single boxes of the model for people to verify: the least certain, equally many of each class."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from uuid import uuid4

import numpy as np

from al_loop.core.console import Reporter
from al_loop.core.errors import DataError, ModelError
from al_loop.images import repository
from al_loop.images.verified import believed_verdicts
from al_loop.labelling.verification.questions import Answer, Question
from al_loop.loop.cycle_record import open_cycle_number
from al_loop.loop.pool_scoring import score_pool
from al_loop.models import evaluation
from al_loop.state import model_registry
from al_loop.state.database.pick_table import open_picks
from al_loop.state.database.verdict_table import VerdictRow, all_verdicts, delete_verdict, write_verdict
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import INITIAL
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace, now
from al_loop.structures.boxes import FloatArray, iou
from al_loop.structures.predictions import ScoredImages

#: Boxes with this IoU show the same object.
_SAME = 0.5
_MOST_PER_IMAGE = 5


def choose_questions(
    workspace: Workspace, count: int, classes: Sequence[str], reporter: Reporter
) -> list[Question]:
    """Return boxes of the current model on unlabelled images, by class and the surest first.

    They are those whose chance to be right is nearest to a half, count / C of each class, at most 5 of an
    image, one of each object. Images of an open cycle and boxes with an answer are left out.

    classes: names; () for all.
    Raises DataError for an unknown class or if no box is left, ModelError without a trained model.
    """
    names = workspace.config.classes
    if unknown := [name for name in classes if name not in names]:
        raise DataError(f"{unknown[0]!r} is no class of this workspace: expected {', '.join(names)}")
    model = model_registry.current_model(workspace)
    if model.origin == INITIAL:
        raise ModelError(f"{model.id} was not trained: it has no boxes to verify. Run: al-loop cycle")
    score_pool(workspace, model.id, reporter)
    scored = shards_in(workspace, workspace.scores_dir(ScoreKey.of(workspace.config, model.id))).load()
    scored = scored.intersection(set(repository.unlabelled_ids(workspace)) - _picked(workspace))
    scores, labels = np.asarray(scored.scores[:], np.float64), np.asarray(scored.labels[:], np.int64)
    calibration = evaluation.box_calibration(workspace, model, reporter)
    chances = scores if calibration is None else calibration.chances(labels, scores)
    wanted = [names.index(name) for name in classes or names]
    rows = _least_certain(scored, chances, wanted, count, _answered(workspace))
    if not rows:
        raise DataError(
            f"{model.id} has no further box on an unlabelled image to verify. Add photographs: "
            "al-loop pool add PHOTOS..."
        )
    rows.sort(key=lambda row: (labels[row], -chances[row]))
    places = np.searchsorted(scored.offsets, rows, side="right") - 1
    images = repository.images_by_id(workspace, [scored.image_ids[int(i)] for i in places])
    corners = np.asarray(scored.xyxy[np.array(rows)], np.float64).tolist()
    return [
        Question(image, tuple(box), int(labels[row]), float(scores[row]))
        for image, box, row in zip(images, corners, rows, strict=True)
    ]


def _picked(workspace: Workspace) -> set[str]:
    """Return the images that an open cycle has labelled as a whole."""
    number = open_cycle_number(workspace)
    return set() if number is None else {row.image_id for row in open_picks(workspace.store, number)}


def _answered(workspace: Workspace) -> dict[str, list[FloatArray]]:
    """Return the boxes that have an answer which is believed, xyxy, by image."""
    found: dict[str, list[FloatArray]] = {}
    for row in believed_verdicts(all_verdicts(workspace.store))[0]:
        found.setdefault(row.image_id, []).append(np.array(json.loads(row.box)[:4]))
    return found


def _least_certain(
    scored: ScoredImages,
    chances: FloatArray,
    classes: Sequence[int],
    count: int,
    known: dict[str, list[FloatArray]],
) -> list[int]:
    """Return rows of boxes: equally many of each class as far as there are, the least certain ones.

    known: boxes that have an answer, by image.
    """
    wanted = np.flatnonzero(np.isin(scored.labels[:], classes))
    order = wanted[np.argsort(np.abs(chances[wanted] - 0.5), kind="stable")]
    taken = {name: list(boxes) for name, boxes in known.items()}
    of_image, of_class, rows = Counter[int](), Counter[int](), list[int]()
    for quota in (-(-count // len(classes)), count):  # then more of the classes that have more
        for row in map(int, order):
            if len(rows) == count:
                break
            label = int(scored.labels[row])
            if of_class[label] >= quota:
                continue
            place = int(np.searchsorted(scored.offsets, row, side="right")) - 1
            others = taken.setdefault(scored.image_ids[place], [])
            box = np.asarray(scored.xyxy[row], np.float64)
            asked = len(others) and iou(box[None], np.array(others)).max() >= _SAME
            if asked or of_image[place] == _MOST_PER_IMAGE:
                continue
            others.append(box)
            rows.append(row)
            of_image[place] += 1
            of_class[label] += 1
    return rows


class Session:
    """Answers between start and end of the page. They are stored at once."""

    def __init__(self, workspace: Workspace, questions: Sequence[Question]) -> None:
        self._workspace, self._questions = workspace, questions
        self._model = model_registry.current_model(workspace).id
        self._name = uuid4().hex

    def answer(self, number: int, answer: Answer | None) -> None:
        """Store the answer to a question. None takes it back."""
        question, store = self._questions[number], self._workspace.store
        box = json.dumps([*question.box, question.label])
        if answer is None:
            delete_verdict(store, question.image.id, box)
            return
        label = question.label if answer.label is None else answer.label
        row = VerdictRow(
            question.image.id, box, self._model, question.score, answer.verdict, label, self._name,
            answer.seconds, now(),
        )  # fmt: skip
        write_verdict(store, row)
