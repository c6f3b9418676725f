"""The loop's side of labelling: push the picks of a cycle, pull their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from al_loop.core.config import Config
from al_loop.core.errors import AlLoopError, LabelStudioError
from al_loop.images.repository import boxes_to_json, images_by_id, outlines_to_json, source_names
from al_loop.labelling.backend import connect, server_name
from al_loop.labelling.client.client import Connection
from al_loop.labelling.client.failures import NotFoundError
from al_loop.labelling.client.image_serving import LocalFiles
from al_loop.labelling.client.task import Agreement, Edits, OutgoingTask, PulledTask, PushResult, TaskState
from al_loop.labelling.gold import compare_gold, expected_gold, gold_of_cycle, with_gold
from al_loop.labelling.open_tasks import (
    NO_BOXES,
    PROJECT,
    batch_name,
    known_project,
    open_tasks,
    project_fact,
    task_key,
)
from al_loop.labelling.tasks import review
from al_loop.labelling.tasks.agreement import Policy
from al_loop.labelling.tasks.edits import hasty_notes
from al_loop.labelling.tasks.project import ensure_project
from al_loop.labelling.tasks.pull import LabelRules, changed_since, pull
from al_loop.labelling.tasks.push import Batch, push
from al_loop.labelling.tasks.queue_order import places
from al_loop.labelling.tasks.review import Review
from al_loop.state.database import label_table, pick_table
from al_loop.state.database.facts import forget_facts, read_fact, write_fact
from al_loop.state.database.pick_table import ExpectedPick
from al_loop.state.workspace import Workspace, now
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile
from al_loop.structures.picks import Pick
from al_loop.structures.predictions import ScoredImages


@dataclass(frozen=True)
class PullResult:
    """Result of a pull: number of tasks by state, and a message for each task that cannot be used.

    notes: a message for each task that was not taken as it is.
    edits: what people did to the model's boxes, in all finished tasks.
    actions: by image, the seconds of the answer, and how many boxes were confirmed or corrected, deleted, and
        drawn. Without answers of which the time is not known.
    disagreements: by image, the share of boxes on which several people disagree.
    agreement: of all people.
    gold: agreement of people with the known labels of gold tasks.
    awaited: number of finished tasks that further people have to answer.
    late: number of labels of earlier cycles that were added or changed since the last pull.
    """

    counts: dict[str, int]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    edits: Edits = field(default_factory=Edits)
    actions: dict[str, tuple[float, int, int, int]] = field(default_factory=dict)
    disagreements: dict[str, float] = field(default_factory=dict)
    agreement: Agreement = field(default_factory=Agreement)
    gold: Agreement = field(default_factory=Agreement)
    awaited: int = 0
    late: int = 0

    @property
    def answered(self) -> int:
        """Number of finished tasks."""
        done = (TaskState.LABELLED, TaskState.EMPTY, TaskState.SKIPPED, TaskState.DELETED)
        return sum(self.counts.get(state, 0) for state in done)

    @property
    def total(self) -> int:
        """Number of tasks."""
        return sum(self.counts.values())

    @property
    def complete(self) -> bool:
        """Whether all tasks are finished, by everybody; a refused one waits for its correction."""
        return self.answered == self.total and not self.awaited


@dataclass(frozen=True)
class Shown:
    """What people see in a batch.

    least_scores: (C,) score of each class from which they see the model's boxes.
    blind: images without these.
    gold: images of known labels, besides the picks.
    """

    least_scores: Sequence[float]
    blind: Collection[str] = ()
    gold: Sequence[str] = ()


def project(workspace: Workspace, connection: Connection) -> int:
    """Return the id of the workspace's project on a server; create it on the first call."""
    config = workspace.config
    project_id = ensure_project(
        connection,
        config.name,
        config.classes,
        known_project(workspace),
        drawn=config.drawn,
        overlap=config.label_studio.overlap,
    )
    write_fact(workspace.store, project_fact(workspace), str(project_id))
    return project_id


def forget_project(workspace: Workspace, cycle: int | None) -> None:
    """Make the next push create another project; keep the answers of the old project.

    cycle: the open cycle. Its answered picks become 'kept': they are neither pushed nor pulled again.
    """
    with workspace.store.transaction():
        forget_facts(workspace.store, PROJECT)
        pick_table.keep_answered_picks(workspace.store, cycle)


def answered_in_old_project(workspace: Workspace, cycle: int) -> set[str]:
    """Return the images of a cycle that were answered in an abandoned project."""
    return pick_table.kept_picks(workspace.store, cycle)


