"""PNG: its header from the chunks, its pixels by OpenCV."""

from __future__ import annotations

import struct
import zlib

from render.core.errors import PictureError
from render.pixels.decoded import (
    DecodedImage,
    PictureHeader,
    check_pixels,
    from_samples,
    opencv,
    pictures_note,
)
from render.pixels.tiff import exif_orientation


def png_header(data: bytes) -> PictureHeader:
    """Read the header of a PNG."""
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


def decode_png(data: bytes, strict: bool, least_px: int) -> DecodedImage:
    """Decode a PNG; see `render.pixels.decode.decode`."""
    header = png_header(data)
    check_pixels(header.width, header.height)
    data = _still_png(data)
    if header.plain and not header.alpha:
        return DecodedImage(opencv(data, colour=True), grey=data[25] == 0)
    return from_samples(opencv(data), notes=pictures_note(header.pictures, "frames"))


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
