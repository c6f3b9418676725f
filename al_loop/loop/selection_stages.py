"""First stages of a cycle: score the pool and select images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from al_loop.core.console import Reporter
from al_loop.core.files import file_sha256, hash_of, printable, read_json, write_json
from al_loop.core.frozen_settings import hashed
from al_loop.images import repository
from al_loop.images.near_duplicates import add_fingerprints, like_evaluation
from al_loop.labelling.open_tasks import batch_name, task_key
from al_loop.loop.cycle_record import Cycle, frozen_pool
from al_loop.loop.manifest import KNOWN, PICKS
from al_loop.loop.measured_prices import measured_prices
from al_loop.loop.pool_scoring import (
    LabelSummary,
    StrategyScores,
    context_for,
    quality_warning,
    score_candidates,
    summarise_labels,
    unscored,
)
from al_loop.loop.selection import explores, novelty_of, pick
from al_loop.loop.validation_sample import split_sample
from al_loop.models import evaluation
from al_loop.state.database.fingerprint_table import without_fingerprint
from al_loop.state.database.pick_table import PickRow, insert_picks, picks_of
from al_loop.state.database.verdict_table import unlabelled_with_verdicts
from al_loop.state.file_hashes import shards_in
from al_loop.state.id_list import POOL, pool_hash, read_pool
from al_loop.state.score_key import ScoreKey
from al_loop.state.stages import Output, Stage, is_done, run_stage
from al_loop.state.workspace import Workspace
from al_loop.structures.picks import Pick
from al_loop.structures.predictions import ScoredImages
from strategies import STRATEGIES, Ids

#: With more images without a fingerprint, near-duplicates are not looked for: their ids would be stored.
_MOST_UNCOMPARED = 10_000


def score_stage(workspace: Workspace, cycle: Cycle, reporter: Reporter, ray: str | None) -> Sequence[str]:
    """Score the pool. Score images again whose scores are missing or damaged.

    Returns the ids of the images that al-loop 0.1 rescored in fp32; empty for later versions.
    """
    ids = frozen_pool(workspace, cycle.number)
    strategy = workspace.config.cycle.strategy
    key = ScoreKey.of(cycle.settings, cycle.model.id)
    folder = workspace.scores_dir(key)

    def work(_: Path) -> Output:
        folder, explored = partial(workspace.scores_dir, key), explores(workspace.config.cycle)
        scores = StrategyScores(cycle.model, strategy, folder, explored)
        slices, labelled = unscored(workspace, scores, ids), repository.labelled(workspace)
        unreadable = score_candidates(workspace, scores, slices, labelled, reporter, ray)
        return {"images": len(ids), "unreadable": [asdict(item) for item in unreadable]}

    def valid(done: Output) -> bool:
        left_out = Ids.of(item["image_id"] for item in done["unreadable"])
        rescored = workspace.scores_dir(key.exact), Ids.of(done.get("closely", ()))  # of al-loop 0.1
        # Until the push, the picks and the boxes that people see depend on every byte of the scores.
        pushed = is_done(workspace.store, f"cycle-{cycle.number}", "push")
        expected = ((folder, ids[left_out.places(ids) < 0]), rescored)
        lacking = [_lacks_scores(workspace, place, names, every_byte=not pushed) for place, names in expected]
        return not any(lacking)  # on False, only the images without scores are scored again

    stage = replace(
        stage_of(workspace, cycle, "score", pool=pool_hash(ids), needs=sorted(STRATEGIES[strategy].needs)),
        valid=valid,
    )
    done = run_stage(workspace.store, stage, work)
    for item in done["unreadable"]:
        reporter.line(f"  left out: {printable(item['reason'])}")
    reporter.line(f"  score: {done['images']} images by {cycle.model.id} → {relative(workspace, folder)}")
    rescored: Sequence[str] = done.get("closely", ())
    return rescored


def _lacks_scores(workspace: Workspace, folder: Path, ids: Ids, *, every_byte: bool) -> bool:
    """Whether some images have no scores. every_byte: first drop damaged scores."""
    if not ids:
        return False
    store = shards_in(workspace, folder)
    return (every_byte and store.forget_damaged() > 0) or bool((store.image_ids().places(ids) < 0).any())


def select_stage(
    workspace: Workspace, cycle: Cycle, rescored: Sequence[str], reporter: Reporter
) -> list[Pick]:
    """Select the images of a cycle once. Later calls return the same picks."""
    settings = workspace.config.cycle

    def work(folder: Path) -> Output:
        strategy = STRATEGIES[settings.strategy]
        quality = evaluation.validation_quality(workspace, cycle.model, strategy, reporter)
        if (warning := quality_warning(settings.strategy, cycle.model.id, quality)) is not None:
            reporter.line(f"  {warning}")
        labelled, classes = repository.labelled(workspace), len(workspace.config.classes)
        prices = measured_prices(workspace) if "cost" in strategy.options else None
        novelty = novelty_of(scored_pool(workspace, cycle, rescored)) if explores(settings) else None
        partly = sorted(unlabelled_with_verdicts(workspace.store))
        uncompared = None
        if not (settings.near_duplicates or strategy.unbiased):
            uncompared = _compare(workspace, scored_pool(workspace, cycle, rescored).image_ids, reporter)
        summary = summarise_labels(
            labelled, classes, quality, prices, novelty=novelty, partly=partly, uncompared=uncompared
        )
        write_json(folder / KNOWN, asdict(summary))
        picks = select_picks(workspace, cycle, summary, rescored)
        write_json(folder / PICKS, [asdict(p) for p in picks])
        return {"picks": len(picks), "picks_sha256": file_sha256(folder / PICKS)}

    def valid(done: Output) -> bool:
        """Restore a changed picks.json from the database. Return False if the database has no picks."""
        if "picks_sha256" not in done or hash_of(path) == done["picks_sha256"]:
            return True
        reporter.line(f"  {relative(workspace, path)} has changed since the selection: writing it again")
        if stored:
            write_json(path, [asdict(p) for p in stored])
        return bool(stored)

    # The database is authoritative; picks.json is for people.
    stored = [_pick_of(row) for row in picks_of(workspace.store, cycle.number)]
    inputs = {"k": cycle.k, "settings": hashed(cycle.settings, "cycle")}
    inputs |= {"validation_images": cycle.validation_images} if cycle.validation_images else {}
    stage = stage_of(workspace, cycle, "select", **inputs)
    path = stage.folder / PICKS
    run_stage(workspace.store, replace(stage, valid=valid), work)
    picks = stored or [Pick(**row) for row in read_json(path)]
    batches = {kind: batch_name(workspace, cycle.number, validation=kind) for kind in (True, False)}
    with workspace.store.transaction():
        insert_picks(
            workspace.store,
            [_pick_row(cycle.number, task_key(batches[p.validation], p.image_id), p) for p in picks],
        )
    drawn = sum(p.validation for p in picks)
    reporter.line(
        f"  select: {len(picks) - drawn} by {settings.strategy}"
        f"{f', {drawn} for the validation set' if drawn else ''} "
        f"→ {relative(workspace, stage.folder)}/picks.json"
    )
    return picks


def _compare(workspace: Workspace, ids: Sequence[str], reporter: Reporter) -> list[str] | None:
    """Compute missing fingerprints of candidates. Return those without; None if they are too many.

    Linked images that are not on this machine are not fetched for this.
    """
    with reporter.progress("compare images") as progress:
        add_fingerprints(workspace, ids, progress, fetch=False)
        alike = like_evaluation(workspace, progress, fetch=False).images
    if alike:
        reporter.line(f"  note: {len(alike)} images are like evaluation images: al-loop pool duplicates")
    uncompared = without_fingerprint(workspace.store, ids)
    if len(uncompared) <= _MOST_UNCOMPARED:
        return sorted(uncompared)
    reporter.line(
        f"  note: near-duplicates may be picked, as {len(uncompared)} images have not been compared: "
        "al-loop pool duplicates"
    )
    return None


def _pick_of(row: PickRow) -> Pick:
    return Pick(
        row.image_id, row.rank, row.uncertainty, row.reason,
        known=row.state == "known", audit=bool(row.audit), validation=bool(row.validation),
    )  # fmt: skip


def _pick_row(cycle: int, key: str, pick: Pick) -> PickRow:
    return PickRow(
        cycle, pick.rank, pick.image_id, pick.uncertainty, pick.reason, key,
        state="known" if pick.known else "selected", audit=int(pick.audit), validation=int(pick.validation),
    )  # fmt: skip


def select_picks(
    workspace: Workspace, cycle: Cycle, summary: LabelSummary, rescored: Sequence[str] = ()
) -> list[Pick]:
    """Return the picks of a cycle. The same scores, settings and labels give the same picks."""
    settings, labelled = cycle.settings.cycle, set(summary.images)
    drawn, scored = split_sample(
        scored_pool(workspace, cycle, rescored),
        cycle.validation_images,
        settings,
        cycle.number,
        {*labelled, *summary.partly},
    )
    folder = partial(workspace.scores_dir, ScoreKey.of(cycle.settings, cycle.model.id))
    scores = StrategyScores(cycle.model, settings.strategy, folder)
    context = context_for(workspace, scores, scored.image_ids, summary)
    picks = pick(scored, cycle.k, settings, cycle.number, labelled, context)
    return [*drawn, *(replace(p, rank=p.rank + len(drawn)) for p in picks)]


def scored_pool(workspace: Workspace, cycle: Cycle, rescored: Sequence[str]) -> ScoredImages:
    """Return the scores of the cycle's pool, without unreadable images.

    rescored: ids of images that have scores in fp32.
    """
    key = ScoreKey.of(cycle.settings, cycle.model.id)
    pool = read_pool(workspace.cycle_dir(cycle.number) / POOL)
    scored = shards_in(workspace, workspace.scores_dir(key)).load().intersection(pool)
    if not rescored:
        return scored
    exact = shards_in(workspace, workspace.scores_dir(key.exact))
    return scored.updated_with(exact.load(rescored))


def stage_of(workspace: Workspace, cycle: Cycle, name: str, **inputs: Any) -> Stage:
    """Return a stage of a cycle that depends on the inputs and on the model that the cycle began with."""
    folder = workspace.cycle_dir(cycle.number) / name
    return Stage(f"cycle-{cycle.number}", name, folder, {"model": cycle.model.weights_sha256, **inputs})


def relative(workspace: Workspace, path: Path) -> str:
    """Return a path relative to the workspace, for messages."""
    return str(path.relative_to(workspace.root))
