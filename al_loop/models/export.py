"""Export a model of the workspace as one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from al_loop.images.object_cache import read_stored
from al_loop.models.scoring import load_detector
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace
from al_loop.structures.images import ImageFile

if TYPE_CHECKING:
    from al_loop.detector.export.export import Exported


def export(
    workspace: Workspace, model: Model, images: Sequence[ImageFile], folder: Path, kind: str
) -> Exported:
    """Export a model as one file, and check the file on images. See `detector.export.export`."""
    from al_loop.detector.export.export import export_model
    from al_loop.detector.transforms import decode_bytes, fit

    detector = load_detector(workspace, model)
    size, config = detector.config.image_size, detector.config
    enlarge, resize = bool(config.enlarge), config.get("resize", "inside")
    samples = [
        fit(decode_bytes(read_stored(image), image.path), tuple(size), enlarge, resize) for image in images
    ]
    score_thr = workspace.config.score.score_thr
    return export_model(detector, samples, folder, kind, score_thr, model.weights_sha256)
