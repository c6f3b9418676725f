"""JPEG: headers, and pixels by simplejpeg, with warnings of libjpeg as errors."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from render.core.errors import PictureError
from render.core.files import printable
from render.pixels.decoded import DecodedImage, PictureHeader, check_pixels, opencv, pillow_header
from render.pixels.tiff import exif_orientation

#: Most scans of a JPEG. Each costs as much as the whole image; a progressive JPEG has about ten.
_MAX_SCANS = 200
_EXTRANEOUS = b" extraneous bytes before marker 0x"
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)


@dataclass(frozen=True)
class Frame:
    """The headers of a JPEG.

    several: its components come in several scans.
    exif: what EXIF data it has.
    more: an orientation in XMP, or an index of more pictures.
    """

    width: int
    height: int
    components: int
    several: bool
    exif: bytes
    more: bool


def read_frame(data: bytes) -> Frame:
    """Read the headers up to the first scan; PictureError where there is no frame of 8 bits.

    Source: ITU T.81, B.2.
    """
    place, exif, more, progressive = 2, b"", False, False
    width = height = components = 0
    while True:
        place = data.find(b"\xff", place)
        marker = data[place + 1] if 0 <= place < len(data) - 9 else -1
        if marker < 0 or (marker == 0xDA and not components):
            raise PictureError("is damaged or cut short (it has no frame)")
        if marker == 0xDA:
            return Frame(width, height, components, progressive or data[place + 4] < components, exif, more)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width, components = struct.unpack_from(">BHHB", data, place + 4)
            progressive = marker in _PROGRESSIVE
            if bits != 8:
                raise PictureError(f"has {bits} bits, expected a JPEG of 8")
        alone = marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8
        end = place + 1 if alone else place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == 0xE1 and data[place + 4 : place + 10] == b"Exif\0\0":
            exif = exif or data[place + 4 : end]
        else:
            more |= marker == 0xE1 and data.find(b"tiff:Orientation", place, end) > 0
            more |= marker == 0xE2 and data[place + 4 : place + 8] == b"MPF\0"
        place = end


def jpeg_header(data: bytes) -> PictureHeader:
    """Read the header of a JPEG, by Pillow where it has an orientation in XMP or several images."""
    frame = read_frame(data)
    if frame.more:
        return pillow_header(data)
    orientation = exif_orientation(frame.exif)
    plain = orientation == 1 and frame.components != 4
    return PictureHeader("JPEG", frame.width, frame.height, orientation, plain=plain)


def decode_jpeg(data: bytes, strict: bool, least_px: int) -> DecodedImage:
    """Decode a JPEG; see `render.pixels.decode.decode`."""
    import cv2
    import simplejpeg

    frame = read_frame(data)
    check_pixels(frame.width, frame.height)
    if frame.several and data.count(b"\xff\xda") > _MAX_SCANS:
        raise PictureError(f"has more than {_MAX_SCANS} scans")
    colours = {1: "GRAY", 4: "CMYK"}.get(frame.components, "BGR")
    small = {"min_height": least_px, "min_width": least_px} if least_px else {}
    try:
        pixels = simplejpeg.decode_jpeg(data, colours, strict=strict, **small)
    except ValueError as error:
        # Bytes that mean nothing, or colours sampled in a way that it does not know: OpenCV says nothing of
        # these.
        harmless = _is_padding(data, str(error).encode()) or "subsampling" in str(error)
        if colours == "CMYK" or not harmless:
            raise PictureError(f"is damaged or cut short ({printable(error)})") from None
        pixels = opencv(data, colour=True)
    if colours == "CMYK":
        # As every reader does, the samples are taken as Adobe writes them: inverted.
        inks = pixels.astype(np.uint16)
        pixels = ((inks[..., 2::-1] * inks[..., 3:] + 127) // 255).astype(np.uint8)
        return DecodedImage(pixels, notes=("turned from CMYK into RGB",))
    if pixels.shape[2] == 1:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    return DecodedImage(np.asarray(pixels, np.uint8), grey=frame.components == 1)


def _is_padding(data: bytes, warning: bytes) -> bool:
    """Whether libjpeg warns only of padding: bytes before the frame, or zeros before the end."""
    count, matched, marker = warning.rpartition(b": ")[2].partition(_EXTRANEOUS)
    if not matched:
        return False
    if marker[:2] == b"d9":
        end = data.rfind(b"\xff\xd9")
        return end > 0 and not any(data[end - int(count) : end])
    return marker[:1] == b"e" or marker[:2] in (b"fe", b"db", b"dd", b"c0", b"c1", b"c2")
