"""Samples of more than 8 bits, signed ones and floats, into 8 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Range = tuple[float, float]

#: What cameras of 8, 10 and 12 bits fill of wider samples. Not 14: a dark picture of 16 bits looks the same.
_USED_BITS = (8, 10, 12)


def to_8bit(
    samples: NDArray[np.generic], *, bits: int = 0, declared: Range | None = None
) -> tuple[Picture, str]:
    """Scale samples to 0..255, rounded to the nearest; return what was done, too, as "scaled from ... to 8 bit".

    bits: of a sample in the file, where fewer than of the array's type.  declared: lowest and highest value, as the
    file says. The range is the declared one, else the type's, so that pictures of one camera compare; 16-bit samples that
    nowhere use more than 12, 10 or 8 bits have the range of these. 32-bit integers and floats have no such range:
    floats in 0..1 and integers in 0..255 are taken as these, others by the range of their own values.
    Raises ValueError where no value is finite.
    """
    if samples.dtype == np.uint8:
        return np.asarray(samples, np.uint8), ""
    finite = np.isfinite(samples) if samples.dtype.kind == "f" else None
    seen = samples if finite is None or finite.all() else samples[finite]
    if not seen.size:
        raise ValueError("none of its values is a finite number")
    least, most = float(seen.min()), float(seen.max())
    (low, high), how = _range(samples.dtype, bits, declared, least, most)
    if samples.dtype == np.uint16:
        table = np.rint((np.arange(65536) - low).clip(0, high - low) * 255 / (high - low)).astype(np.uint8)
        return table[samples], how
    if samples.dtype.kind == "f":
        samples = np.nan_to_num(samples, nan=low, posinf=high, neginf=low)
    share = (np.clip(samples.astype(np.float64), low, high) - low) / (high - low) if high > low else 0.5
    return np.broadcast_to(np.rint(np.asarray(share) * 255), samples.shape).astype(np.uint8), how


def top_of(dtype: np.dtype[np.generic]) -> float:
    """Return the largest integer of a type; 0 for floats, which have no such end."""
    bits = dtype.itemsize * 8 - (dtype.kind == "i")
    return float(2**bits - 1) if dtype.kind in "iu" else 0.0


def _range(
    dtype: np.dtype[np.generic], bits: int, declared: Range | None, least: float, most: float
) -> tuple[Range, str]:
    """The values that become 0 and 255, and a sentence of where they are from."""
    integer = dtype.kind in "iu"
    width = bits or dtype.itemsize * 8
    name = f"{width} bit" if dtype.kind == "u" else f"signed {width} bit" if integer else f"{width}-bit float"
    top = float(2**bits - 1) if bits else top_of(dtype)
    wide = integer and width > 16
    if (
        declared is not None
        and declared[0] <= least
        and most <= declared[1]
        and (not integer or declared[1] < top)
    ):
        return declared, f"scaled from {name} ({declared[0]:g} to {declared[1]:g} declared) to 8 bit"
    if bits and bits < dtype.itemsize * 8:
        return (0.0, top), f"scaled from {name} to 8 bit"
    if integer and not wide and least >= 0:
        used = next((b for b in _USED_BITS if most <= 2**b - 1 < top), 0)
        return (
            0.0,
            float(2**used - 1) if used else top,
        ), f"scaled from {name}{f' ({used} used)' if used else ''} to 8 bit"
    if wide and least >= 0 and most <= 255:
        return (0.0, 255.0), f"scaled from {name} (8 used) to 8 bit"
    if not integer and least >= 0 and most <= 1:
        return (0.0, 1.0), f"scaled from {name} in 0..1 to 8 bit"
    return (least, most), f"scaled from {name} to 8 bit by the range of its own values"
