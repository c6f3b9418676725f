"""TIFF and BigTIFF: the directory, and pixels by OpenCV or Pillow. Source: TIFF 6.0, BigTIFF."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.core.errors import PictureError
from render.pixels.decoded import (
    MAX_PIXELS,
    DecodedImage,
    PictureHeader,
    check_pixels,
    decode_by_pillow,
    from_samples,
    no_warnings,
    opencv,
    pictures_note,
)

#: Struct letter and bytes of each type of value that is read.
_TYPES: Mapping[int, tuple[str, int]] = MappingProxyType(
    {
        **{1: ("B", 1), 3: ("H", 2), 4: ("I", 4), 6: ("b", 1), 8: ("h", 2), 9: ("i", 4)},
        **{11: ("f", 4), 12: ("d", 8), 16: ("Q", 8)},
    }
)
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES = 256, 257, 258, 262, 277
_ORIENTATION, _PLANAR = 274, 284
_MIN, _MAX, _SMIN, _SMAX = 280, 281, 340, 341
_TILE_WIDTH, _TILE_HEIGHT, _EXTRA, _FORMAT = 322, 323, 338, 339
_WANTED = {
    _PLANAR, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _MIN, _MAX, _SMIN, _SMAX, _TILE_WIDTH,
    _TILE_HEIGHT, _EXTRA, _FORMAT,
}  # fmt: skip
#: Most values read of one tag, and most pages counted.
_VALUES, _PAGES = 16, 10_000

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
ASSOCIATED, UNASSOCIATED = 1, 2  # alpha, by which colours are multiplied already, or are to be
MIN_IS_WHITE = 0


_SAMPLE_KINDS = MappingProxyType(
    {UNSIGNED: "unsigned", SIGNED: "signed", FLOAT: "float", 5: "complex", 6: "complex"}
)
_DEEP_COLOURS = (MIN_IS_WHITE, 1, 2)  # grey, either way round, and RGB
_DEEP = frozenset(
    [(bits, "unsigned") for bits in (10, 12, 14, 16, 32)]
    + [(bits, "signed") for bits in (8, 16, 32)]
    + [(bits, "float") for bits in (32, 64)]
)


@dataclass(frozen=True)
class Page:
    """The first page of a TIFF.

    bits, sample_format: of one sample; all samples of a page have the same.
    samples: of a pixel.
    extra: what the first sample is that is no colour: 1 and 2 alpha, 0 anything; None without such.
    declared: lowest and highest value, where the file says them.
    planar: each colour lies by itself.
    pages: how many there are.
    """

    width: int
    height: int
    bits: int
    sample_format: int
    samples: int
    extra: int | None
    planar: bool
    photometric: int
    declared: tuple[float, float] | None
    tile_pixels: int
    pages: int


def first_page(data: bytes) -> Page:
    """Read the directory of a TIFF or BigTIFF; ValueError or struct.error where it is damaged."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    tags, following = _directory(data, order, big, _start(data, order, big))
    places: set[int] = set()
    while following and following not in places and len(places) < _PAGES:
        places.add(following)
        try:
            _, following = _directory(data, order, big, following, wanted=frozenset())
        except (struct.error, ValueError):
            break
    bits, formats = tags.get(_BITS, (1,)), tags.get(_FORMAT, (UNSIGNED,))
    if len(set(bits)) > 1 or len(set(formats)) > 1:
        raise ValueError("its samples are of several types")
    return Page(
        width=int(tags[_WIDTH][0]) if _WIDTH in tags else 0,
        height=int(tags[_HEIGHT][0]) if _HEIGHT in tags else 0,
        bits=int(bits[0]),
        sample_format=int(formats[0]),
        samples=int(tags.get(_SAMPLES, (1,))[0]),
        extra=int(tags[_EXTRA][0]) if tags.get(_EXTRA) else None,
        planar=tags.get(_PLANAR, (1,))[0] == 2,
        photometric=int(tags.get(_PHOTOMETRIC, (1,))[0]),
        declared=_declared(tags),
        tile_pixels=int(tags.get(_TILE_WIDTH, (0,))[0] * tags.get(_TILE_HEIGHT, (0,))[0]),
        pages=1 + len(places),
    )


def exif_orientation(data: bytes) -> int:
    """Return the orientation in EXIF data (a TIFF), 1 where it is missing or damaged, as in browsers."""
    data = data.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
    try:
        tags, _ = (
            _directory(data, order, False, _start(data, order, False), wanted={_ORIENTATION})
            if order
            else ({}, 0)
        )
    except (struct.error, ValueError):
        return 1
    values = tags.get(_ORIENTATION, (1,))
    return int(values[0]) if values and values[0] in range(1, 9) else 1


