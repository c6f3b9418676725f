"""Foreign backups: size, count and time are limited, and only plain files and folders come out."""

from __future__ import annotations

import gzip
import io
import json
import os
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.server import archive
from al_loop.labelling.server.archive import ArchiveError, unpack
from al_loop.labelling.server.backup import DATABASE, back_up, restore
from al_loop.labelling.server.credentials import ensure_credentials, read_credentials

Fill = Callable[[tarfile.TarFile], None]


def entry(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    about = tarfile.TarInfo(name)
    about.type, about.size, about.linkname = kind, size, link
    return about


def packed(path: Path, *entries: tarfile.TarInfo) -> Path:
    """An archive with these entries, of zeros."""
    with tarfile.open(path, "w:gz") as file:
        for about in entries:
            file.addfile(about, io.BytesIO(bytes(about.size)))
    return path


def test_plain_files_and_folders_come_out(tmp_path: Path) -> None:
    source = packed(tmp_path / "a.tar.gz", entry("data", tarfile.DIRTYPE), entry("data/" + "x" * 150, size=5))
    (tmp_path / "out").mkdir()
    unpack(source, tmp_path / "out")
    assert (tmp_path / "out" / "data" / ("x" * 150)).read_bytes() == bytes(5)


@pytest.mark.parametrize(
    "about",
    [
        entry("data/pipe", tarfile.FIFOTYPE),
        entry("data/device", tarfile.CHRTYPE),
        entry("data/link", tarfile.SYMTYPE, link="/etc/passwd"),
        entry("data/hard", tarfile.LNKTYPE, link="backup.json"),
        entry("../outside", size=1),
    ],
    ids=lambda about: about.name,
)
def test_anything_else_does_not(tmp_path: Path, about: tarfile.TarInfo) -> None:
    home = tmp_path / "label-studio"
    with pytest.raises(LabelStudioError, match="is no backup of al-loop, or damaged"):
        restore(home, packed(tmp_path / "a.tar.gz", about))
    assert not (tmp_path / "outside").exists()
    assert [path.name for path in home.iterdir()] == ["lock"]


@pytest.mark.integration
def test_what_does_not_fit_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 MB of zeros are 50 kB here."""
    source = packed(tmp_path / "a.tar.gz", entry("data/large", size=50_000_000))
    usage = type("Usage", (), {"free": archive._SPARE_BYTES + 1_000_000})
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ArchiveError, match="contains more than the 1 MB that are free here"):
        unpack(source, tmp_path)
    assert (
        not (tmp_path / "data" / "large").exists()
        or (tmp_path / "data" / "large").stat().st_size < 20_000_000
    )


def test_notes_longer_than_any_are_not_read_into_memory(tmp_path: Path) -> None:
    head = entry("long", tarfile.GNUTYPE_LONGNAME, size=1 << 34).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(head + bytes(100_000)))
    with pytest.raises(ArchiveError, match="more than 16 MB"):
        unpack(tmp_path / "a.tar.gz", tmp_path)


def test_entries_and_time_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = packed(tmp_path / "a.tar.gz", *(entry(f"data/{i}") for i in range(4)))
    monkeypatch.setattr(archive, "_MAX_MEMBERS", 3)
    with pytest.raises(ArchiveError, match="more than 3 entries"):
        unpack(source, tmp_path)
    monkeypatch.setattr(archive, "_MAX_S", -1.0)
    with pytest.raises(ArchiveError, match="takes longer"):
        unpack(source, tmp_path)


def test_a_pipe_is_no_backup_and_no_logins(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar.gz")
    with pytest.raises(LabelStudioError, match="a named pipe, expected a regular file"):
        restore(tmp_path / "label-studio", tmp_path / "pipe.tar.gz")
    os.mkfifo(tmp_path / "credentials.json")
    with pytest.raises(LabelStudioError, match="cannot read"):
        read_credentials(tmp_path)


@pytest.mark.parametrize(
    "text", ["[]", "null", "{}", '{"email": 1, "password": "a", "token": "b"}', "[" * 100_000]
)
def test_logins_of_another_shape(tmp_path: Path, text: str) -> None:
    (tmp_path / "credentials.json").write_text(text)
    with pytest.raises(LabelStudioError, match="cannot read"):
        read_credentials(tmp_path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of a server with one user and one image under three names."""
    home = tmp_path / "label-studio"
    (home / "data").mkdir(parents=True)
    with sqlite3.connect(home / "data" / DATABASE) as database:
        database.execute("CREATE TABLE htx_user (email TEXT)")
        database.execute("INSERT INTO htx_user VALUES ('ada@example.org')")
    (home / "data" / "a.png").write_bytes(b"picture")
    os.link(home / "data" / "a.png", home / "data" / "b.png")
    (home / "data" / "c.png").symlink_to("a.png")
    ensure_credentials(home)
    return home


def test_links_among_the_data_come_back_as_files(home: Path, tmp_path: Path) -> None:
    source = back_up(home, tmp_path / "a.tar.gz")
    assert restore(tmp_path / "other", source) is None
    pictures = sorted((tmp_path / "other" / "data").glob("*.png"))
    assert [path.read_bytes() for path in pictures] == [b"picture"] * 3
    assert not any(path.is_symlink() for path in pictures)


def test_several_restores_within_a_second_keep_what_was_there(home: Path, tmp_path: Path) -> None:
    source = back_up(home, tmp_path / "a.tar.gz")
    kept = [restore(home, source) for _ in range(3)]
    assert len(set(kept)) == 3
    assert all(one is not None and (one / "data" / DATABASE).is_file() for one in kept)


@pytest.mark.parametrize("harm", ["empty database", "no server's database", "version", "words for a version"])
def test_a_backup_of_nothing_replaces_nothing(home: Path, tmp_path: Path, harm: str) -> None:
    version = {"version": [1, 23, 2], "words for a version": "new"}.get(harm, "1.23.2")
    database = home / "data" / DATABASE
    if harm.endswith("database"):
        database.unlink()
        sqlite3.connect(database).execute(f"PRAGMA user_version = {int('no' in harm)}").connection.close()
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as file:
        note = json.dumps({"al-loop": "label-studio backup", "version": version}).encode()
        file.addfile(entry("backup.json", size=len(note)), io.BytesIO(note))
        file.add(home / "credentials.json", "credentials.json")
        file.add(database, f"data/{DATABASE}")
    with pytest.raises(LabelStudioError, match="is no backup of al-loop, or damaged"):
        restore(home, tmp_path / "a.tar.gz")
    assert (home / "data" / "a.png").read_bytes() == b"picture"
