"""Frames of videos: by time, by change, once; damaged files are named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from al_loop.cli import cli
from al_loop.core.errors import DataError
from al_loop.images import videos
from al_loop.images.decode import decode_picture
from al_loop.images.import_sources import add_sources
from al_loop.images.videos import FrameRule, frames
from al_loop.state.database.image_table import newest_images
from al_loop.state.workspace import Workspace


def scene(number: int) -> np.ndarray:
    coarse = np.random.default_rng(number).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Five seconds at 10 frames a second: three scenes, of which the first comes again."""
    path = tmp_path / "clips" / "line 3.avi"
    path.parent.mkdir()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 120))
    rng = np.random.default_rng(0)
    for number in [0] * 15 + [1] * 15 + [2] * 10 + [0] * 10:
        noise = rng.normal(0, 3, (120, 160, 3))
        writer.write((scene(number) + noise).clip(0, 255).astype(np.uint8))
    writer.release()
    return path


def test_one_frame_in_so_many_seconds(clip: Path) -> None:
    found = list(frames(str(clip), FrameRule(1.0)))
    assert [frame.seconds for frame in found] == pytest.approx([0, 1, 2, 3, 4])
    pixels = decode_picture(found[2].data).pixels
    np.testing.assert_allclose(pixels.astype(int), scene(1), atol=25)
    assert [frame.seconds for frame in frames(str(clip), FrameRule(1.25))] == pytest.approx(
        [0, 1.3, 2.5, 3.8]
    )


def test_each_picture_once(clip: Path) -> None:
    assert [frame.seconds for frame in frames(str(clip), FrameRule())] == pytest.approx([0, 1.5, 3.0])


def test_a_video_is_read_once_for_each_rule(
    workspace: Workspace, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = add_sources(workspace, [str(clip.parent)], frames=FrameRule(2.0))
    assert (first.added, first.known, first.refused) == (3, 0, 0)
    names = {Path(row.source).name for row in newest_images(workspace.store, 0)}
    assert names == {f"line 3.avi#t={seconds}.00s" for seconds in (0, 2, 4)}
    changed = add_sources(workspace, [str(clip)], frames=FrameRule())
    assert (changed.added, changed.known) == (2, 1)  # the first frame is known
    monkeypatch.setattr(videos, "frames", lambda *_: pytest.fail("opened again"))
    assert add_sources(workspace, [str(clip)], frames=FrameRule(2.0)).known == 1


def test_of_a_damaged_video_the_readable_frames_are_taken(workspace: Workspace, clip: Path) -> None:
    data = clip.read_bytes()
    clip.with_name("cut.avi").write_bytes(data[: len(data) // 2])
    clip.with_name("none.mp4").write_bytes(b"no video at all")
    done = add_sources(workspace, [str(clip.parent)], frames=FrameRule(0.5))
    assert done.added >= 10
    reasons = {Path(file).name: reason for file, reason in done.reasons}
    assert set(reasons) == {"cut.avi", "none.mp4"}
    assert "of 50 frames can be read; these are used" in reasons["cut.avi"]
    assert "cannot be read as a video" in reasons["none.mp4"]
    with pytest.raises(DataError, match="cannot be read as a video"):
        list(frames(str(clip.with_name("none.mp4")), FrameRule()))


def test_without_a_rule_videos_are_passed_over(workspace: Workspace, clip: Path) -> None:
    def add(*words: str) -> str:
        done = CliRunner().invoke(cli, ["-w", str(workspace.root), "pool", "add", *words])
        return done.output + str(done.exception or "")

    assert "passed over: 1 .avi (not read; frames of videos: --every SECONDS or --changed)" in add(
        str(clip.parent)
    )
    assert "line 3.avi is a video: to add its frames, give --every SECONDS or --changed" in add(str(clip))
    assert "give --every SECONDS or --changed, not both" in add(str(clip), "--every", "1", "--changed")
    assert "not in the range" in add(str(clip), "--every", "0")
    cv2.imwrite(str(clip.with_name("photo.png")), scene(7))
    assert "1 added, 0 known already, 0 refused" in add(str(clip.parent))
    assert "3 added, 1 known already, 0 refused" in add(str(clip.parent), "--changed")


def test_videos_are_found_as_photographs_are(workspace: Workspace, clip: Path) -> None:
    """By a glob; not in hidden files; and what is not there is one sentence."""
    clip.with_name(".hidden.avi").write_bytes(clip.read_bytes())
    found = add_sources(workspace, [str(clip.parent / "*.avi"), str(clip)], frames=FrameRule(2.0))
    assert (found.added, found.known, found.refused) == (3, 0, 0)
    with pytest.raises(DataError, match=r"nothing at .*gone\.mp4"):
        add_sources(workspace, [str(clip.with_name("gone.mp4"))], frames=FrameRule(2.0))
