"""Headers of images, decoded images, and limits of size."""

from __future__ import annotations

from dataclasses import dataclass

from render.core.errors import PictureError
from render.pixels.levels import Picture

MAX_PIXELS = 100_000_000
MAX_BYTES = 256 << 20  # of a file


@dataclass(frozen=True)
class PictureHeader:
    """Header of an image file.

    width, height: px, before it is turned.
    orientation: EXIF's, 1 to 8.
    pictures: pages or frames.
    alpha: pixels may be transparent.
    plain: whatever shows the file shows the same pixels, if none is transparent.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    pictures: int = 1
    alpha: bool = False
    plain: bool = True


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """pixels: (h, w, 3) BGR.

    grey: all three are the same.
    notes: what was done to them, for the log.
    """

    pixels: Picture
    grey: bool = False
    notes: tuple[str, ...] = ()


def check_pixels(width: int, height: int, most: int = MAX_PIXELS) -> None:
    """Raise PictureError for no or too many pixels, before memory is allocated."""
    if width < 1 or height < 1:
        raise PictureError(f"has {width}x{height} px")
    if width * height > most:
        raise PictureError(f"has {width}x{height} px, at most {most // 10**6} million pixels are taken")
