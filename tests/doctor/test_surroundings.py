"""The doctor: rights, disk, leftovers, packages and the labelling server."""

from __future__ import annotations

import shlex
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from support.doctor_workspace import Damage, Made, assert_mended, assert_named, found, sql, write


def credentials(root: Path, text: bytes, mode: int = 0o600) -> None:
    path = root / "label-studio" / "credentials.json"
    write(path, text)
    path.chmod(mode)


def server_data(root: Path) -> None:
    data = root / "label-studio" / "data"
    data.mkdir(parents=True)
    data.chmod(0o700)
    sqlite3.connect(data / "label_studio.sqlite3").executescript("CREATE TABLE a (b)").connection.close()


MENDED: dict[str, Damage] = {
    "killed pool add": (
        lambda w: write(w / "images" / "ab" / f"{'ab' * 32}.png"),
        "leftovers", "without a row in the database",
    ),
    "partial file": (lambda w: write(w / "images" / "ab" / "x.png.partial"), "leftovers", "killed"),
    "scores of a model that is gone": (
        lambda w: write(w / "scores" / "m9" / "x"),
        "leftovers", "that does not exist",
    ),
    "a cycle that did not begin": (
        lambda w: write(w / "cycles" / "2" / "pool.json"),
        "leftovers", "did not begin",
    ),
    "a training that is over": (
        lambda w: write(w / "models" / "cycle-1.partial" / "training" / "train.log"),
        "leftovers", "killed",
    ),
    "gc was killed": (
        lambda w: sql(w, "UPDATE models SET removed_at = 'now' WHERE id = 'import-1'"),
        "leftovers", "that gc has deleted",
    ),
    "others may read the database": (lambda w: (w / "al-loop.db").chmod(0o644), "rights", "mode 644"),
    "others may read the logins": (
        lambda w: credentials(w, b"{}", 0o640),
        "rights", "mode 640",
    ),
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("name", MENDED)
def test_the_printed_command_repairs_it(well: Path, made: Made, run: Any, name: str) -> None:
    assert_mended(well, made, run, MENDED[name])


NAMED: dict[str, Damage] = {
    "logins that cannot be read": (
        lambda w: (credentials(w, b"?"), server_data(w)),
        "server.logins", "cannot read",
    ),
    "the server's database damaged": (
        lambda w: (server_data(w), write(w / "label-studio" / "data" / "label_studio.sqlite3", b"?" * 5000),
                   credentials(w, b'{"email": "a", "password": "b", "token": "c"}')),
        "server.damaged", "not a database",
    ),
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("name", NAMED)
def test_without_a_command_the_next_step_is_named(well: Path, name: str) -> None:
    assert_named(well, NAMED[name])


def test_people_may_label(labelling: Path) -> None:
    (finding,) = found(labelling)
    assert finding.check == "server.stopped"
    assert finding.mend == "al-loop label-studio start"


def test_a_disk_without_room_and_packages_that_do_not_fit(
    well: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from al_loop.doctor import surroundings

    real = surroundings.version
    monkeypatch.setattr(surroundings, "_ROOM", 1 << 60)
    monkeypatch.setattr(surroundings, "version", lambda name: "2.4.0" if name == "numpy" else real(name))
    disk, package = found(well)
    assert (disk.check, disk.mend) == ("disk", "al-loop gc")
    assert (package.subject, package.problem) == ("numpy", "is 2.4.0; expected numpy<2,>=1.26")
    assert shlex.split(package.mend)[:4] == ["python", "-m", "pip", "install"]
