"""al-loop doctor finds every damage, and the command that it prints repairs it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.read_only import al_loop, close_to_writing, needs_modes, open_to_writing
from support.small_loop import SmallLoop, small_loop

from al_loop.core.config import FILE_NAME
from al_loop.core.console import Silent
from al_loop.core.files import read_json, write_json
from al_loop.doctor import Finding, examine
from al_loop.images.ingest import add_images
from al_loop.images.integrity import CheckDepth, repair_images
from al_loop.loop.cycle import run_cycle
from al_loop.models import scoring
from al_loop.state.database.migrations import MIGRATIONS
from al_loop.state.model_registry import register_model
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace, init_workspace, open_workspace

pytestmark = pytest.mark.usefixtures("temporary")


@dataclass(frozen=True)
class Made:
    """finished: a workspace after its first cycle.  under_way: a copy with an open second cycle."""

    finished: Path
    under_way: Path
    loop: SmallLoop
    coco: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        workspace = init_workspace(folder / "finished", ("bolt", "nut"))
        path = workspace.root / FILE_NAME
        path.write_text(path.read_text().replace("k = 25", "k = 4"))
        loop = small_loop(open_workspace(workspace.root), folder, patch, images=12)
        patch.setattr(scoring, "load_detector", lambda *_: None)  # its weights are a word
        assert run_cycle(loop.workspace, None, Silent()).finished
        candidate(loop.workspace)
        loop.workspace.store.close()
        workspace.store.close()
        shutil.copytree(workspace.root, folder / "under_way")
        loop.workspace, loop.answered = open_workspace(folder / "under_way"), 0.0
        assert not run_cycle(loop.workspace, None, Silent()).finished
        loop.workspace.store.close()
        yield Made(workspace.root, folder / "under_way", loop, folder / "val" / "coco.json")


def candidate(workspace: Workspace) -> None:
    """A model that was never in use, with scores that no manifest names."""
    from al_loop.core.files import file_sha256

    folder = workspace.model_dir("import-1")
    shutil.copytree(workspace.model_dir("m0"), folder)
    register_model(workspace, "import-1", "import", file_sha256(folder / "weights.pth"), None, None)
    shutil.copytree(
        workspace.scores_dir(ScoreKey.of(workspace.config, "m0")),
        workspace.scores_dir(ScoreKey.of(workspace.config, "import-1")),
    )


@pytest.fixture
def well(made: Made, tmp_path: Path) -> Path:
    """A workspace in which nothing is wrong."""
    return Path(shutil.copytree(made.finished, tmp_path / "line3", symlinks=True))


@pytest.fixture
def labelling(made: Made, tmp_path: Path) -> Path:
    """One in which people label: its server alone does not run."""
    return Path(shutil.copytree(made.under_way, tmp_path / "line4", symlinks=True))


def found(root: Path, depth: CheckDepth = CheckDepth.BYTES) -> list[Finding]:
    return list(examine(root, Silent(), depth).findings)


def said(root: Path) -> set[str]:
    return {finding.check for finding in found(root)}


def sql(root: Path, *statements: str) -> None:
    """Change rows behind al-loop's back."""
    database = sqlite3.connect(root / "al-loop.db")
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def one(root: Path, query: str) -> Any:
    database = sqlite3.connect(root / "al-loop.db")
    row = database.execute(query).fetchone()
    database.close()
    return row[0]


def files(root: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path.relative_to(root)): (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
        for path in root.rglob("*")
        if path.is_file()
    }


def a_photograph(root: Path) -> Path:
    return root / str(one(root, "SELECT file FROM images WHERE role = 'pool' ORDER BY id LIMIT 1"))


