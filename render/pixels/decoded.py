"""Headers of images, decoded images, limits of size, and the adapters of OpenCV and Pillow."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from render.core.errors import PictureError
from render.pixels.levels import Picture, to_8bit, top_of

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
OPAQUE = "transparent pixels laid on white"
_ORIENTATION = 0x0112  # EXIF; 1 is upright

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


def from_samples(
    samples: NDArray[Any],
    bits: int = 0,
    declared: tuple[float, float] | None = None,
    inverted: bool = False,
    notes: tuple[str, ...] = (),
) -> DecodedImage:
    """Convert samples of shape (h, w), (h, w, 3) or (h, w, 4), in the order BGRA."""
    alpha = samples[..., 3] if samples.shape[2:] == (4,) else None
    colours = samples if alpha is None else samples[..., :3]
    pixels, scaled = to_8bit(colours, bits=bits, declared=declared)
    if inverted:
        pixels = np.invert(pixels)
    grey = pixels.ndim == 2
    if grey:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if scaled:
        notes = (*notes, scaled)
    if alpha is None:
        return DecodedImage(np.ascontiguousarray(pixels), grey, notes)
    top = top_of(alpha.dtype) or 1.0
    return _on_white(pixels, np.rint(alpha.clip(0, top) * (255.0 / top)).astype(np.uint8), grey, notes)


def _on_white(pixels: Picture, alpha: Picture, grey: bool, notes: tuple[str, ...]) -> DecodedImage:
    """Blend a picture with white; one that is transparent everywhere is taken as opaque."""
    if alpha.max() == 0:
        notes, alpha = (*notes, "transparent everywhere: taken as opaque"), np.full_like(alpha, 255)
    if alpha.min() == 255:
        return DecodedImage(np.ascontiguousarray(pixels), grey, notes)
    share = alpha[..., None].astype(np.uint16)
    laid = (pixels * share + np.uint16(255) * (255 - share) + np.uint16(127)) // np.uint16(255)
    return DecodedImage(laid.astype(np.uint8), grey, (*notes, OPAQUE))


def pictures_note(count: int, name: str) -> tuple[str, ...]:
    """Return the note on a file with several images, none for one image."""
    return (f"with {count} {name}: the first is taken",) if count > 1 else ()


@cache
def _cv2() -> Any:
    """Return OpenCV with its log off: errors say what is wrong."""
    import cv2

    cv2.setLogLevel(0)
    return cv2


def opencv(data: bytes, *, colour: bool = False) -> NDArray[Any]:
    """Decode by OpenCV: the samples as they are, or 8-bit BGR, in both cases not turned."""
    cv2 = _cv2()
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION if colour else cv2.IMREAD_UNCHANGED
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise PictureError("is damaged or cut short (its pixels cannot be decoded)")
    return np.asarray(pixels)


def open_by_pillow(data: bytes, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """Open an image by Pillow, whose warnings on odd metadata are ignored from then on.

    Images are decoded in threads, in which `warnings.catch_warnings` is not safe.
    """
    from PIL import Image

    warnings.filterwarnings("ignore", module=r"PIL\.")
    return Image.open(io.BytesIO(data), formats=formats)


def _pillow_orientation(image: Any) -> int:
    """Return the orientation by EXIF or XMP, 1 where these are damaged."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # the pixels are what counts
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def pillow_header(data: bytes) -> PictureHeader:
    """Read a header by Pillow."""
    with open_by_pillow(data) as image:
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        orientation = _pillow_orientation(image)
        pictures = int(getattr(image, "n_frames", 1))
        alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        # Every reader shows the first frame of a JPEG.
        plain = orientation == 1 and image.mode != "CMYK" and (pictures == 1 or kind == "JPEG")
        return PictureHeader(kind, *image.size, orientation, pictures, alpha, plain)


def decode_by_pillow(data: bytes, notes: tuple[str, ...] = ()) -> DecodedImage:
    """Decode the first image of a file by Pillow."""
    with open_by_pillow(data) as image:
        check_pixels(*image.size)
        image.load()
        grey = image.mode in ("1", "L", "LA")
        if image.mode == "CMYK":
            notes = (*notes, "turned from CMYK into RGB")
        rgba = np.asarray(image.convert("RGBA"))
    return _on_white(rgba[..., 2::-1], rgba[..., 3], grey, notes)
