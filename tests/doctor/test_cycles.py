"""The doctor: cycles."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.doctor_workspace import (
    Damage,
    Made,
    assert_mended,
    assert_named,
    checks,
    drop_first,
    found,
    run_mend,
    sql,
    write,
)

MENDED: dict[str, Damage] = {
    "manifest gone": (
        lambda w: (w / "cycles" / "1" / "manifest.json").unlink(),
        "cycles.manifest", "no manifest",
    ),
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("name", MENDED)
def test_the_printed_command_repairs_it(well: Path, made: Made, run: Any, name: str) -> None:
    assert_mended(well, made, run, MENDED[name])


NAMED: dict[str, Damage] = {
    "a newer cycle": (
        lambda w: write(w / "cycles" / "7" / "manifest.json"),
        "database.older-than-files", "is missing in the database",
    ),
    "a newer model": (
        lambda w: write(w / "models" / "cycle-7" / "weights.pth"),
        "database.older-than-files", "is missing in the database",
    ),
    "a snapshot of labels changed": (
        lambda w: drop_first(w / "cycles" / "1" / "pull" / "labels.json"),
        "cycles.verify", "the snapshot of the labels",
    ),
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("name", NAMED)
def test_without_a_command_the_next_step_is_named(well: Path, name: str) -> None:
    assert_named(well, NAMED[name])


UNDER_WAY: dict[str, Damage] = {
    "a push that is gone": (
        lambda w: shutil.rmtree(w / "cycles" / "2" / "push"),
        "cycles.stage", "the output of its stage push is gone",
    ),
    "a stage that cannot be read": (
        lambda w: write(w / "cycles" / "2" / "score" / "stage.json", b"?"),
        "cycles.stage", "score/stage.json cannot be read",
    ),
    "a pool that is gone": (
        lambda w: (w / "cycles" / "2" / "pool.json").unlink(),
        "cycles.pool", "list of the pool",
    ),
    "another pool": (
        lambda w: drop_first(w / "cycles" / "2" / "pool.json"),
        "cycles.pool", "has changed since it began",
    ),
    "other picks": (
        lambda w: drop_first(w / "cycles" / "2" / "select" / "picks.json"),
        "cycles.picks", "other picks than the database",
    ),
    "picks that are gone": (
        lambda w: (w / "cycles" / "2" / "select" / "picks.json").unlink(),
        "cycles.picks", "cannot be read",
    ),
    "a stage that was killed": (
        lambda w: sql(w, "UPDATE stages SET state = 'running', pid = 4194304 "
                         "WHERE job = 'cycle-2' AND name = 'pull'"),
        "cycles.crashed", "pull was killed",
    ),
    "settings that an older al-loop allowed": (
        lambda w: sql(w, "UPDATE cycles SET settings = json_set(settings, '$.train.seed', -1) "
                         "WHERE number = 2"),
        "cycles.settings", "train.seed = -1",
    ),
    "another task in al-loop.toml": (
        lambda w: write(
            w / "al-loop.toml", (w / "al-loop.toml").read_bytes().replace(b'"detection"', b'"segmentation"')
        ),
        "cycles.task", 'was pushed with task = "detection"; al-loop.toml says "segmentation" now',
    ),
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("name", UNDER_WAY)
def test_an_open_cycle_goes_on_or_is_given_up(labelling: Path, made: Made, run: Any, name: str) -> None:
    damage, check, text = UNDER_WAY[name]
    damage(labelling)
    findings = [finding for finding in found(labelling) if finding.check != "server.stopped"]
    assert [finding.check for finding in findings] == [check]
    assert text in findings[0].problem
    made.loop.answered = 1.0
    for _ in range(3):  # a mend may leave something for the next
        if findings := [finding for finding in found(labelling) if finding.check != "server.stopped"]:
            run_mend(run, labelling, findings[0].mend)
    assert checks(labelling) <= {"server.stopped"}
