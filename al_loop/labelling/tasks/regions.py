"""Label Studio's regions as it writes them: names, fields and limits.

A result is a list of regions. A rectangle's x, y, width, height are percent of the image's width and
height; `rotation` is in degrees, clockwise on screen, about the rectangle's top-left corner. A polygon's
points are percent, too. A brush region is an RGBA image of the same size, in Label Studio's own run-length
encoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from al_loop.core.config import Drawn
from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.responses import Json

# Names in label_studio/*.xml, to which results refer.
FROM_NAME = "label"
TO_NAME = "image"
RECTANGLE, POLYGON, BRUSH = "rectanglelabels", "polygonlabels", "brushlabels"
#: The control that draws regions of a type.
CONTROLS = {RECTANGLE: FROM_NAME, POLYGON: "polygon", BRUSH: "brush"}
#: The types that people draw.
TYPES: Mapping[Drawn, tuple[str, ...]] = {
    "rectangles": (RECTANGLE,),
    "extreme-points": (RECTANGLE, POLYGON),
    "outlines": (RECTANGLE, POLYGON, BRUSH),
}

# Nobody draws more on one image. A longer result comes from a script or a fault, and would delay all others.
_MAX_REGIONS = 5_000
_MAX_POINTS = 100_000

# Percent or degrees. Boxes are clipped to the image; larger numbers would lose their corners to rounding.
_Number = Annotated[float, Meta(ge=-1e6, le=1e6)]
_Length = Annotated[float, Meta(gt=0, le=1e6)]
_Byte = Annotated[int, Meta(ge=0, le=255)]
_T = TypeVar("_T")


class RefusedResultError(LabelStudioError):
    """The submitted result cannot be converted to boxes; the message is one sentence for the user."""


@dataclass(frozen=True)
class ImageSize:
    """Width and height of an image as displayed, pixels."""

    width: int
    height: int


class Region(msgspec.Struct, frozen=True):
    """A region of a result."""

    type: str
    value: Json = {}
    id: str | int | None = None
    original_width: float = 0
    original_height: float = 0
    image_rotation: float | None = None


class Rectangle(msgspec.Struct, frozen=True):
    """The value of a rectangle: percent and degrees."""

    x: _Number
    y: _Number
    width: _Length
    height: _Length
    rotation: _Number = 0.0
    labels: list[str] = msgspec.field(name=RECTANGLE, default_factory=list)


class Polygon(msgspec.Struct, frozen=True):
    """The value of a polygon: points in percent."""

    points: Annotated[list[tuple[_Number, _Number]], Meta(max_length=_MAX_POINTS)]
    closed: bool | None = None
    labels: list[str] = msgspec.field(name=POLYGON, default_factory=list)


class Brush(msgspec.Struct, frozen=True):
    """The value of a brush region: run lengths."""

    rle: list[_Byte]
    labels: list[str] = msgspec.field(name=BRUSH, default_factory=list)


Value = Rectangle | Polygon | Brush
_VALUES: dict[str, type[Value]] = {RECTANGLE: Rectangle, POLYGON: Polygon, BRUSH: Brush}


def parse_value(value: object, shape: type[_T], name: str, hint: str = "") -> _T:
    """Convert a value of the server to a type of msgspec; raise RefusedResultError if it does not fit."""
    try:
        return msgspec.convert(value, shape)
    except (msgspec.ValidationError, RecursionError) as error:
        raise RefusedResultError(f"{name} cannot be read: {error}{hint}") from None


def read_regions(result: object) -> list[Region]:
    """Return the regions of a result, without the relations between them."""
    if isinstance(result, list | tuple) and len(result) > _MAX_REGIONS:
        raise RefusedResultError(f"{len(result)} regions on one image, expected at most {_MAX_REGIONS}")
    return [item for item in parse_value(result, list[Region], "the result") if item.type != "relation"]


def read_value(item: Region) -> Value:
    """Return the value of a rectangle, a polygon or a brush region."""
    name = f"a region of type {item.type!r}"
    return parse_value(item.value, _VALUES[item.type], name, ". Draw it again and submit")
