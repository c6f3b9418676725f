"""Damaged files of every format are decoded or refused in bounded time."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.raw_images import chunk, exif, noise, png, resealed, saved, tiff

from al_loop.core.errors import DataError
from al_loop.images.ingest import prepare_image
from render.core.errors import PictureError
from render.pixels.decode import decode

SMALL = (24, 16)
#: Numbers that lengths and sizes overflow at.
EDGES = [0, 1, 2, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1]


def originals() -> dict[str, bytes]:
    """A small file of every way in which pixels may be stored."""
    image, ramp = noise(1, SMALL), np.arange(24 * 16, dtype=np.uint16).reshape(16, 24) * 170
    rgba = image.convert("RGBA")
    rgba.putalpha(Image.fromarray((ramp >> 8).astype(np.uint8)))
    turned = {"exif": exif(6)}
    return {
        "jpeg": saved(noise(1, SMALL), "JPEG", quality=80, **turned),
        "jpeg progressive": saved(noise(2, SMALL), "JPEG", progressive=True),
        "jpeg grey": saved(noise(3, SMALL).convert("L"), "JPEG", restart_marker_blocks=1),
        "jpeg cmyk": saved(noise(4, SMALL).convert("CMYK"), "JPEG"),
        "mpo": saved(noise(5, SMALL), "MPO", save_all=True, append_images=[noise(6, SMALL)]),
        "png": saved(noise(1, SMALL), "PNG", **turned),
        "png palette": saved(noise(1, SMALL).convert("P"), "PNG", transparency=3),
        "png 16": png(ramp, 0, extra=chunk(b"eXIf", exif(3)[6:])),
        "png rgba 16": png(np.repeat(ramp[..., None], 4, axis=2), 6),
        "apng": saved(noise(1, SMALL), "PNG", save_all=True, append_images=[noise(2, SMALL)]),
        "webp": saved(noise(1, SMALL), "WEBP", **turned),
        "webp alpha": saved(rgba, "WEBP", lossless=True),
        "webp frames": saved(noise(1, SMALL), "WEBP", save_all=True, append_images=[noise(2, SMALL)]),
        "bmp": saved(noise(1, SMALL), "BMP"),
        "bmp palette": saved(noise(1, SMALL).convert("P"), "BMP"),
        "tiff": saved(noise(1, SMALL), "TIFF", **turned),
        "tiff lzw": saved(noise(1, SMALL), "TIFF", compression="tiff_lzw"),
        "tiff jpeg": saved(noise(1, SMALL), "TIFF", compression="jpeg"),
        "tiff 1": saved(noise(1, SMALL).convert("1"), "TIFF", compression="group4"),
        "tiff 16": tiff(ramp, pages=2),
        "tiff 16 big": tiff(ramp, order=">", big=True, deflated=True),
        "tiff float": tiff((ramp / 65535).astype(np.float32), deflated=True),
        "tiff int": tiff(ramp.astype(np.int32)),
        "tiff rgba 16": tiff(np.repeat(ramp[..., None], 4, axis=2)),
    }


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Change bits, bytes and numbers; cut, double or move pieces; cut off the end."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(made)) if rng.random() < 0.6 else rng.randrange(min(len(made), 200))
        match rng.randrange(7):
            case 0:
                made[at] ^= 1 << rng.randrange(8)
            case 1:
                made[at] = rng.randrange(256)
            case 2:
                size = rng.choice((1, 2, 4, 8))
                made[at : at + size] = (rng.choice(EDGES) % 256**size).to_bytes(
                    size, rng.choice(("little", "big"))
                )
            case 3:
                del made[at : at + rng.randrange(1, 40)]
            case 4:
                piece = made[at : at + rng.randrange(1, 40)]
                made[at:at] = piece * rng.choice((1, 1, 2, 30))
            case 5:
                made[at : at + 8] = bytes(rng.randrange(256) for _ in range(8))
            case _:
                del made[max(2, at) :]
        if len(made) < 4:
            return bytes(made)
    return bytes(made)


def cases(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    whole = originals()
    names = list(whole)
    rng = random.Random(seed)
    for number in range(count):
        name = names[number % len(names)]
        data = mutated(whole[name], rng)
        yield name, resealed(data) if "png" in name and rng.random() < 0.7 else data


def run(count: int, seed: int, folder: Path) -> None:
    reasons: list[str] = []
    slowest, path = 0.0, folder / "fuzzed"
    for number, (name, data) in enumerate(cases(count, seed)):
        began = time.perf_counter()
        try:
            if number % 4:
                pixels = decode(data, turn=bool(number % 2)).pixels
                assert (pixels.dtype, pixels.ndim, pixels.shape[-1]) == (np.uint8, 3, 3), name
            else:
                path.write_bytes(data)
                prepare_image(path, decode=bool(number % 8))
        except (PictureError, DataError) as error:
            reasons.append(str(error))
        slowest = max(slowest, time.perf_counter() - began)
    assert len(reasons) > count // 10
    assert all(map(str.isprintable, reasons))
    assert slowest < 20


def test_the_originals_are_whole() -> None:
    for name, data in originals().items():
        assert decode(data).pixels.shape in ((16, 24, 3), (24, 16, 3)), name


def test_damaged_files_are_refused_and_nothing_else_comes_out(tmp_path: Path) -> None:
    run(240, 1, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_hundred_thousand_damaged_files(tmp_path: Path, seed: int) -> None:
    run(25_000, 100 + seed, tmp_path)
