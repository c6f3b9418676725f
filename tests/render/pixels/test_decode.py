"""One decoder for every format: orientation, transparency, pages, refusals, and that all see the same."""

from __future__ import annotations

import base64
import io
import itertools
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.pool_images import add_images
from support.raw_images import U16, chunk, damaged, exif, noise, png, saved, tiff

from al_loop.detector.transforms import read_picture
from al_loop.images import repository
from al_loop.images.ingest import prepare_image
from al_loop.report.pictures import thumbnail
from al_loop.state.workspace import Workspace
from render.core.errors import PictureError
from render.pixels.decode import decode, read_header, turned
from render.pixels.decoded import decode_by_pillow


def test_what_is_transparent_lies_on_white() -> None:
    # (100 * 128 + 255 * 127 + 127) // 255 = 177.
    rgba = np.array([[[100, 0, 0, 128], [9, 9, 9, 0], [1, 2, 3, 255]]], np.uint8)
    on_white = [[[127, 127, 177], [255, 255, 255], [3, 2, 1]]]
    for data in (png(rgba, 6), tiff(rgba), saved(Image.fromarray(rgba), "WEBP", lossless=True, exact=True)):
        done = decode(data)
        assert done.pixels.tolist() == on_white
        assert done.notes == ("transparent pixels laid on white",)
    palette = chunk(b"PLTE", bytes([100, 0, 0, 1, 2, 3])) + chunk(b"tRNS", b"\x80")
    indexed = png(np.array([[0, 1]], np.uint8), 3, extra=palette)
    assert decode(indexed).pixels.tolist() == [[[127, 127, 177], [3, 2, 1]]]
    la = png(np.array([[[100, 128], [7, 255]]], np.uint8), 4)
    assert decode(la).pixels[0, :, 0].tolist() == [177, 7]
    # Alpha that no software has filled.
    nothing = png(np.array([[[100, 50, 20, 0]]], np.uint8), 6)
    assert decode(nothing).pixels.tolist() == [[[20, 50, 100]]]
    assert decode(nothing).notes == ("transparent everywhere: taken as opaque",)