def push_picks(
    workspace: Workspace,
    cycle: int,
    picks: Sequence[Pick],
    scored: ScoredImages,
    model_id: str,
    seen: Shown,
) -> tuple[int, PushResult]:
    """Push picks of one batch into the labelling project, with the model's boxes; safe to repeat.

    The picks for the validation set get no boxes, which would bias their labels.
    Returns the project's id and the result of the push.
    """
    config = workspace.config
    connection, serving = connect(workspace)
    project_id = project(workspace, connection)
    validation = any(pick.validation for pick in picks)
    batch = batch_name(workspace, cycle, validation=validation)
    ids = [pick.image_id for pick in picks]
    files, scored, sources = images_by_id(workspace, ids), scored.subset(ids), source_names(workspace, ids)
    shown = [
        _outlined_boxes(config, scored, i, file).shown(seen.least_scores) for i, file in enumerate(files)
    ]
    order = "uncertainty" if validation else config.label_studio.order
    tasks = [
        OutgoingTask(
            key=task_key(batch, pick.image_id),
            image_id=pick.image_id,
            image_path=file.path,
            file_name=sources[pick.image_id],
            width=file.width,
            height=file.height,
            boxes=NO_BOXES if validation or pick.image_id in seen.blind else boxes,
            uncertainty=pick.uncertainty,
            rank=place,
            reason=pick.reason,
            blind=pick.image_id in seen.blind,
        )
        for pick, file, boxes, place in zip(
            picks, files, shown, places(order, [pick.rank for pick in picks], shown), strict=True
        )
    ]
    return project_id, push(
        connection,
        project_id,
        Batch(
            batch,
            with_gold(workspace, batch, tasks, seen.gold),
            model_id,
            "Validation set" if validation else f"Cycle {cycle}",
            config.label_studio.outlines,
        ),
        classes=config.classes,
        images=serving,
        drawn=config.drawn,
    )


def _outlined_boxes(config: Config, scored: ScoredImages, index: int, file: ImageFile) -> Boxes:
    """Return the model's boxes of the image at `index`, with outlines if people draw these."""
    return scored.outlined_boxes(index, file.width, file.height) if config.outlined else scored.boxes(index)


def pull_labels(
    workspace: Workspace, cycle: int, server: str, project_id: int, gold: Sequence[str] = ()
) -> PullResult:
    """Write all submitted labels into the database; safe to repeat.

    server, project_id: where the cycle was pushed.
    gold: images of the gold tasks of the cycle. Their answers are compared with the known labels.
    Raises LabelStudioError if these are not the current ones: all tasks would look deleted, and their labels
    would be lost.
    """
    _check_server(workspace, cycle, server, project_id)
    connection, serving = connect(workspace)
    project(workspace, connection)
    if isinstance(serving, LocalFiles):  # the workspace may have been moved
        # `label-studio check` reports missing images.
        with suppress(LabelStudioError), connection.open() as api:
            tasks = [*open_tasks(workspace, cycle), *gold_of_cycle(workspace, cycle)]
            serving.publish(api, project_id, tasks)
    return _pull_batch(workspace, cycle, connection, project_id, gold)


def send_back(
    workspace: Workspace, cycle: int, server: str, project_id: int, reasons: Mapping[str, str]
) -> Review:
    """Make a tab of answered images of a cycle.

    server, project_id: where the cycle was pushed.
    reasons: by image, the line that people see above it. Each image has a task.
    Raises LabelStudioError if these are not the current ones.
    """
    _check_server(workspace, cycle, server, project_id)
    keys = {row.image_id: row.task_key for row in pick_table.expected_picks(workspace.store, cycle)}
    lines = {keys[image]: reason for image, reason in reasons.items()}
    batch, connection = batch_name(workspace, cycle), connect(workspace)[0]
    return review.send_back(connection, project_id, batch, lines, f"Cycle {cycle}: check again")


def pages_of(workspace: Workspace, keys: Sequence[str]) -> dict[str, str]:
    """Return the addresses of tasks in the current project, by key."""
    project_id = known_project(workspace)
    if project_id is None or not keys:
        return {}
    return review.task_pages(connect(workspace)[0], project_id, keys)


def last_pull(workspace: Workspace, cycle: int, server: str, project_id: int) -> list[str]:
    """Pull before a project is abandoned; return a description of everything that will be lost with it.

    If the project was deleted, nothing more is lost: labels that were pulled stay.
    """
    try:
        _check_server(workspace, cycle, server, project_id)
        pulled = _pull_batch(workspace, cycle, connect(workspace)[0], project_id)
    except NotFoundError:
        return []
    except AlLoopError as error:
        return [f"all work since the last pull, which cannot be pulled now: {error}"]
    drafts = pulled.counts.get(TaskState.DRAFT, 0)
    begun = [f"{drafts} answers that were begun and not submitted"] if drafts else []
    return [*begun, *(f"a refused answer: {problem}" for problem in pulled.problems)]


def _check_server(workspace: Workspace, cycle: int, server: str, project_id: int) -> None:
    """Refuse a server or project to which the cycle was not pushed, before the token is sent to it."""
    if (server, project_id) == (server_name(workspace), known_project(workspace)):
        return
    raise LabelStudioError(
        f"cycle {cycle} was pushed to project {project_id} of the server {server!r}; al-loop.toml names "
        f"{server_name(workspace)!r} now. Restore label_studio.url until the cycle is finished. Or push the "
        "cycle to the other server: al-loop label-studio new-project. Or abandon it and keep its labels: "
        "al-loop cycle --abandon"
    )


