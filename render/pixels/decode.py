"""Decode an image file into the 8-bit picture that models, people and reports see.

JPEG is decoded by simplejpeg (libjpeg-turbo), which reports damage inside; PNG and TIFF of more than 8 bits
by OpenCV; everything else by Pillow. Whatever they raise becomes one error: the file cannot be used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from render.core.errors import PictureError
from render.core.files import printable, read_regular
from render.pixels.decoded import (
    FORMATS,
    MAX_BYTES,
    MAX_PIXELS,
    DecodedImage,
    PictureHeader,
    check_pixels,
    decode_by_pillow,
    opencv,
    pictures_note,
    pillow_header,
)
from render.pixels.jpeg import decode_jpeg, jpeg_header
from render.pixels.levels import Picture
from render.pixels.png import decode_png, png_header
from render.pixels.tiff import decode_tiff, tiff_header

__all__ = [
    "FORMATS", "MAX_BYTES", "MAX_PIXELS", "DecodedImage", "PictureHeader", "check_pixels", "decode",
    "format_of", "read_header", "read_picture", "turned",
]  # fmt: skip

_EXPECTED = "JPEG, PNG, WebP, BMP or TIFF"
#: Offset and bytes that mark a format.
_MARKS = (
    (0, b"\xff\xd8\xff", "JPEG"), (0, b"\x89PNG\r\n\x1a\n", "PNG"), (8, b"WEBP", "WEBP"), (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"), (0, b"MM\0*", "TIFF"), (0, b"II+\0", "TIFF"), (0, b"MM\0+", "TIFF"),
    (0, b"GIF8", "a GIF"), (4, b"ftypheic", "a HEIC"), (4, b"ftypheix", "a HEIC"), (4, b"ftypmif1", "a HEIC"),
    (4, b"ftypavif", "an AVIF"), (0, b"\0\0\0\x0cjP  ", "a JPEG 2000"), (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"%PDF", "a PDF"), (0, b"8BPS", "a Photoshop file"), (0, b"\x76\x2f\x31\x01", "an OpenEXR"),
    (0, b"#?RADIANCE", "a Radiance HDR"),
)  # fmt: skip


def format_of(data: bytes) -> str:
    """Return the format by the first bytes; PictureError where it is none of `FORMATS`."""
    if not data:
        raise PictureError("is empty")
    name = next((name for at, mark, name in _MARKS if data[at : at + len(mark)] == mark), "")
    if name not in FORMATS:
        raise PictureError(f"is {name}, expected {_EXPECTED}" if name else f"is not an image ({_EXPECTED})")
    return name


def read_header(data: bytes) -> PictureHeader:
    """Read the header of an image; PictureError where it cannot be read."""
    header, _ = _READERS[format_of(data)]
    with _refusing():
        return header(data)


def decode(data: bytes, *, turn: bool = True, strict: bool = True, least_px: int = 0) -> DecodedImage:
    """Decode the bytes of an image file.

    turn: as its EXIF orientation says; pictures of a workspace are upright as they are, and TIFF is always
        turned.
    strict: refuse a JPEG that is damaged inside; else its lost parts are grey.
    least_px: both sides may come smaller, but not below this; 0 for the full size.
    Raises PictureError, whose text says what is wrong with the file: "is damaged ...".
    """
    kind = format_of(data)
    with _refusing():
        image = _READERS[kind][1](data, strict, least_px)
        if not turn or kind in ("BMP", "TIFF"):
            return image
        pixels = np.ascontiguousarray(turned(image.pixels, read_header(data).orientation))
        return replace(image, pixels=pixels)


def read_picture(path: Path | str) -> Picture:
    """Decode an image file into (h, w, 3) BGR; PictureError says what is wrong, without the file's name."""
    try:
        data = read_regular(path, MAX_BYTES)
    except OSError as error:
        raise PictureError(f"cannot be read ({error.strerror})") from None
    return decode(data).pixels


def turned(picture: Picture, orientation: int) -> Picture:
    """Return the pixels turned by an EXIF orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        picture = picture.swapaxes(0, 1)
    across, down = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    return picture[:: -1 if down else 1, :: -1 if across else 1]


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn whatever a decoder raises into PictureError."""
    try:
        yield
    except PictureError:
        raise
    # Decoders raise many types: struct.error, zlib.error, TypeError, cv2.error ...
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise PictureError(f"is damaged or cut short ({printable(lines[0][:200])})") from None


def _decode_webp_or_bmp(data: bytes, strict: bool, least_px: int) -> DecodedImage:
    header = pillow_header(data)
    check_pixels(header.width, header.height)
    if header.alpha or header.pictures > 1:
        return decode_by_pillow(data, pictures_note(header.pictures, "frames"))
    return DecodedImage(opencv(data, colour=True))


#: Readers of the header and of the pixels of each format.
_READERS: Mapping[
    str, tuple[Callable[[bytes], PictureHeader], Callable[[bytes, bool, int], DecodedImage]]
] = {
    "JPEG": (jpeg_header, decode_jpeg),
    "PNG": (png_header, decode_png),
    "WEBP": (pillow_header, _decode_webp_or_bmp),
    "BMP": (pillow_header, _decode_webp_or_bmp),
    "TIFF": (tiff_header, decode_tiff),
}