def write(path: Path, data: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(bytes(data))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def credentials(root: Path, text: bytes, mode: int = 0o600) -> None:
    path = root / "label-studio" / "credentials.json"
    write(path, text)
    path.chmod(mode)


def drop_first(path: Path) -> None:
    write_json(path, read_json(path)[1:])


def run_mend(run: Any, root: Path, mend: str) -> None:
    """Type the command that was printed."""
    words = shlex.split(mend)
    if words[0] == "al-loop":
        status, out, err = run("-w", root, *words[1:])
        assert status == 0, out + err
    else:
        subprocess.run(words, check=True, cwd=root)


@pytest.mark.integration
def test_a_whole_workspace_is_healthy_and_stays_as_it_is(well: Path, run: Any) -> None:
    before = files(well)
    status, out, err = run("-w", well, "doctor")
    assert (status, err) == (0, "")
    assert out == f"{well}: nothing is wrong\n"
    for options in (("--quick",), ("--deep",)):
        assert run("-w", well, "doctor", *options)[0] == 0
    status, out, _ = run("-w", well, "doctor", "--json")
    assert json.loads(out) == {"root": str(well), "findings": [], "more": {}, "notes": [], "wrong": 0}
    assert files(well) == before


def test_people_may_label(labelling: Path) -> None:
    (finding,) = found(labelling)
    assert finding.check == "server.stopped"
    assert finding.mend == "al-loop label-studio start"


#: Name: what is done to the workspace, the check that names it, and what its message says.
Damage = tuple[Callable[[Path], object], str, str]


def _labels(boxes: str, status: str = "labelled") -> Callable[[Path], object]:
    return lambda w: sql(
        w,
        f"UPDATE labels SET boxes = '{boxes}', status = '{status}' WHERE cycle = 1 AND image_id = "
        "(SELECT min(image_id) FROM labels WHERE cycle = 1)",
    )


MENDED: dict[str, Damage] = {
    "a box outside": (_labels("[[1, 2, 70, 9, 0]]"), "labels.outside", "outside the picture of 64x64"),
    "a box without area": (_labels("[[9, 2, 9, 9, 0]]"), "labels.empty-box", "no area"),
    "a class that there is not": (
        _labels("[[1, 2, 9, 9, 7]]"),
        "labels.class", "is of class 7, there are 0 to 1",
    ),
    "boxes that are none": (_labels("[[1, 2"), "labels.unreadable", "cannot be read as boxes"),
    "a box of four numbers": (_labels("[[1, 2, 9, 9]]"), "labels.unreadable", "cannot be read as boxes"),
    "not a number": (_labels("[[1, NaN, 9, 9, 0]]"), "labels.unreadable", "not finite"),
    "labelled without boxes": (_labels("[]"), "labels.status", "'labelled' with 0 boxes"),
    "empty with boxes": (_labels("[[1, 2, 9, 9, 0]]", "empty"), "labels.status", "'empty' with 1 boxes"),
    "outlines of another number": (
        lambda w: sql(w, "UPDATE labels SET outlines = '[null, null]' WHERE image_id = "
                         "(SELECT min(image_id) FROM labels WHERE cycle = 1)"),
        "labels.outlines", "one for each of 1 boxes",
    ),
    "no label to judge by": (
        lambda w: sql(w, "DELETE FROM labels WHERE image_id = (SELECT min(image_id) FROM sets)"),
        "sets.unlabelled", "no labels",
    ),
    "a judged image in the pool": (
        lambda w: sql(w, "UPDATE images SET role = 'pool' WHERE id = (SELECT min(image_id) FROM sets)"),
        "leaks.role", "in the pool",
    ),
    "photograph gone": (lambda w: a_photograph(w).unlink(), "images.missing", "gone"),
    "photograph longer": (
        lambda w: write(a_photograph(w), a_photograph(w).read_bytes() + b"x"),
        "images.changed",
        "not those that were stored",
    ),
    "photograph empty": (lambda w: write(a_photograph(w), b""), "images.changed", "empty"),
    "a pipe for a photograph": (
        lambda w: (a_photograph(w).unlink(), os.mkfifo(a_photograph(w).parent / "p"),
                   (a_photograph(w).parent / "p").rename(a_photograph(w))),
        "images.unreadable", "no regular file",
    ),
    "killed pool add": (
        lambda w: write(w / "images" / "ab" / f"{'ab' * 32}.png"),
        "leftovers", "not taken in",
    ),
    "partial file": (lambda w: write(w / "images" / "ab" / "x.png.partial"), "leftovers", "killed"),
    "scores of a model that is gone": (
        lambda w: write(w / "scores" / "m9" / "x"),
        "leftovers", "that there is not",
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
    "weights of an unused model changed": (
        lambda w: flip(w / "models" / "import-1" / "weights.pth"),
        "models.changed", "hash",
    ),
    "an unused model gone": (
        lambda w: shutil.rmtree(w / "models" / "import-1"),
        "models.missing", "folder is gone",
    ),
    "an unused model with other classes": (
        lambda w: write(w / "models" / "import-1" / "config.json", b'{"classes": ["nut", "bolt"]}'),
        "models.classes", "was made for nut, bolt; the workspace has bolt, nut",
    ),
    "an unused model's config that cannot be read": (
        lambda w: write(w / "models" / "import-1" / "config.json", b'{"classes'),
        "models.changed", "config.json cannot be read",
    ),
    "no model in use": (lambda w: sql(w, "DELETE FROM promotions"), "models.none-in-use", "none is in use"),
    "scores changed": (
        lambda w: flip(next((w / "scores" / "import-1").rglob("embeddings.bin"))),
        "scores.damaged", "shards",
    ),
    "scores cut short": (
        lambda w: os.truncate(next((w / "scores" / "import-1").rglob("uncertainty.bin")), 8),
        "scores.damaged", "1 of its shards",
    ),
    "manifest gone": (
        lambda w: (w / "cycles" / "1" / "manifest.json").unlink(),
        "cycles.manifest", "no manifest",
    ),
    "others may read the database": (lambda w: (w / "al-loop.db").chmod(0o644), "rights", "mode 644"),
    "others may read the logins": (
        lambda w: credentials(w, b"{}", 0o640),
        "rights", "mode 640",
    ),
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("name", MENDED)
def test_what_a_command_mends_is_mended_by_it(well: Path, made: Made, run: Any, name: str) -> None:
    damage, check, text = MENDED[name]
    damage(well)
    before = files(well) if check != "images.unreadable" else {}
    findings = found(well)
    assert {finding.check for finding in findings} - {"cycles.verify"} == {
        check
    }  # the manifest names it, too
    assert text in findings[0].problem
    assert not before or files(well) == before  # looking changes nothing
    made.loop.answered = 1.0
    run_mend(run, well, findings[0].mend.replace("COCO.json", str(made.coco)).partition(", with")[0])
    assert found(well) == []


NAMED: dict[str, Damage] = {
    "another size in the database": (
        lambda w: sql(w, "UPDATE images SET width = 65 WHERE id = "
                         "(SELECT min(id) FROM images WHERE role = 'pool')"),
        "images.size", "is 64x64 px, the database says 65x64",
    ),
    "current weights gone": (
        lambda w: (w / "models" / "m0" / "weights.pth").unlink(), "models.missing", "weights.pth",
    ),
    "a rendered set gone": (
        lambda w: sql(w, "INSERT INTO datasets VALUES ('dice-12345678-s3', 'dice', 40, 'now')"),
        "rendered", "annotations.json is gone",
    ),
    "an index gone": (
        lambda w: sql(w, "DROP INDEX images_role"),
        "database.schema", "index images_role is missing",
    ),
    "a table gone": (lambda w: sql(w, "DROP TABLE alarms"), "database.schema", "table alarms is missing"),
    "a row without its other": (
        lambda w: sql(w, "INSERT INTO promotions (model_id, reason, at) VALUES ('m9', 'x', 'now')",
                      "DELETE FROM promotions WHERE model_id = 'm9' AND 0"),
                      "database.references", "models that is not there",
    ),
    "settings gone": (lambda w: (w / FILE_NAME).unlink(), "settings.missing", "gone"),
    "settings that are wrong": (
        lambda w: replace(w / FILE_NAME, "k = 4", "k = 0"),
        "settings.unusable", "cycle.k = 0",
    ),
    "other classes": (
        lambda w: replace(w / FILE_NAME, '["bolt", "nut"]', '["nut", "bolt"]'),
        "settings.classes", "nut, bolt; the labels are of bolt, nut",
    ),
    "a newer cycle": (
        lambda w: write(w / "cycles" / "7" / "manifest.json"),
        "database.older-than-files", "does not know it",
    ),
    "a newer model": (
        lambda w: write(w / "models" / "cycle-7" / "weights.pth"),
        "database.older-than-files", "does not know it",
    ),
    "logins that cannot be read": (
        lambda w: (credentials(w, b"?"), server_data(w)),
        "server.logins", "cannot read",
    ),
    "the server's database damaged": (
        lambda w: (server_data(w), write(w / "label-studio" / "data" / "label_studio.sqlite3", b"?" * 5000),
                   credentials(w, b'{"email": "a", "password": "b", "token": "c"}')),
        "server.damaged", "not a database",
    ),
    "a snapshot of labels changed": (
        lambda w: drop_first(w / "cycles" / "1" / "pull" / "labels.json"),
        "cycles.verify", "the snapshot of the labels",
    ),
}  # fmt: skip


def server_data(root: Path) -> None:
    data = root / "label-studio" / "data"
    data.mkdir(parents=True)
    data.chmod(0o700)
    sqlite3.connect(data / "label_studio.sqlite3").executescript("CREATE TABLE a (b)").connection.close()


@pytest.mark.integration
@pytest.mark.parametrize("name", NAMED)
def test_what_no_command_can_mend_is_named_with_what_to_do(well: Path, name: str) -> None:
    damage, check, text = NAMED[name]
    damage(well)
    findings = found(well)
    # A row that is wrong may be seen twice: as such, and in the manifest of the cycle that used it.
    named = [finding for finding in findings if finding.check == check]
    assert named, findings
    assert {f.check for f in findings} <= {
        check,
        "cycles.verify",
        "images.size",
        "sets.classes",
        "leaks.role",
    }, findings
    assert any(text in f"{finding.subject}: {finding.problem}" for finding in named)
    assert all(len(finding.mend) > 8 for finding in findings)


UNDER_WAY: dict[str, Damage] = {
    "a push that is gone": (
        lambda w: shutil.rmtree(w / "cycles" / "2" / "push"),
        "cycles.stage", "its stage push left is gone",
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
        "cycles.pool", "not the one it began with",
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
    assert said(labelling) <= {"server.stopped"}


def test_the_same_picture_encoded_anew_is_a_leak(well: Path) -> None:
    """Deep: every picture of a judged size is decoded; without, those whose pixels were compared before."""
    judged = well / one(well, "SELECT file FROM images WHERE role = 'validation' ORDER BY id LIMIT 1")
    buffer = io.BytesIO()
    Image.open(judged).save(buffer, "BMP")
    name = hashlib.sha256(buffer.getvalue()).hexdigest()
    write(well / "images" / name[:2] / f"{name}.bmp", buffer.getvalue())
    sql(
        well,
        "INSERT INTO images (id, file, stored_sha256, width, height, source, role, added_at, arrived) VALUES "
        f"('{name}', 'images/{name[:2]}/{name}.bmp', '{name}', 96, 64, 'x', 'pool', 'now', 9999)",
        "DELETE FROM pixels",
    )
    assert found(well) == []
    (finding,) = found(well, CheckDepth.DEEP)
    assert (finding.check, finding.subject) == ("leaks.pixels", f"{name[:12]} in the pool")
    assert judged.stem[:12] in finding.problem


def test_a_repair_takes_the_right_bytes_alone(well: Path, run: Any, tmp_path: Path) -> None:
    lost, source = (
        a_photograph(well),
        Path(one(well, "SELECT source FROM images WHERE role = 'pool' ORDER BY id LIMIT 1")),
    )
    data = lost.read_bytes()
    lost.unlink()
    write(tmp_path / "moved" / "a.png", b"another")
    write(tmp_path / "moved" / "b.png", data)
    sql(well, f"UPDATE images SET source = '{tmp_path}/gone.png' WHERE source = '{source}'")
    assert found(well)[0].mend.startswith("al-loop pool repair PHOTOS..., with the folder")
    status, out, err = run("-w", well, "pool", "repair")
    assert status == 1
    assert "0 photographs stored again, 1 cannot be" in out
    assert "name the folder where their originals are" in err
    status, out, _ = run("-w", well, "pool", "repair", tmp_path / "moved")
    assert (status, out) == (0, "1 photographs stored again, 0 cannot be\n")
    assert lost.read_bytes() == data
    assert found(well) == []


def test_a_turned_photograph_is_stored_again_as_it_was(workspace: Workspace, tmp_path: Path) -> None:
    """What is stored is not the file that came in."""
    picture, exif = Image.new("RGB", (40, 20), "red"), Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    add_images(workspace, [tmp_path / "turned.jpg"])
    (stored,) = workspace.images.rglob("*.jpg")
    before = stored.read_bytes()
    stored.unlink()
    assert len(repair_images(workspace, []).fixed) == 1
    assert stored.read_bytes() == before


def test_a_repair_writes_into_images_alone(well: Path, run: Any) -> None:
    """A workspace from elsewhere may name any place, and a file whose hash it knows."""
    source, digest = well / "al-loop.toml", hashlib.sha256((well / "al-loop.toml").read_bytes()).hexdigest()
    sql(
        well,
        f"UPDATE images SET id = '{digest}', file = '../copied', stored_sha256 = '{digest}', "
        f"source = '{source}' WHERE id = (SELECT min(id) FROM images "
        "WHERE id NOT IN (SELECT image_id FROM labels) AND id NOT IN (SELECT image_id FROM picks))",
    )
    run("-w", well, "pool", "repair")
    assert not (well.parent / "copied").exists()


def test_a_leak_is_named(well: Path) -> None:
    """By the bytes that are stored, and by what a model has learnt from."""
    sql(
        well,
        "INSERT INTO images (id, file, stored_sha256, width, height, source, role, added_at, arrived) "
        "SELECT 'ff' || substr(id, 3), file, stored_sha256, width, height, source, 'pool', added_at, 9999 "
        "FROM images WHERE role = 'validation' LIMIT 1",
    )
    assert "leaks.copy" in said(well)
    sql(
        well,
        "DELETE FROM images WHERE arrived = 9999",
        "INSERT INTO promotions (model_id, reason, at) VALUES ('cycle-1', 'x', 'now')",
        "INSERT INTO sets SELECT 'night', min(image_id) FROM labels WHERE cycle = 1",
        "UPDATE images SET role = 'validation' WHERE id IN (SELECT image_id FROM sets)",
    )
    leaks = [finding for finding in found(well) if finding.check.startswith("leaks")]
    assert [finding.check for finding in leaks] == ["leaks.trained"]
    assert leaks[0].subject == "cycle 1"
    assert "1 images that models are judged on" in leaks[0].problem


def test_a_set_without_a_class_or_a_name_is_said(well: Path) -> None:
    sql(well, "UPDATE labels SET boxes = '[[1, 2, 9, 9, 0]]' WHERE cycle IS NULL")
    replace(well / FILE_NAME, "[promotion]\n", '[promotion]\nsets = ["validation", "night"]\n')
    assert [(f.check, f.subject) for f in found(well)] == [
        ("sets.classes", "validation"),
        ("sets.missing", "night"),
    ]


def test_many_files_without_a_row_are_taken_in_again(
    well: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an older database was restored."""
    for name in ("al_loop.state.leftovers", "al_loop.doctor.images"):
        monkeypatch.setattr(f"{name}.BATCH", 3)
    sql(
        well,
        "DELETE FROM images WHERE role = 'pool' AND id NOT IN (SELECT image_id FROM labels) AND id NOT IN "
        "(SELECT image_id FROM picks)",
    )
    (finding,) = [f for f in found(well) if f.check != "cycles.verify"]
    assert finding.check == "images.unnamed"
    assert finding.problem.startswith("8 files in images/ have no row")
    run_mend(run, well, finding.mend)
    assert "images.unnamed" not in said(well)


class TestDatabase:
    """A database that cannot be used stops neither the doctor nor what needs none."""

    def damaged(self, root: Path, name: str) -> None:
        page = one(root, f"SELECT rootpage FROM sqlite_master WHERE name = '{name}'")
        with (root / "al-loop.db").open("r+b") as file:
            file.seek((page - 1) * 4096)
            file.write(b"\x37" * 512)

    def test_a_damaged_page(self, well: Path) -> None:
        self.damaged(well, "windows")
        findings = found(well)
        assert findings[0].check == "database.damaged"
        assert findings[0].mend.startswith("Restore al-loop.db from a backup, with no command running")
        assert {"images.missing", "labels.outside"} & {f.check for f in findings} == set()

    def test_a_damaged_table_of_images(self, well: Path, run: Any) -> None:
        self.damaged(well, "images")
        status, out, err = run("-w", well, "doctor")
        assert status == 1
        assert "WRONG  database.damaged: al-loop.db" in out
        assert "Traceback" not in out + err

    @pytest.mark.parametrize("content", [b"", b"no database" * 1000])
    def test_what_is_none(self, well: Path, content: bytes) -> None:
        (well / "al-loop.db").write_bytes(content)
        (well / "al-loop.db").chmod(0o644)
        assert {"database.unusable", "database.older", "rights"} >= said(well) > {"rights"}

    def test_that_is_gone(self, well: Path) -> None:
        (well / "al-loop.db").unlink()
        diagnosis = examine(well, Silent())
        assert [f.check for f in diagnosis.findings] == ["database.missing"]
        assert diagnosis.notes == ("without the database, only files were examined",)

    def test_of_an_older_al_loop(self, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("al_loop.state.database.store.MIGRATIONS", MIGRATIONS[:2])
            root = init_workspace(tmp_path / "old", ("a",)).root
        (finding,) = found(root)
        assert finding.check == "database.older"
        run_mend(run, root, finding.mend)
        assert found(root) == []


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


def test_of_many_alike_a_few_are_named(well: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("al_loop.doctor.examination.KEPT", 3)
    for path in (well / "images").rglob("*.png"):
        path.unlink()
    diagnosis = examine(well, Silent())
    assert sum(f.check == "images.missing" for f in diagnosis.findings) == 3
    assert diagnosis.more["images.missing"] == 11
    status, out, _ = run("-w", well, "doctor", "--quick")
    assert status == 1
    assert "... and 11 more of images.missing" in out
    assert out.endswith("14 things are wrong\n")


def test_names_of_a_foreign_workspace_reach_no_terminal(well: Path, run: Any) -> None:
    sql(well, "UPDATE images SET source = 'a' || char(27) || '[2J' || char(10) || 'b', width = 3")
    out = run("-w", well, "doctor")[1]
    assert "\x1b" not in out
    assert "(from a\\x1b[2J\\nb)" in out


def test_files_outside_images_are_refused_and_not_read(well: Path) -> None:
    sql(well, "UPDATE images SET file = '../../../etc/passwd' WHERE id = (SELECT min(id) FROM images)")
    checks = said(well)
    assert "images.outside" in checks


@pytest.mark.integration
@needs_modes
def test_a_read_only_workspace_is_examined(well: Path) -> None:
    close_to_writing(well)
    try:
        _, out, err = al_loop(well, "doctor", "--json")
        # The system's temporary folder holds what other runs have left.
        assert [f for f in json.loads(out)["findings"] if f["check"] != "leftovers"] == []
        assert err == ""
        assert not (well / "al-loop.db-shm").exists()
    finally:
        open_to_writing(well)


def test_a_command_at_work_is_left_alone(well: Path) -> None:
    write(well / "images" / "ab" / f"{'ab' * 32}.png")
    workspace = open_workspace(well)
    with workspace.lock():
        diagnosis = examine(well, Silent())
    assert diagnosis.findings == ()
    assert re.match(r"`.*` works here: what it has not finished is left out", diagnosis.notes[0])


def test_a_finding_needs_a_next_step() -> None:
    with pytest.raises(ValueError, match="expected check, subject, problem and mend"):
        Finding("a", "b", "c", "")