#: What EXIF's orientations say of stored rows; upright it reads 1 2 3 / 4 5 6. Source: Exif 2.32, 4.6.4.
STORED = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[3, 6], [2, 5], [1, 4]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[4, 1], [5, 2], [6, 3]],
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_in_every_format(orientation: int, tmp_path: Path) -> None:
    upright = np.array(STORED[1], np.uint8) * 40
    stored = np.array(STORED[orientation], np.uint8) * 40
    assert turned(stored, orientation).tolist() == upright.tolist()
    wide = np.kron(stored, np.ones((16, 16), np.uint8))  # whole blocks of a JPEG
    image = Image.fromarray(np.repeat(wide[..., None], 3, axis=2))
    tags = [(274, "H", (orientation,))]
    files = {
        "a.jpg": saved(image, "JPEG", quality=100, exif=exif(orientation)),
        "a.png": png(stored, 0, extra=chunk(b"eXIf", exif(orientation)[6:])),
        "b.png": png(stored.astype(np.uint16) * 257, 0, extra=chunk(b"eXIf", exif(orientation)[6:])),
        "a.webp": saved(image, "WEBP", lossless=True, exif=exif(orientation)),
        "a.tif": tiff(stored, tags=tags),
        "b.tif": tiff(stored.astype(np.uint16) * 257, tags=tags),
        "c.tif": tiff((stored / 255).astype(np.float32), tags=tags),
        "d.tif": tiff(stored.astype(np.int32), tags=tags),
        "e.tif": tiff(stored.astype(np.uint32), tags=tags),
    }
    for name, data in files.items():
        for pixels in (decode(data).pixels, load(tmp_path / name, data)):
            step = len(pixels) // 2
            seen = pixels[step // 2 :: step, step // 2 :: step, 0]
            assert np.abs(seen.astype(int) - upright).max() <= 1, name


def load(path: Path, data: bytes) -> NDArray[np.uint8]:
    """What the model sees of a file that was taken in."""
    path.write_bytes(data)
    upright = prepare_image(path)
    stored = path.with_name(f"stored-{path.name}").with_suffix(upright.suffix)
    stored.write_bytes(upright.data)
    pixels = read_picture(stored)
    assert pixels.shape == (upright.height, upright.width, 3)
    return pixels


def test_more_pages_or_frames_than_one_are_said(tmp_path: Path) -> None:
    first, second = noise(1), noise(2)
    mpo = saved(noise(1), "MPO", save_all=True, append_images=[noise(2)], quality=95)
    cases = {
        "a.tif": (tiff(U16, pages=12), "with 12 pages: the first is taken"),
        "b.tif": (saved(first, "TIFF", save_all=True, append_images=[second]),
         "with 2 pages: the first is taken"),
        "a.png": (saved(first, "PNG", save_all=True, append_images=[second]),
         "with 2 frames: the first is taken"),
        "a.webp": (saved(first, "WEBP", save_all=True, append_images=[second], lossless=True),
         "with 2 frames: the first is taken"),
        "a.jpg": (mpo, "2 images in a JPEG: the first is taken"),
    }  # fmt: skip
    for name, (data, note) in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        upright = prepare_image(path)
        assert note in upright.notes, name
        if name not in ("a.tif", "a.jpg"):
            assert upright.suffix == ".png"  # what is stored has one frame, so that nobody sees another
            assert np.array_equal(decode(upright.data).pixels[..., ::-1], np.asarray(first)), name


def test_all_see_the_same(workspace: Workspace, tmp_path: Path) -> None:
    """The stored file, the model, a browser's decoder and the thumbnail agree."""
    ramp = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)
    shown = np.rint(ramp * (255 / 65535)).astype(np.uint8)
    # Each another way up: a picture of the same pixels would be known as the same.
    cases = {
        "a.png": (png(ramp, 0), shown),
        "b.tif": (tiff(ramp[::-1]), shown[::-1]),
        "c.tif": (tiff(ramp[:, ::-1] >> 4), shown[:, ::-1]),
        "d.tif": (tiff((ramp[::-1, ::-1] / 65535).astype(np.float32)), shown[::-1, ::-1]),
        "e.png": (png(ramp, 0, extra=chunk(b"eXIf", exif(6)[6:])), np.rot90(shown, -1)),
    }
    for name, (data, _) in cases.items():
        (tmp_path / name).write_bytes(data)
    report = add_images(workspace, [tmp_path / name for name in cases])
    assert len(report.added) == 5
    assert report.notes == {
        "scaled from 16 bit to 8 bit": 3,
        "scaled from 16 bit (12 used) to 8 bit": 1,
        "scaled from 32-bit float in 0..1 to 8 bit": 1,
    }
    for image, (_, right) in zip(
        repository.images_by_id(workspace, report.added), cases.values(), strict=True
    ):
        model = read_picture(image.path)
        assert np.abs(model[..., 0].astype(int) - right).max() <= 1  # 12 of 16 bits have steps of their own
        with Image.open(image.path) as stored:
            assert stored.mode == "L"
            assert np.array_equal(np.asarray(stored.convert("RGB"))[..., ::-1], model)
        small = thumbnail(image.path)
        assert small is not None
        with Image.open(io.BytesIO(base64.b64decode(small.partition(",")[2]))) as seen:
            assert abs(float(np.asarray(seen).mean()) - 127.5) < 2


def test_what_is_opaque_stays_as_it_is(tmp_path: Path) -> None:
    rgba = np.full((4, 5, 4), 255, np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png(rgba, 6))
    upright = prepare_image(path)
    assert upright.untouched
    assert upright.data == path.read_bytes()


