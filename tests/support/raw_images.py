"""Pictures written byte by byte, so that a test knows what is in them whatever a library thinks of it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: SampleFormat of TIFF by NumPy's kind.
_FORMATS = {"u": 1, "i": 2, "f": 3, "c": 6}
Tag = tuple[int, str, tuple[float, ...]]
_TYPES = {"B": 1, "H": 3, "I": 4, "f": 11, "d": 12, "Q": 16}


def tiff(
    samples: NDArray[Any],
    *,
    order: str = "<",
    big: bool = False,
    bits: int = 0,
    photometric: int = 1,
    tags: Sequence[Tag] = (),
    pages: int = 1,
    deflated: bool = False,
    packed: bytes = b"",
    extra: int = 2,
) -> bytes:
    """Return a TIFF of samples (h, w) or (h, w, c) in one strip.

    bits: bits per sample, instead of those of the array's type.
    packed: bytes of the strip, instead of the samples'.
    extra: the tag ExtraSamples of a second or fourth channel, 2 for alpha; -1 for no tag.
    """
    height, width = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    data = packed or samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if deflated else data
    size = samples.dtype.itemsize * 8
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42)
    head += struct.pack(f"{order}HHQ", 8, 0, 0) if big else struct.pack(f"{order}I", 0)
    long = "Q" if big else "I"
    start = len(head)
    out = bytearray(head + data + b"\0" * (len(data) % 2))
    link = 8 if big else 4
    for _ in range(pages):
        entries: list[Tag] = [
            (256, "I", (width,)),
            (257, "I", (height,)),
            (258, "H", (bits or size,) * channels),
            (259, "H", (8 if deflated else 1,)),
            (262, "H", (2 if channels >= 3 and photometric == 1 else photometric,)),
            (273, long, (start,)),
            (277, "H", (channels,)),
            (278, "I", (height,)),
            (279, long, (len(data),)),
            (339, "H", (_FORMATS[samples.dtype.kind],) * channels),
            *((338, "H", (extra,)) for _ in range(int(channels in (2, 4) and extra >= 0))),
            *tags,
        ]
        out += b"\0" * (len(out) % 2)
        struct.pack_into(order + long, out, link, len(out))
        link = _directory(out, sorted(entries), order, big)
    return bytes(out)


def _directory(out: bytearray, entries: list[Tag], order: str, big: bool) -> int:
    """Write a directory behind what is there; returns where its link to the next one is."""
    inline = 8 if big else 4
    place = len(out) + (8 if big else 2)
    behind = place + len(entries) * (20 if big else 12) + inline
    body, extra = struct.pack(f"{order}{'Q' if big else 'H'}", len(entries)), bytearray()
    for tag, letter, values in entries:
        data = struct.pack(f"{order}{len(values)}{letter}", *values)
        body += struct.pack(f"{order}HH{'Q' if big else 'I'}", tag, _TYPES[letter], len(values))
        if len(data) > inline:
            body += struct.pack(order + ("Q" if big else "I"), behind + len(extra))
            extra += data
        else:
            body += data.ljust(inline, b"\0")
    out += body + b"\0" * inline + extra
    return behind - inline


def pack(values: Sequence[int], bits: int) -> bytes:
    """Values of 10, 12 or 14 bits, one behind the other, the highest bit first."""
    text = "".join(f"{value:0{bits}b}" for value in values)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    samples: NDArray[Any], colours: int, *, extra: bytes = b"", size: tuple[int, int] | None = None
) -> bytes:
    """Return a PNG of 8 or 16 bits.

    colours: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA.
    size: width and height in the header, instead of the samples'.
    """
    width, height = size or (samples.shape[1], samples.shape[0])
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", width, height, samples.dtype.itemsize * 8, colours, 0, 0, 0)
    body = chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def resealed(data: bytes) -> bytes:
    """A PNG with the checksums that its chunks should have, as whoever damages it on purpose would see to."""
    made, place = bytearray(data), 8
    while place + 12 <= len(made):
        end = place + 12 + int.from_bytes(made[place : place + 4], "big")
        if end > len(made):
            break
        made[end - 4 : end] = zlib.crc32(made[place + 4 : end - 4]).to_bytes(4, "big")
        place = end
    return bytes(made)


def exif(orientation: int) -> bytes:
    """EXIF data that hold an orientation."""
    made = Image.Exif()
    made[0x0112] = orientation
    return made.tobytes()


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """What Pillow writes of an image."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(seed: int = 0, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """An image of noise, which compresses badly: a change of its bytes shows."""
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    )


U16 = np.array([[0, 257, 32768, 65535]], np.uint16)


def damaged(data: bytes, at: int, count: int = 40, seed: int = 0) -> bytes:
    """Overwrite some bytes with random ones."""
    worse = np.random.default_rng(seed).integers(0, 256, count, dtype=np.uint8).tobytes()
    return data[:at] + worse + data[at + count :]
