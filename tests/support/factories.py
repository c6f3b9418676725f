"""Factories that make the real things: pictures and labelled sets."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("bolt", "nut")


def draw(width: int, height: int, boxes: list[list[float]], seed: int = 0) -> Image.Image:
    """Return a noisy grey picture with a bright block at every box [x, y, w, h]."""
    pixels = np.random.default_rng(seed).integers(60, 90, (height, width, 3)).astype(np.uint8)
    for x, y, w, h in boxes:
        pixels[int(y) : int(y + h), int(x) : int(x + w)] = (230, 200, 40)
    return Image.fromarray(pixels)


def picture_bytes(seed: int = 0, size: tuple[int, int] = (96, 64)) -> bytes:
    buffer = io.BytesIO()
    draw(*size, [], seed).save(buffer, "PNG")
    return buffer.getvalue()


def write_coco_set(
    folder: Path,
    count: int,
    classes: tuple[str, ...] = CLASSES,
    seed: int = 0,
    size: tuple[int, int] = (96, 64),
) -> Path:
    """Write pictures with one block of each class and their COCO file; return the file.

    Class 0 is a wide block, class 1 a tall one: something that a detector can tell apart.
    """
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        boxes = []
        for label in range(len(classes)):
            w, h = ((22, 12), (12, 22), (18, 18))[label % 3]
            x = int(rng.integers(0, size[0] // 2 - w)) + (size[0] // 2) * (label % 2)
            y = int(rng.integers(0, size[1] - h))
            boxes.append([float(x), float(y), float(w), float(h)])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": boxes[-1],
                    "area": float(w * h),
                    "iscrowd": 0,
                }
            )
        name = f"photo-{number:03d}.png"
        draw(*size, boxes, seed * 1000 + number).save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
    path = folder / "coco.json"
    categories = [{"id": i, "name": name} for i, name in enumerate(classes, start=1)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def edited(coco: Path, name: str, change: Callable[[dict[str, Any]], object]) -> Path:
    """Write a changed copy of a COCO file beside it, under this name; return it."""
    data = json.loads(coco.read_text())
    change(data)
    coco.with_name(name).write_text(json.dumps(data))
    return coco.with_name(name)


def write_checkpoint(path: Path, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> Path:
    """Write a checkpoint with random weights, as torch users write them."""
    import torch

    from al_loop.detector.config.model_config import build_model, load_model_config

    torch.manual_seed(seed)
    torch.save(build_model(load_model_config("small", classes)).state_dict(), path)
    return path
