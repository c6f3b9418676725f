"""Decode images with `render.pixels.decode`, but raise errors of al-loop."""

from __future__ import annotations

from pathlib import Path

from al_loop.core.errors import DataError
from al_loop.core.files import printable, read_regular
from render.core.errors import PictureError
from render.pixels.decode import MAX_BYTES, DecodedImage, decode
from render.pixels.levels import Picture


def read_file(path: Path | str) -> bytes:
    """Return the bytes of an image file. Raises DataError unless it is a regular file of limited size."""
    try:
        return read_regular(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from None


def read_picture(path: Path | str, *, turn: bool = True, strict: bool = True, least_px: int = 0) -> Picture:
    """Return an image as (h, w, 3) BGR, see `render.pixels.decode.decode`. DataError names the file."""
    try:
        return decode_picture(read_file(path), turn=turn, strict=strict, least_px=least_px).pixels
    except DataError as error:
        raise DataError(f"{printable(path)} {error}") from None


def decode_picture(data: bytes, *, turn: bool = True, strict: bool = True, least_px: int = 0) -> DecodedImage:
    """Call `render.pixels.decode.decode`. Raises DataError with the problem, without the name of the file."""
    try:
        return decode(data, turn=turn, strict=strict, least_px=least_px)
    except PictureError as error:
        raise DataError(str(error)) from None