def _start(data: bytes, order: str, big: bool) -> int:
    return int(struct.unpack_from(f"{order}Q" if big else f"{order}I", data, 8 if big else 4)[0])


def _directory(
    data: bytes, order: str, big: bool, start: int, wanted: frozenset[int] | set[int] = _WANTED
) -> tuple[dict[int, tuple[float, ...]], int]:
    """Return the wanted tags of a directory, and the offset of the next one, 0 for none."""
    head, entry, inline = ("Q", 20, 8) if big else ("H", 12, 4)
    count = int(struct.unpack_from(order + head, data, start)[0])
    first = start + struct.calcsize(order + head)
    after = first + count * entry
    if after > len(data):
        raise ValueError("its directory is cut short")
    tags: dict[int, tuple[float, ...]] = {}
    for place in range(first, after, entry) if wanted else ():
        tag, kind, number = struct.unpack_from(order + ("HHQ" if big else "HHI"), data, place)
        if tag not in wanted or kind not in _TYPES:
            continue
        letter, size = _TYPES[kind]
        number = min(number, _VALUES)
        at = place + (12 if big else 8)
        if number * size > inline:
            at = int(struct.unpack_from(order + ("Q" if big else "I"), data, at)[0])
        tags[tag] = struct.unpack_from(f"{order}{number}{letter}", data, at)
    following = struct.unpack_from(order + ("Q" if big else "I"), data, after) if after < len(data) else (0,)
    return tags, int(following[0])


def _declared(tags: Mapping[int, tuple[float, ...]]) -> tuple[float, float] | None:
    """Return the declared range: any in the S tags; in the older tags only 0..2^n - 1.

    The older tags often hold the range of the page instead.
    """
    for low, high, older in ((_SMIN, _SMAX, False), (_MIN, _MAX, True)):
        if not tags.get(high):
            continue
        least, most = min(tags.get(low) or (0.0,)), max(tags[high])
        if most > least and not (older and (least or int(most) & (int(most) + 1))):
            return float(least), float(most)
    return None


def tiff_header(data: bytes) -> PictureHeader:
    """Read the header of a TIFF."""
    page = first_page(data)
    return PictureHeader(
        "TIFF", page.width, page.height, pictures=page.pages, alpha=page.extra is not None, plain=False
    )


def decode_tiff(data: bytes, strict: bool, least_px: int) -> DecodedImage:
    """Decode the first page of a TIFF; see `render.pixels.decode.decode`."""
    page = first_page(data)
    check_pixels(page.width, page.height)
    if page.tile_pixels > MAX_PIXELS:
        raise PictureError(
            f"has tiles of {page.tile_pixels} px, at most {MAX_PIXELS // 10**6} million pixels are taken"
        )
    notes = pictures_note(page.pages, "pages")
    kind = _SAMPLE_KINDS.get(page.sample_format, "unknown")
    if page.bits <= 8 and kind != "signed":
        return decode_by_pillow(data, notes)
    if page.samples not in (1, 3, 4) or (page.bits, kind) not in _DEEP:
        raise PictureError(
            f"holds {page.samples} {kind} samples of {page.bits} bits per pixel, expected 1, 3 or 4 of 8 or "
            "16 bits, or 32-bit integers or floats. Save it with 8 or 16 bits"
        )
    if page.planar and page.samples > 1:  # OpenCV would take one colour's rows for pixels
        raise PictureError("holds more than 8 bits with each colour by itself (planar): save it interleaved")
    if page.photometric not in _DEEP_COLOURS or page.extra == ASSOCIATED:
        raise PictureError(
            "holds more than 8 bits of other colours than grey and RGB, or of such as are multiplied by "
            "their transparency: save it as RGB or grey, with 8 or 16 bits"
        )
    samples = _unsigned_32(data) if (page.bits, kind) == (32, "unsigned") else opencv(data)
    if page.samples == 4 and page.extra != UNASSOCIATED:
        samples, notes = samples[..., :3], (*notes, "a fourth channel that is no transparency: left out")
    if page.bits < 16 < page.bits + 7:  # OpenCV puts 10, 12 and 14 bits at the upper end of 16
        samples = samples >> (16 - page.bits)
    inverted = page.photometric == MIN_IS_WHITE
    return from_samples(
        samples, page.bits if page.bits in (10, 12, 14) else 0, page.declared, inverted, notes
    )


def _unsigned_32(data: bytes) -> NDArray[Any]:
    """Read the samples by Pillow, which takes them for signed integers."""
    from PIL import Image

    with no_warnings(), Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
        if image.mode != "I":
            raise PictureError("holds unsigned 32-bit samples in several channels: save it with 8 or 16 bits")
        return np.asarray(image).view(np.uint32)
