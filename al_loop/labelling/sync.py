"""The loop's side of the labelling server: where it is, what goes out, what comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from al_loop.core.errors import AlLoopError, LabelStudioError
from al_loop.images.repository import boxes_to_json, images_by_id, outlines_to_json, source_names
from al_loop.labelling.backend import connect, server_name
from al_loop.labelling.client.client import Connection, NotFoundError
from al_loop.labelling.client.image_serving import LocalFiles
from al_loop.labelling.client.task import Edits, ExpectedTask, OutgoingTask, PulledTask, PushResult, TaskState
from al_loop.labelling.open_tasks import (
    PROJECT,
    batch_name,
    known_project,
    open_tasks,
    project_fact,
    task_key,
)
from al_loop.labelling.tasks.agreement import Policy
from al_loop.labelling.tasks.project import ensure_project
from al_loop.labelling.tasks.pull import changed_since, pull
from al_loop.labelling.tasks.push import push
from al_loop.state.database import label_table, pick_table
from al_loop.state.database.facts import forget_facts, read_fact, write_fact
from al_loop.state.database.pick_table import ExpectedPick
from al_loop.state.workspace import Workspace, now
from al_loop.structures.boxes import Boxes
from al_loop.structures.picks import Pick
from al_loop.structures.predictions import ScoredImages


@dataclass(frozen=True)
class Pulled:
    """What a pull found, by state, and a sentence for each task that cannot be used.

    edits: what people did to the boxes that the model had drawn, over all tasks that are done.
    disagreements: image -> share of boxes that several people have not drawn alike.
    late: labels of earlier cycles that were added or changed since the last pull.
    """

    counts: dict[str, int]
    problems: list[str] = field(default_factory=list)
    edits: Edits = field(default_factory=Edits)
    disagreements: dict[str, float] = field(default_factory=dict)
    late: int = 0

    @property
    def answered(self) -> int:
        """Return how many tasks people are done with."""
        done = (TaskState.LABELLED, TaskState.EMPTY, TaskState.SKIPPED, TaskState.DELETED)
        return sum(self.counts.get(state, 0) for state in done)

    @property
    def total(self) -> int:
        """Return how many tasks there are."""
        return sum(self.counts.values())

    @property
    def complete(self) -> bool:
        """Say whether people have nothing left to do; a refused task waits for its correction."""
        return self.answered == self.total


def project(workspace: Workspace, connection: Connection) -> int:
    """Return the id of the workspace's project on that server, made on the first call."""
    key = project_fact(workspace)
    known = known_project(workspace)
    config = workspace.config
    found = ensure_project(connection, config.name, config.classes, known, outlined=config.outlined)
    write_fact(workspace.store, key, str(found))
    return found


def forget_project(workspace: Workspace, cycle: int | None) -> None:
    """Begin another project with the next push; what people answered in the old one is kept.

    cycle: the open one. Its answered picks become 'kept': they are neither pushed nor pulled again.
    """
    with workspace.store.transaction():
        forget_facts(workspace.store, PROJECT)
        pick_table.keep_answered_picks(workspace.store, cycle)


def answered_elsewhere(workspace: Workspace, cycle: int) -> set[str]:
    """Return the images of a cycle that were answered in a project that has been left."""
    return pick_table.kept_picks(workspace.store, cycle)


def push_picks(
    workspace: Workspace, cycle: int, picks: Sequence[Pick], scored: ScoredImages, model_id: str
) -> tuple[int, PushResult]:
    """Put a cycle's picks into the labelling project, with the model's boxes drawn; safe to repeat.

    Returns the project's id and what the push did.
    """
    connection, serving = connect(workspace)
    project_id = project(workspace, connection)
    batch = batch_name(workspace, cycle)
    files = images_by_id(workspace, [pick.image_id for pick in picks])
    scored = scored.subset([pick.image_id for pick in picks])
    sources = source_names(workspace, [pick.image_id for pick in picks])
    tasks = [
        OutgoingTask(
            key=task_key(batch, pick.image_id),
            image_id=pick.image_id,
            image_path=file.path,
            file_name=sources[pick.image_id],
            width=file.width,
            height=file.height,
            # A wall of faint boxes costs people more than it saves.
            boxes=scored.boxes(i).above(workspace.config.label_studio.min_score),
            uncertainty=pick.uncertainty,
            rank=pick.rank,
            reason=pick.reason,
        )
        for i, (pick, file) in enumerate(zip(picks, files, strict=True))
    ]
    return project_id, push(
        connection,
        project_id,
        batch,
        tasks,
        model_version=model_id,
        classes=workspace.config.classes,
        images=serving,
        title=f"Cycle {cycle}",
        outlined=workspace.config.outlined,
    )


def pull_labels(workspace: Workspace, cycle: int, server: str, project_id: int) -> Pulled:
    """Fetch what people have done so far into the database; safe to repeat.

    server, project_id: where the cycle was pushed. Anywhere else all its tasks would look deleted, and
    their labels would be lost: LabelStudioError instead.
    """
    _same_server(workspace, cycle, server, project_id)
    connection, serving = connect(workspace)
    project(workspace, connection)
    if isinstance(serving, LocalFiles):  # where they lie now: the workspace may have been moved
        with (
            suppress(LabelStudioError),
            connection.open() as api,
        ):  # `label-studio check` says what is missing
            serving.publish(api, project_id, open_tasks(workspace, cycle))
    return _pull(workspace, cycle, connection, project_id)


