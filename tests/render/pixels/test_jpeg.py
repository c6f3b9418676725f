"""JPEG: damage inside, odd but healthy files, CMYK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from support.raw_images import damaged, exif, noise, saved

from al_loop.core.errors import DataError
from al_loop.detector.inference.scoring import Reader, Unreadable
from al_loop.detector.transforms import read_picture
from al_loop.images.ingest import IngestBatch, IngestReport, prepare_image
from al_loop.report.pictures import thumbnail
from al_loop.state.workspace import Workspace
from al_loop.structures.images import ImageFile
from render.core.errors import PictureError
from render.pixels.decode import decode


def test_cmyk_is_what_a_browser_shows() -> None:
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[..., 0], inks[..., 3] = 255, 51  # cyan, and a fifth of black: red 0, green and blue 204
    image = Image.merge("CMYK", [Image.fromarray(ink) for ink in np.moveaxis(inks, 2, 0)])
    done = decode(saved(image, "JPEG", quality=95))
    assert np.abs(done.pixels.reshape(-1, 3).astype(int) - [204, 204, 0]).max() <= 3
    assert done.notes == ("turned from CMYK into RGB",)
    assert np.abs(decode(saved(image, "TIFF")).pixels.reshape(-1, 3).astype(int) - [204, 204, 0]).max() <= 1


def test_exif_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    for broken in (
        exif(6)[:9],
        b"Exif\0\0" + b"\xff" * 30,
        exif(6).replace(b"MM", b"XX").replace(b"II", b"XX"),
    ):
        path = tmp_path / "a.jpg"
        path.write_bytes(saved(noise(), "JPEG", exif=broken))
        upright = prepare_image(path)
        assert upright.untouched
        assert (upright.width, upright.height) == (64, 48)
        assert prepare_image(path, decode=True).untouched


def test_a_jpeg_that_is_damaged_inside_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    whole = saved(noise(3, (320, 240)), "JPEG", quality=90)
    inside = damaged(whole, len(whole) // 2)
    with pytest.raises(PictureError, match="is damaged or cut short"):
        decode(inside)
    assert decode(inside, strict=False).pixels.shape == (240, 320, 3)
    path = tmp_path / "a.jpg"
    path.write_bytes(inside)
    assert prepare_image(path).untouched  # taken at its word, as the docs say
    with pytest.raises(DataError, match="is damaged or cut short"):
        prepare_image(path, decode=True)
    with pytest.raises(DataError, match=r"a\.jpg is damaged or cut short"):
        read_picture(path)
    assert thumbnail(path) is None
    left_out = Reader((320, 240), enlarge=False, augmentation="").read(ImageFile("a", path, 320, 240))
    assert isinstance(left_out, Unreadable)
    assert "a.jpg is damaged or cut short (Corrupt JPEG data" in left_out.reason
    batch, report = IngestBatch(workspace, "pool"), IngestReport()
    batch.put(prepare_image(path), str(path), report)
    assert report.added


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}, {"subsampling": 0}]
)
def test_odd_but_healthy_jpegs_are_taken(options: dict[str, Any]) -> None:
    whole = saved(noise(4), "JPEG", quality=90, **options)
    expected = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR)
    head = 4 + int.from_bytes(whole[4:6], "big")  # behind the first segment
    odd = {
        "as it is": whole,
        "trailing": whole + b"trailer" * 9,
        "another picture behind": whole + saved(noise(5), "JPEG"),
        "zeros before its end": whole[:-2] + b"\0" * 7 + whole[-2:],
        "fill bytes": whole[:-2] + b"\xff" * 7 + whole[-2:],
        "bytes between segments": whole[:head] + b"\0\0\0" + whole[head:],
    }
    for name, data in odd.items():
        assert np.array_equal(decode(data).pixels, expected), name
    with pytest.raises(PictureError, match="cut short"):
        decode(whole[:-2])
    with pytest.raises(PictureError, match="cut short"):
        decode(whole[: len(whole) // 2])


def test_an_unknown_way_to_sample_colours_is_read_by_opencv() -> None:
    data = bytearray(saved(noise(), "JPEG", subsampling=2))
    place = data.index(b"\xff\xc0")
    data[place + 14] = 0x12  # the second component has two rows for each of the third
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decode(bytes(data)).pixels, expected)
