"""Scale samples of more than 8 bits, signed integers and floats to 8 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Range = tuple[float, float]

#: What cameras fill of wider samples. Not 14: a dark picture of 16 bits looks the same.
_USED_BITS = (8, 10, 12, 16)
_ROWS = 64


def to_8bit(
    samples: NDArray[np.generic], *, bits: int = 0, declared: Range | None = None
) -> tuple[Picture, str]:
    """Scale samples to 0..255, rounded to nearest; return them and a note "scaled from ... to 8 bit".

    bits: of a sample in the file, where fewer than of the array's type.
    declared: lowest and highest value, as the file says. The range is the declared one, else the type's, so
        that pictures of one camera compare; 16-bit samples that nowhere use more than 12, 10 or 8 bits have
        the range of these. 32-bit integers and floats of whole numbers are taken as the 16-bit samples they
        hold; floats in 0..1 as these; others by the range of their own values.
    Raises ValueError where no value is finite.
    """
    if samples.dtype == np.uint8:
        return np.asarray(samples, np.uint8), ""
    finite = np.isfinite(samples) if samples.dtype.kind == "f" else None
    values = samples if finite is None or finite.all() else samples[finite]
    if not values.size:
        raise ValueError("none of its values is a finite number")
    least, most = float(values.min()), float(values.max())
    whole = finite is None or bool((np.rint(values) == values).all())
    (low, high), how = _range(samples.dtype, bits, declared, least, most, whole)
    if samples.dtype == np.uint16:
        table = np.rint((np.arange(65536) - low).clip(0, high - low) * 255 / (high - low)).astype(np.uint8)
        return table[samples], how
    scaled = np.full(samples.shape, 128, np.uint8)  # of one value that has no range: grey
    # Some rows at a time: a large picture in float64 would take its memory several times.
    for start in range(0, len(samples) if high > low else 0, _ROWS):
        rows = samples[start : start + _ROWS].astype(np.float64)
        rows = np.nan_to_num(rows, copy=False, nan=low, posinf=high, neginf=low).clip(low, high)
        scaled[start : start + _ROWS] = np.rint((rows - low) * (255 / (high - low)))
    return scaled, how


def top_of(dtype: np.dtype[np.generic]) -> float:
    """Return the largest integer of a type; 0 for floats."""
    bits = dtype.itemsize * 8 - (dtype.kind == "i")
    return float(2**bits - 1) if dtype.kind in "iu" else 0.0


def _range(
    dtype: np.dtype[np.generic], bits: int, declared: Range | None, least: float, most: float, whole: bool
) -> tuple[Range, str]:
    """Return the values that become 0 and 255, and the note."""
    width = bits or dtype.itemsize * 8
    kind = {"u": f"{width} bit", "i": f"signed {width} bit"}.get(dtype.kind, f"{width}-bit float")
    top = float(2**bits - 1) if bits else top_of(dtype)
    if declared is not None and declared[0] <= least and most <= declared[1] and not 0 < top <= declared[1]:
        return declared, f"scaled from {kind} ({declared[0]:g} to {declared[1]:g} declared) to 8 bit"
    if bits:
        return (0.0, top), f"scaled from {kind} to 8 bit"
    if not top and least >= 0 and most <= 1:
        return (0.0, 1.0), f"scaled from {kind} in 0..1 to 8 bit"
    if whole and least >= 0:
        used = next((float(2**n - 1) for n in _USED_BITS if most <= 2**n - 1), 0.0)
        if used and (not top or used < top):
            return (0.0, used), f"scaled from {kind} ({int(used + 1).bit_length() - 1} used) to 8 bit"
        if 0 < top <= 65535:
            return (0.0, top), f"scaled from {kind} to 8 bit"
    return (least, most), f"scaled from {kind} to 8 bit by the range of its own values"
