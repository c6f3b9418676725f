"""Decode an image file into the 8-bit picture that models, people and reports see.

JPEG is decoded by simplejpeg (libjpeg-turbo), which reports damage inside; PNG and TIFF of more than 8 bits
by OpenCV; everything else by Pillow. Whatever they raise becomes one error: the file cannot be used.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.core.errors import PictureError
from render.core.files import printable, read_regular
from render.pixels.decoded import MAX_BYTES as MAX_BYTES
from render.pixels.decoded import MAX_PIXELS as MAX_PIXELS
from render.pixels.decoded import DecodedImage as DecodedImage
from render.pixels.decoded import PictureHeader as PictureHeader
from render.pixels.decoded import check_pixels as check_pixels
from render.pixels.jpeg import decode_jpeg, read_frame
from render.pixels.levels import Picture, to_8bit, top_of
from render.pixels.tiff import (
    ASSOCIATED,
    FLOAT,
    MIN_IS_WHITE,
    SIGNED,
    UNASSOCIATED,
    UNSIGNED,
    exif_orientation,
    first_page,
)

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
_EXPECTED = "JPEG, PNG, WebP, BMP or TIFF"
_ORIENTATION = 0x0112  # EXIF; 1 is upright
#: Offset and first bytes of other formats, and their names.
_OTHERS = (
    (0, b"GIF8", "a GIF"), (4, b"ftypheic", "a HEIC"), (4, b"ftypheix", "a HEIC"), (4, b"ftypmif1", "a HEIC"),
    (4, b"ftypavif", "an AVIF"), (0, b"\0\0\0\x0cjP  ", "a JPEG 2000"), (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"%PDF", "a PDF"), (0, b"8BPS", "a Photoshop file"), (0, b"\x76\x2f\x31\x01", "an OpenEXR"),
    (0, b"#?RADIANCE", "a Radiance HDR"),
)  # fmt: skip
OPAQUE = "transparent pixels laid on white"


def format_of(data: bytes) -> str:
    """Return the format by the first bytes; PictureError where it is none of `FORMATS`."""
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM":
        return "BMP"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if not data:
        raise PictureError("is empty")
    other = next((name for at, mark, name in _OTHERS if data[at : at + len(mark)] == mark), None)
    raise PictureError(f"is {other}, expected {_EXPECTED}" if other else f"is not an image ({_EXPECTED})")


def read_header(data: bytes) -> PictureHeader:
    """Read the header of an image; PictureError where it cannot be read."""
    kind = format_of(data)
    with _refusing():
        readers = {"JPEG": _jpeg_header, "PNG": _png_header, "TIFF": _tiff_header}
        return readers.get(kind, _pillow_header)(data)


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
        done = _DECODERS[kind](data, strict, least_px)
        if not turn or kind in ("BMP", "TIFF"):
            return done
        pixels = np.ascontiguousarray(turned(done.pixels, read_header(data).orientation))
        return DecodedImage(pixels, done.grey, done.notes)


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
    # Decoders raise many types: struct.error, zlib.error, TypeError, MemoryError, RecursionError, cv2.error
    # ...
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise PictureError(f"is damaged or cut short ({printable(lines[0][:200])})") from None


# ---- PNG -------------------------------------------------------------------------------------------------


def _jpeg_header(data: bytes) -> PictureHeader:
    frame = read_frame(data)
    if frame.more:
        return _pillow_header(data)
    orientation = exif_orientation(frame.exif)
    plain = orientation == 1 and frame.components != 4
    return PictureHeader("JPEG", frame.width, frame.height, orientation, plain=plain)


def _png_header(data: bytes) -> PictureHeader:
    width, height, depth, colours = struct.unpack_from(">IIBB", data, 16)
    place, frames, alpha, exif = 8, 1, colours in (4, 6), b""
    while place + 12 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        if name == b"acTL":
            frames = max(1, struct.unpack_from(">I", data, place + 8)[0])
        elif name == b"tRNS":
            alpha = True
        elif name == b"eXIf":
            exif = data[place + 8 : place + 8 + size]
        place += 12 + size
    orientation = exif_orientation(exif)
    plain = depth <= 8 and frames == 1 and orientation == 1
    return PictureHeader("PNG", width, height, orientation, frames, alpha, plain)


def _png(data: bytes, strict: bool, least_px: int) -> DecodedImage:
    header = _png_header(data)
    check_pixels(header.width, header.height)
    data = _still_png(data)
    if header.plain and not header.alpha:
        return DecodedImage(_opencv_colour(data), grey=data[25] == 0)
    return _from_samples(_opencv(data), notes=_pictures_note(header.pictures, "frames"))


def _still_png(data: bytes) -> bytes:
    """Return the chunks of the picture, with verified checksums: damaged others crash OpenCV 4.11."""
    view, place = memoryview(data), 8
    pieces: list[bytes | memoryview] = [data[:8]]
    while place + 12 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        end = place + 12 + size
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            if end > len(data) or zlib.crc32(view[place + 4 : end - 4]) != int.from_bytes(
                view[end - 4 : end], "big"
            ):
                raise PictureError(
                    f"is damaged or cut short (the checksum of a chunk {name.decode()} is wrong)"
                )
            pieces.append(view[place:end])
        if name == b"IEND":
            return b"".join(pieces)
        place = end
    raise PictureError("is damaged or cut short (its end is missing)")


# ---- TIFF ------------------------------------------------------------------------------------------------


_SAMPLE_KINDS = MappingProxyType(
    {UNSIGNED: "unsigned", SIGNED: "signed", FLOAT: "float", 5: "complex", 6: "complex"}
)
_PHOTOMETRIC = (MIN_IS_WHITE, 1, 2)  # grey, either way round, and RGB
_DEEP = frozenset(
    [(bits, "unsigned") for bits in (10, 12, 14, 16, 32)]
    + [(bits, "signed") for bits in (8, 16, 32)]
    + [(bits, "float") for bits in (32, 64)]
)


def _tiff_header(data: bytes) -> PictureHeader:
    page = first_page(data)
    return PictureHeader(
        "TIFF", page.width, page.height, pictures=page.pages, alpha=page.extra is not None, plain=False
    )


def _tiff(data: bytes, strict: bool, least_px: int) -> DecodedImage:
    page = first_page(data)
    check_pixels(page.width, page.height)
    if page.tile_pixels > MAX_PIXELS:
        raise PictureError(
            f"has tiles of {page.tile_pixels} px, at most {MAX_PIXELS // 10**6} million pixels are taken"
        )
    notes = _pictures_note(page.pages, "pages")
    kind = _SAMPLE_KINDS.get(page.sample_format, "unknown")
    if page.bits <= 8 and kind != "signed":
        return _pillow(data, notes)
    if page.samples not in (1, 3, 4) or (page.bits, kind) not in _DEEP:
        raise PictureError(
            f"holds {page.samples} {kind} samples of {page.bits} bits per pixel, expected 1, 3 or 4 of 8 or "
            "16 bits, or 32-bit integers or floats. Save it with 8 or 16 bits"
        )
    if page.planar and page.samples > 1:  # OpenCV would take one colour's rows for pixels
        raise PictureError("holds more than 8 bits with each colour by itself (planar): save it interleaved")
    if page.photometric not in _PHOTOMETRIC or page.extra == ASSOCIATED:
        raise PictureError(
            "holds more than 8 bits of other colours than grey and RGB, or of such as are multiplied by "
            "their transparency: save it as RGB or grey, with 8 or 16 bits"
        )
    samples = _unsigned_32(data) if (page.bits, kind) == (32, "unsigned") else _opencv(data)
    if page.samples == 4 and page.extra != UNASSOCIATED:
        samples, notes = samples[..., :3], (*notes, "a fourth channel that is no transparency: left out")
    if page.bits < 16 < page.bits + 7:  # OpenCV puts 10, 12 and 14 bits at the upper end of 16
        samples = samples >> (16 - page.bits)
    inverted = page.photometric == MIN_IS_WHITE
    return _from_samples(
        samples, page.bits if page.bits in (10, 12, 14) else 0, page.declared, inverted, notes
    )


def _unsigned_32(data: bytes) -> NDArray[Any]:
    """Read the samples by Pillow, which takes them for signed integers."""
    from PIL import Image

    with _no_warnings(), Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
        if image.mode != "I":
            raise PictureError("holds unsigned 32-bit samples in several channels: save it with 8 or 16 bits")
        return np.asarray(image).view(np.uint32)


# ---- any, by OpenCV or Pillow ----------------------------------------------------------------------------


def _from_samples(
    samples: NDArray[Any],
    bits: int = 0,
    declared: tuple[float, float] | None = None,
    inverted: bool = False,
    notes: tuple[str, ...] = (),
) -> DecodedImage:
    """Convert samples of shape (h, w), (h, w, 3) or (h, w, 4), in the order BGRA."""
    colours, alpha = (
        (samples[..., :3], samples[..., 3])
        if samples.ndim == 3 and samples.shape[2] == 4
        else (samples, None)
    )
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
    if alpha.min() == 255:
        return DecodedImage(np.ascontiguousarray(pixels), grey, notes)
    if alpha.max() == 0:
        return DecodedImage(
            np.ascontiguousarray(pixels), grey, (*notes, "transparent everywhere: taken as opaque")
        )
    share = alpha[..., None].astype(np.uint16)
    laid = (pixels * share + np.uint16(255) * (255 - share) + np.uint16(127)) // np.uint16(255)
    return DecodedImage(laid.astype(np.uint8), grey, (*notes, OPAQUE))


def _pictures_note(count: int, name: str) -> tuple[str, ...]:
    return (f"with {count} {name}: the first is taken",) if count > 1 else ()


@cache
def _cv2() -> Any:
    """Return OpenCV with its log off: errors say what is wrong."""
    import cv2

    cv2.setLogLevel(0)
    return cv2


def _opencv(data: bytes) -> NDArray[Any]:
    cv2 = _cv2()
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None:
        raise PictureError("is damaged or cut short (its pixels cannot be decoded)")
    return np.asarray(samples)


def _opencv_colour(data: bytes) -> Picture:
    cv2 = _cv2()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise PictureError("is damaged or cut short (its pixels cannot be decoded)")
    return np.asarray(pixels, np.uint8)


@contextmanager
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the pixels are what counts
        yield


def _pillow_orientation(image: Any) -> int:
    """Return the orientation by EXIF or XMP, 1 where these are damaged."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # the pixels are what counts
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _pillow_header(data: bytes) -> PictureHeader:
    from PIL import Image

    with _no_warnings(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        orientation = _pillow_orientation(image)
        pictures = int(getattr(image, "n_frames", 1))
        alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        # Every reader shows the first frame of a JPEG.
        plain = orientation == 1 and image.mode != "CMYK" and (pictures == 1 or kind == "JPEG")
        return PictureHeader(kind, *image.size, orientation, pictures, alpha, plain)


def _pillow(data: bytes, notes: tuple[str, ...] = ()) -> DecodedImage:
    from PIL import Image

    with _no_warnings(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        check_pixels(*image.size)
        image.load()
        grey = image.mode in ("1", "L", "LA")
        if image.mode == "CMYK":
            notes = (*notes, "turned from CMYK into RGB")
        rgba = np.asarray(image.convert("RGBA"))
    return _on_white(rgba[..., 2::-1], rgba[..., 3], grey, notes)


def _webp(data: bytes, strict: bool, least_px: int) -> DecodedImage:
    header = _pillow_header(data)
    check_pixels(header.width, header.height)
    if header.alpha or header.pictures > 1:
        return _pillow(data, _pictures_note(header.pictures, "frames"))
    return DecodedImage(_opencv_colour(data))


def _bmp(data: bytes, strict: bool, least_px: int) -> DecodedImage:
    header = _pillow_header(data)
    check_pixels(header.width, header.height)
    return _pillow(data) if header.alpha else DecodedImage(_opencv_colour(data))


_DECODERS: Mapping[str, Callable[[bytes, bool, int], DecodedImage]] = MappingProxyType(
    {"JPEG": decode_jpeg, "PNG": _png, "WEBP": _webp, "BMP": _bmp, "TIFF": _tiff}
)