def last_pull(workspace: Workspace, cycle: int, server: str, project_id: int) -> list[str]:
    """Fetch once more what people have done before their project is left; return what is lost with it, a sentence each.

    A project that is not there any more takes nothing with it: what was pulled stays.
    """
    try:
        _same_server(workspace, cycle, server, project_id)
        pulled = _pull(workspace, cycle, connect(workspace)[0], project_id)
    except NotFoundError:
        return []
    except AlLoopError as error:
        return [f"whatever people have done since the last pull, for it cannot be pulled now: {error}"]
    drafts = pulled.counts.get(TaskState.DRAFT, 0)
    begun = [f"{drafts} answers that were begun and not submitted"] if drafts else []
    return [*begun, *(f"an answer that is refused: {problem}" for problem in pulled.problems)]


def _same_server(workspace: Workspace, cycle: int, server: str, project_id: int) -> None:
    """Refuse another server or project than the cycle was pushed to, before anything is sent there: not even the token."""
    if (server, project_id) == (server_name(workspace), known_project(workspace)):
        return
    raise LabelStudioError(
        f"cycle {cycle} was pushed to project {project_id} of the server {server!r}; al-loop.toml names "
        f"{server_name(workspace)!r} now. Put label_studio.url back until the cycle is finished, or push the "
        "cycle again to the other server: al-loop label-studio new-project. Or give it up, with its labels kept: al-loop cycle "
        "--abandon"
    )


def _pull(workspace: Workspace, cycle: int, connection: Connection, project_id: int) -> Pulled:
    expected = [_expected(row) for row in pick_table.expected_picks(workspace.store, cycle)]
    tasks = pull(
        connection,
        project_id,
        batch_name(workspace, cycle),
        expected,
        classes=workspace.config.classes,
        policy=_policy(workspace),
        outlined=workspace.config.outlined,
    )
    late, mark = _pull_late(workspace, connection, project_id, cycle)
    with workspace.store.transaction():
        for number, task in late:
            if task.state is not TaskState.REFUSED:
                _remember(workspace, number, task)
        for task in tasks:
            _remember(workspace, cycle, task)
        if mark:
            write_fact(workspace.store, _mark_key(workspace, project_id), mark)
    return Pulled(
        late=sum(task.state is not TaskState.REFUSED for _, task in late),
        counts=dict(Counter(str(task.state) for task in tasks)),
        problems=[
            f"{task.problem} ({task.url})" for task in (*tasks, *(task for _, task in late)) if task.problem
        ],
        edits=sum((task.edits for task in tasks if task.edits), Edits()),
        disagreements={t.image_id: t.disagreement for t in tasks if t.disagreement is not None},
    )


def _pull_late(
    workspace: Workspace, connection: Connection, project_id: int, cycle: int
) -> tuple[list[tuple[int, PulledTask]], str | None]:
    """Return what people have done to tasks of earlier cycles since the last pull, and the server's time of the newest change.

    Found by the server's own clock, less an overlap: what was seen before is read again, and changes nothing. A task
    that is not there any more says nothing here: the label that it gave was trained on, and stays. Nor does an image that a
    later cycle has labelled.
    """
    rows = {row.task_key: row for row in pick_table.earlier_picks(workspace.store, cycle)}
    found = changed_since(
        connection,
        project_id,
        read_fact(workspace.store, _mark_key(workspace, project_id)),
        {key: _expected(row) for key, row in rows.items()},
        classes=workspace.config.classes,
        policy=_policy(workspace),
        outlined=workspace.config.outlined,
    )
    late = [(rows[task.key].cycle, task) for task in found.tasks if _says_more(task, rows[task.key])]
    return late, found.newest


def _says_more(task: PulledTask, row: ExpectedPick) -> bool:
    """Whether a task of an earlier cycle says something else than the label that is kept."""
    if task.state.open:  # an annotation that was taken back is no label
        return row.status is not None
    if task.state in (TaskState.REFUSED, TaskState.DELETED):
        return task.state is TaskState.REFUSED
    boxes = task.boxes or Boxes()
    found = (str(task.state), boxes_to_json(boxes), outlines_to_json(boxes))
    return found != (row.status, row.boxes, row.outlines)


def _mark_key(workspace: Workspace, project_id: int) -> str:
    return f"label_studio_pulled {server_name(workspace)} {project_id}"


def _policy(workspace: Workspace) -> Policy:
    settings = workspace.config.label_studio
    return Policy(settings.annotators, settings.users)


def _expected(row: ExpectedPick) -> ExpectedTask:
    return ExpectedTask(row.task_key, row.image_id, row.width, row.height)


def _remember(workspace: Workspace, cycle: int, task: PulledTask) -> None:
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
        # An annotation that was taken back is no label. A task that is gone, or whose answer cannot be used, says nothing
        # about the label that it gave before.
        label_table.take_back_label(workspace.store, task.image_id, cycle)
