"""One cycle of the loop, stage by stage. Each stage is resumable and is done once."""

from __future__ import annotations

from dataclasses import dataclass

from al_loop.core.console import Reporter
from al_loop.core.errors import ConfigError, DataError, ModelError, TrainingError, WorkspaceError
from al_loop.loop.cycle_record import begin_cycle, open_cycle
from al_loop.loop.label_stages import pull_stage, push_stage
from al_loop.loop.manifest import complete_manifests, write_manifest
from al_loop.loop.recovery import with_recovery_hint
from al_loop.loop.review_stage import review_stage
from al_loop.loop.selection_stages import score_stage, select_stage
from al_loop.loop.train_stages import decide, evaluate, settings_of, train_stage
from al_loop.models import model_training
from al_loop.state.stages import Waiting
from al_loop.state.workspace import Workspace


@dataclass(frozen=True)
class CycleResult:
    """The state of a cycle after a run: finished, or waiting for people."""

    number: int
    finished: bool
    message: str


def run_cycle(
    workspace: Workspace,
    k: int | None,
    reporter: Reporter,
    *,
    incomplete: bool = False,
    ray: str | None = None,
) -> CycleResult:
    """Begin a cycle or continue the open one, until it is finished or waits for people.

    incomplete: train on the labels so far. Later labels go to the next cycle.
    ray: address of a cluster to score the pool on.
    """
    complete_manifests(workspace)
    cycle = open_cycle(workspace, k, reporter) or begin_cycle(workspace, k, reporter)
    workspace = workspace.with_settings(cycle.settings)
    try:
        model_training.check_gpus(workspace, settings_of(workspace, cycle))
        rescored = score_stage(workspace, cycle, reporter, ray)
        picks = select_stage(workspace, cycle, rescored, reporter)
        pushed = push_stage(workspace, cycle, picks, rescored, reporter)
        labels = pull_stage(workspace, cycle, pushed, reporter, incomplete=incomplete)
        review_stage(workspace, cycle, pushed, labels, reporter)
        candidate = train_stage(workspace, cycle, labels, reporter)
        comparison = evaluate(workspace, candidate, reporter)
        reason = decide(workspace, cycle, candidate, comparison, reporter)
    except Waiting as waiting:
        return CycleResult(cycle.number, False, str(waiting))
    except (ConfigError, DataError, ModelError, TrainingError, WorkspaceError) as error:
        raise with_recovery_hint(error, cycle.number) from error
    write_manifest(workspace, cycle.number)
    return CycleResult(cycle.number, True, reason)
