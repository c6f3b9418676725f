"""Files into the pool: from anywhere, each read once, checked without decoding what need not be."""

from __future__ import annotations

import io
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import fsspec
import numpy as np
import pytest
from PIL import Image, ImageFile
from support.factories import draw, picture_bytes

from al_loop.core.errors import DataError
from al_loop.images import import_sources, repository
from al_loop.images.import_sources import ImportSummary, add_sources
from al_loop.images.ingest import IngestBatch, IngestReport, prepare_image
from al_loop.images.sources import files_at
from al_loop.state.database.image_table import pool_size
from al_loop.state.workspace import Workspace


def photographs(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{n:03d}.png" for n in range(count)]
    for n, path in enumerate(paths):
        path.write_bytes(picture_bytes(n))
    return paths


def jpeg(seed: int = 0, thumbnail: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    more = {"comment": thumbnail} if thumbnail else {}
    Image.fromarray(noise).save(buffer, "JPEG", **more)
    return buffer.getvalue()


def test_files_folders_and_globs(tmp_path: Path) -> None:
    for name in ("a.jpg", "sub/b.PNG", "sub/notes.txt", "sub/.b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def names(place: object) -> list[str]:
        return [Path(seen.path).name for seen in files_at(str(place))]

    assert names(tmp_path) == ["a.jpg", "b.PNG"]
    assert names(f"file://{tmp_path}/sub") == ["b.PNG"]
    assert names(tmp_path / "*.jpg") == ["a.jpg"]
    assert names(tmp_path / "sub/notes.txt") == ["notes.txt"]  # named outright: told why it cannot be used
    assert names(tmp_path / "sub/*") == ["b.PNG"]


def test_nothing_there_is_said_before_anything_is_added(workspace: Workspace, tmp_path: Path) -> None:
    photographs(tmp_path / "some", 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"nothing at .*nowhere: expected files, folders"):
        add_sources(workspace, [str(tmp_path / "some"), str(tmp_path / "nowhere")])
    assert pool_size(workspace.store) == 0
    with pytest.raises(DataError, match="no image files in"):
        add_sources(workspace, [str(tmp_path / "empty")])
    with pytest.raises(DataError, match="s4://x: Protocol not known"):
        add_sources(workspace, ["s4://x"])


@pytest.mark.parametrize("place", ["", " ", "a\0b"])
def test_an_empty_name_is_not_the_current_folder(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """As an unset variable of a shell gives one."""
    draw(96, 64, []).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="nothing at"):
        add_sources(workspace, [place])


def test_what_was_taken_is_not_opened_again(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    first = photographs(folder, 5)[0]
    (folder / "cut.png").write_bytes(picture_bytes(9)[:200])
    steps: list[tuple[int, int]] = []
    summary = add_sources(workspace, [str(folder)], lambda done, total: steps.append((done, total)))
    assert (summary.added, summary.known, summary.refused) == (5, 0, 1)
    assert steps[-1] == (6, 6)
    opened: list[str] = []

    def spied(path: Path, *, decode: bool) -> object:
        opened.append(path.name)
        return prepare_image(path, decode=decode)

    monkeypatch.setattr(import_sources, "prepare_image", spied)
    again = add_sources(workspace, [str(folder)])
    assert (again.added, again.known, again.refused) == (0, 5, 1)
    assert opened == ["cut.png"]  # whose owner wants to know again
    first.write_bytes(picture_bytes(77))
    (folder / "copy.png").write_bytes(picture_bytes(1))
    assert add_sources(workspace, [str(folder)]) == ImportSummary(1, 5, 1, 0, again.reasons)


def test_small_batches_are_the_same(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large photographs make batches of few, so that memory does not grow with their size."""
    photographs(tmp_path, 5)
    sizes: list[int] = []
    insert = IngestBatch.insert

    def counted(batch: IngestBatch) -> None:
        sizes.append(len(batch))
        insert(batch)

    monkeypatch.setattr(
        import_sources, "BATCH_BYTES", 2 * max(p.stat().st_size for p in tmp_path.glob("*.png"))
    )
    monkeypatch.setattr(IngestBatch, "insert", counted)
    assert add_sources(workspace, [str(tmp_path)]).added == 5
    assert sizes == [2, 2, 1]
    arrived = workspace.store.rows("SELECT arrived, source FROM images ORDER BY source")
    assert [row["arrived"] for row in arrived] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("moment", ["sync", "insert"])
def test_a_kill_loses_nothing(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    photographs(tmp_path, 3)

    def killed(_: IngestBatch) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(IngestBatch, moment, killed)
        with pytest.raises(KeyboardInterrupt):
            add_sources(workspace, [str(tmp_path)])
    assert pool_size(workspace.store) == 0
    for torn in workspace.images.rglob("*.png"):
        torn.write_bytes(b"half")  # what a machine that lost its power may have left
    assert add_sources(workspace, [str(tmp_path)]).added == 3
    stored = {image.path.read_bytes() for image in repository.unlabelled(workspace)}
    assert stored == {picture_bytes(n) for n in range(3)}


def test_objects_that_cannot_be_fetched_are_named_and_tried_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fsspec.filesystem("memory")
    store.pipe({f"/line3/{n}.png": picture_bytes(n) for n in range(4)})
    cat = type(store).cat_file

    def refuse(self: object, path: str, *rest: object, **more: object) -> object:
        if path.endswith("2.png"):
            raise RuntimeError("403")
        return cat(self, path, *rest, **more)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(type(store), "cat_file", refuse)
            summary = add_sources(workspace, ["memory://line3"])
        assert (summary.added, summary.unreached) == (3, 1)
        assert summary.reasons == [("memory:///line3/2.png", "cannot be fetched (403)")]
        again = add_sources(workspace, ["memory://line3"])
        assert (again.added, again.known, again.unreached) == (1, 3, 0)
    finally:
        store.rm("/line3", recursive=True)


def test_an_object_that_is_too_large_is_not_fetched(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fsspec.filesystem("memory")
    store.pipe({"/line3/a.png": picture_bytes(1), "/line3/large.png": picture_bytes(2) + b"\0" * 400_000})
    monkeypatch.setattr("al_loop.images.ingest.MAX_BYTES", 300_000)
    monkeypatch.setattr(import_sources, "MAX_BYTES", 300_000)
    fetched: list[str] = []
    monkeypatch.setattr(
        import_sources, "read", lambda url, real=import_sources.read: (fetched.append(url), real(url))[1]
    )
    try:
        summary = add_sources(workspace, ["memory://line3"])
    finally:
        store.rm("/line3", recursive=True)
    assert (summary.added, summary.refused, summary.unreached) == (1, 1, 0)
    assert "MiB" in summary.reasons[0][1]
    assert fetched == ["memory:///line3/a.png"]


@pytest.mark.integration
def test_a_page_of_links_does_not_tell_whether_a_file_is_the_same(
    workspace: Workspace, tmp_path: Path
) -> None:
    served = tmp_path / "served"
    photographs(served, 2)
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            page = f"http://127.0.0.1:{server.server_port}/"
            assert add_sources(workspace, [page]).added == 2
            (served / "000.png").write_bytes(picture_bytes(50))
            again = add_sources(workspace, [page])
            assert (again.added, again.known) == (1, 1)
            assert add_sources(workspace, [f"{page}001.png"]).known == 1
            with pytest.raises(DataError, match="no image files in http"):
                add_sources(workspace, [f"{page}none.png"])
        finally:
            server.shutdown()
            thread.join()


def whole(path: Path, data: bytes, *, decode: bool = False) -> bool:
    path.write_bytes(data)
    try:
        prepare_image(path, decode=decode)
    except DataError:
        return False
    return True


def test_a_file_that_reaches_its_end_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"x.jpg": jpeg(), "x.png": picture_bytes(1)}
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    assert all(whole(tmp_path / name, data) for name, data in files.items())


def test_a_webp_must_be_as_long_as_it_says(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(buffer, "WEBP")
    assert whole(tmp_path / "x.webp", buffer.getvalue())
    assert not whole(tmp_path / "x.webp", buffer.getvalue()[:-9])


def test_what_ends_too_early_is_refused(tmp_path: Path) -> None:
    inner = jpeg(5)  # a thumbnail has an end of its own
    data = jpeg(1, thumbnail=inner)
    assert whole(tmp_path / "a.jpg", data)
    assert whole(tmp_path / "a.jpg", data + b"\0" * 40)  # cameras pad
    for end in (len(data) - 40, len(data) // 2, len(inner) + 700):
        assert not whole(tmp_path / "a.jpg", data[:end])
    picture = picture_bytes(1)
    assert whole(tmp_path / "a.png", picture + b"junk" * 9)
    assert not whole(tmp_path / "a.png", picture[:-200])


def test_damage_within_is_found_where_pixels_are_looked_at(tmp_path: Path) -> None:
    data = bytearray(picture_bytes(1))
    data[len(data) // 2] ^= 0xFF
    assert whole(tmp_path / "a.png", bytes(data))
    assert not whole(tmp_path / "a.png", bytes(data), decode=True)


def test_a_png_that_lies_on_its_side_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(80, 40, []).save(tmp_path / "a.png", exif=exif)
    upright = prepare_image(tmp_path / "a.png")
    assert (upright.width, upright.height, upright.untouched) == (40, 80, False)


def test_every_file_is_counted_once() -> None:
    report = IngestReport(["a"], 2, 3, [("b", "")], [("c", "")], 1)
    assert report.files == 9