def _pull_batch(
    workspace: Workspace, cycle: int, connection: Connection, project_id: int, gold: Sequence[str] = ()
) -> PullResult:
    store = workspace.store
    expected = pick_table.expected_picks(store, cycle)
    batch = batch_name(workspace, cycle)
    known = expected_gold(workspace, batch, cycle, gold)
    found = pull(connection, project_id, batch, [*expected, *known], _label_rules(workspace))
    tasks, repeated = found[: len(expected)], found[len(expected) :]
    late, newest = _pull_earlier_cycles(workspace, connection, project_id, cycle)
    usable = [(number, task) for number, task in late if task.state is not TaskState.REFUSED]
    with store.transaction():
        for number, task in [*usable, *((cycle, task) for task in tasks)]:
            _write_answer(workspace, number, task)
        if newest:
            write_fact(store, _newest_change_fact(workspace, project_id), newest)
    refused = [task for task in (*tasks, *repeated, *(task for _, task in late)) if task.problem]
    return PullResult(
        late=len(usable),
        counts=dict(Counter(str(task.state) for task in tasks)),
        problems=[f"{task.problem} ({task.url})" for task in refused],
        notes=[*(f"{task.note} ({task.url})" for task in tasks if task.note), *hasty_notes(tasks)],
        actions={
            task.image_id: (task.lead_time_s, *_actions(task))
            for task in tasks
            if task.boxes is not None and task.lead_time_s
        },
        edits=sum((task.edits for task in tasks if task.edits), Edits()),
        disagreements={task.image_id: 1 - task.agreement.share for task in tasks if task.agreement},
        agreement=sum((task.agreement for task in tasks if task.agreement), Agreement()),
        gold=compare_gold(workspace, repeated),
        awaited=sum(task.awaited > 0 for task in tasks),
    )


def _actions(task: PulledTask) -> tuple[int, int, int]:
    """Return how many boxes of an answer were confirmed or corrected, deleted, and drawn."""
    edits = task.edits
    if edits is None:  # shown without the model's boxes
        return 0, 0, len(task.boxes or ())
    return edits.proposed - edits.deleted, edits.deleted, edits.added


def _pull_earlier_cycles(
    workspace: Workspace, connection: Connection, project_id: int, cycle: int
) -> tuple[list[tuple[int, PulledTask]], str | None]:
    """Return the tasks of earlier cycles that changed since the last pull, and the time of the newest change.

    Each task comes with its cycle. Times are those of the server. They overlap with the last pull: some tasks
    are read again, without effect. A deleted task is ignored, since its label was trained on. So is an image
    that a later cycle has labelled.
    """
    rows = {row.task_key: row for row in pick_table.earlier_picks(workspace.store, cycle)}
    since = read_fact(workspace.store, _newest_change_fact(workspace, project_id))
    changed = changed_since(connection, project_id, since, rows, _label_rules(workspace))
    late = [
        (rows[task.key].cycle, task) for task in changed.tasks if _differs_from_label(task, rows[task.key])
    ]
    return late, changed.newest


def _differs_from_label(task: PulledTask, row: ExpectedPick) -> bool:
    """Whether a task of an earlier cycle has an answer that was not pulled yet, and is not the stored label.

    A label that was restored or replaced here stays until people change their answer.
    """
    if task.state.open:  # the annotation was withdrawn
        return row.status is not None
    if task.state in (TaskState.REFUSED, TaskState.DELETED):
        return task.state is TaskState.REFUSED
    if task.updated_at == row.pulled_at:
        return False
    boxes = task.boxes or Boxes()
    label = (str(task.state), boxes_to_json(boxes), outlines_to_json(boxes))
    return label != (row.status, row.boxes, row.outlines)


def _newest_change_fact(workspace: Workspace, project_id: int) -> str:
    """Return the key of the fact that holds the time of the newest change that was pulled."""
    return f"label_studio_pulled {server_name(workspace)} {project_id}"


def _label_rules(workspace: Workspace) -> LabelRules:
    config = workspace.config
    policy = Policy(config.label_studio.annotators, config.label_studio.users)
    return LabelRules(config.classes, policy, config.drawn, config.label_studio.overlap)


def _write_answer(workspace: Workspace, cycle: int, task: PulledTask) -> None:
    pick_table.set_pick_state(workspace.store, cycle, task.image_id, str(task.state))
    if task.state in (TaskState.LABELLED, TaskState.EMPTY, TaskState.SKIPPED):
        boxes = task.boxes or Boxes()
        label = label_table.NewLabel(
            image_id=task.image_id,
            status=str(task.state),
            boxes=boxes_to_json(boxes),
            updated_at=task.updated_at or now(),
            cycle=cycle,
            annotator=task.annotator,
            lead_time_s=task.lead_time_s,
            outlines=outlines_to_json(boxes),
        )
        label_table.write_label(workspace.store, label)
    elif task.state.open:
        # The annotation was withdrawn. A deleted or refused task does not change the earlier label.
        label_table.delete_label(workspace.store, task.image_id, cycle)