def test_other_formats_that_are_damaged_inside_are_refused() -> None:
    image = noise(6)
    whole = {
        "PNG": saved(image, "PNG"),
        "TIFF": saved(image, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF 16": tiff(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 17, deflated=True),
        "WEBP": saved(image, "WEBP", lossless=True),
    }
    for name, data in whole.items():
        decode(data)
        # PNG has checksums, and a deflated TIFF its stream; WebP has neither.
        refused = 0
        for seed, at in enumerate(range(len(data) // 4, len(data) // 2, len(data) // 40)):
            try:
                decode(damaged(data, at, 8, seed))
            except PictureError:
                refused += 1
        assert refused >= (9 if name != "WEBP" else 0), name
        with pytest.raises(PictureError, match=r"damaged|cut short"):
            decode(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"hello", "is not an image"),
        (b"GIF89a" + bytes(20), "is a GIF, expected JPEG"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "is a HEIC, expected JPEG"),
        (bytes(1 << 20), "is not an image"),
        (png(np.zeros((1, 1), np.uint8), 0, size=(60000, 60000)), "has 60000x60000 px, at most 100 million"),
        (png(np.zeros((1, 1), np.uint8), 0, size=(9000, 9000)), "damaged|cut short"),
        (png(np.zeros((1, 1), np.uint8), 0, size=(0, 5)), "has 0x5 px"),
        (tiff(np.zeros((1, 1, 2), np.uint16)), "holds 2 unsigned samples of 16 bits"),
        (tiff(np.zeros((1, 1), np.float16)), "holds 1 float samples of 16 bits"),
        (tiff(np.zeros((1, 1), np.complex64)), "holds 1 complex samples of 64 bits"),
        (tiff(np.full((2, 2), np.nan, np.float32)), "none of its values is a finite number"),
        (tiff(np.zeros((1, 1), np.uint16), tags=[(322, "I", (1 << 20,)), (323, "I", (1 << 20,))]),
         "has tiles of"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_says_why(data: bytes, says: str) -> None:
    with pytest.raises(PictureError, match=says):
        decode(data)


def test_sizes_are_looked_at_before_room_is_made() -> None:
    huge = tiff(np.zeros((1, 1), np.uint16))
    for tag in (256, 257):
        place = next(i for i in itertools.count(8) if huge[i : i + 4] == bytes([tag & 255, tag >> 8, 4, 0]))
        huge = huge[: place + 8] + (10**5).to_bytes(4, "little") + huge[place + 12 :]
    with pytest.raises(PictureError, match="has 100000x100000 px"):
        decode(huge)
    jpeg = bytearray(saved(noise(), "JPEG"))
    place = jpeg.index(b"\xff\xc0")
    jpeg[place + 5 : place + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(PictureError, match="has 65535x65535 px"):
        decode(bytes(jpeg))
    scans = saved(noise(), "JPEG", progressive=True)
    place = scans.rindex(b"\xff\xda")
    with pytest.raises(PictureError, match="more than 200 scans"):
        decode(scans[:place] + scans[place:-2] * 300 + b"\xff\xd9")


def test_headers_are_read_without_pixels() -> None:
    header = read_header(png(np.zeros((3, 2), np.uint16), 0, extra=chunk(b"eXIf", exif(8)[6:])))
    assert (header.width, header.height, header.orientation, header.plain) == (2, 3, 8, False)
    assert read_header(tiff(np.zeros((3, 2), np.uint16), pages=3)).pictures == 3


def test_decoding_in_threads_leaves_the_filters_of_other_warnings() -> None:
    """Pillow warns of this palette; pytest turns warnings into errors."""
    file = io.BytesIO()
    Image.new("P", (40, 40)).save(file, "PNG", transparency=bytes(10))
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(decode_by_pillow, [file.getvalue()] * 400))
    assert len(images) == 400
    with pytest.raises(UserWarning):
        warnings.warn("another", UserWarning, stacklevel=1)
