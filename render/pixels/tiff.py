"""TIFF and BigTIFF: the directory, and pixels by OpenCV or Pillow. Source: TIFF 6.0, BigTIFF."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
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
    open_by_pillow,
    opencv,
    pictures_note,
)

#: Struct letter and bytes of each type of value that is read.
_TYPES = {
    1: ("B", 1), 3: ("H", 2), 4: ("I", 4), 6: ("b", 1), 8: ("h", 2), 9: ("i", 4), 11: ("f", 4), 12: ("d", 8),
    16: ("Q", 8),
}  # fmt: skip
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _PLANAR = 256, 257, 258, 262, 274, 277, 284
_MIN, _MAX, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA, _FORMAT, _SMIN, _SMAX = 280, 281, 322, 323, 338, 339, 340, 341
_WANTED = frozenset(
    (_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR, _MIN, _MAX, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA)
) | {_FORMAT, _SMIN, _SMAX}
#: Most values read of one tag, and most pages counted.
_VALUES, _PAGES = 16, 10_000

_ASSOCIATED, _UNASSOCIATED = 1, 2  # alpha, by which colours are multiplied already, or are to be
_MIN_IS_WHITE = 0
_SAMPLE_KINDS = {1: "unsigned", 2: "signed", 3: "float", 5: "complex", 6: "complex"}
_DEEP_COLOURS = (_MIN_IS_WHITE, 1, 2)  # grey, either way round, and RGB
_DEEP = frozenset(
    [(bits, "unsigned") for bits in (10, 12, 14, 16, 32)]
    + [(bits, "signed") for bits in (8, 16, 32)]
    + [(bits, "float") for bits in (32, 64)]
)


@dataclass(frozen=True)
class Page:
    """The first page of a TIFF. pages: how many there are."""

    tags: Mapping[int, tuple[float, ...]]
    pages: int

    def first(self, tag: int, default: int = 0) -> int:
        """Return the first value of a tag."""
        return int((self.tags.get(tag) or (default,))[0])


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
    if len({*tags.get(_BITS, ())}) > 1 or len({*tags.get(_FORMAT, ())}) > 1:
        raise ValueError("its samples are of several types")
    return Page(tags, 1 + len(places))


def exif_orientation(data: bytes) -> int:
    """Return the orientation in EXIF data (a TIFF), 1 where it is missing or damaged, as in browsers."""
    data = data.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
    if not order:
        return 1
    try:
        tags, _ = _directory(data, order, False, _start(data, order, False), wanted={_ORIENTATION})
    except (struct.error, ValueError):
        return 1
    values = tags.get(_ORIENTATION) or (1,)
    return int(values[0]) if values[0] in range(1, 9) else 1


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
    size = page.first(_WIDTH), page.first(_HEIGHT)
    return PictureHeader("TIFF", *size, pictures=page.pages, alpha=bool(page.tags.get(_EXTRA)), plain=False)


def decode_tiff(data: bytes, strict: bool, least_px: int) -> DecodedImage:
    """Decode the first page of a TIFF; see `render.pixels.decode.decode`."""
    page = first_page(data)
    check_pixels(page.first(_WIDTH), page.first(_HEIGHT))
    if (pixels := page.first(_TILE_WIDTH) * page.first(_TILE_HEIGHT)) > MAX_PIXELS:
        raise PictureError(
            f"has tiles of {pixels} px, at most {MAX_PIXELS // 10**6} million pixels are taken"
        )
    notes = pictures_note(page.pages, "pages")
    bits, kind = page.first(_BITS, 1), _SAMPLE_KINDS.get(page.first(_FORMAT, 1), "unknown")
    if bits <= 8 and kind != "signed":
        return decode_by_pillow(data, notes)
    _check_deep(page, bits, kind)
    samples = _unsigned_32(data) if (bits, kind) == (32, "unsigned") else opencv(data)
    if page.first(_SAMPLES, 1) == 4 and page.first(_EXTRA) != _UNASSOCIATED:
        samples, notes = samples[..., :3], (*notes, "a fourth channel that is no transparency: left out")
    if bits < 16 < bits + 7:  # OpenCV puts 10, 12 and 14 bits at the upper end of 16
        samples = samples >> (16 - bits)
    inverted = page.first(_PHOTOMETRIC, 1) == _MIN_IS_WHITE
    return from_samples(samples, bits if bits in (10, 12, 14) else 0, _declared(page.tags), inverted, notes)


def _check_deep(page: Page, bits: int, kind: str) -> None:
    """Refuse samples of more than 8 bits that OpenCV or Pillow would misread."""
    samples = page.first(_SAMPLES, 1)
    if samples not in (1, 3, 4) or (bits, kind) not in _DEEP:
        raise PictureError(
            f"holds {samples} {kind} samples of {bits} bits per pixel, expected 1, 3 or 4 of 8 or "
            "16 bits, or 32-bit integers or floats. Save it with 8 or 16 bits"
        )
    if page.first(_PLANAR, 1) == 2 and samples > 1:  # OpenCV would take one colour's rows for pixels
        raise PictureError("holds more than 8 bits with each colour by itself (planar): save it interleaved")
    if page.first(_PHOTOMETRIC, 1) not in _DEEP_COLOURS or page.first(_EXTRA) == _ASSOCIATED:
        raise PictureError(
            "holds more than 8 bits of other colours than grey and RGB, or of such as are multiplied by "
            "their transparency: save it as RGB or grey, with 8 or 16 bits"
        )


def _unsigned_32(data: bytes) -> NDArray[Any]:
    """Read the samples by Pillow, which takes them for signed integers."""
    with open_by_pillow(data, ("TIFF",)) as image:
        if image.mode != "I":
            raise PictureError("holds unsigned 32-bit samples in several channels: save it with 8 or 16 bits")
        return np.asarray(image).view(np.uint32)
