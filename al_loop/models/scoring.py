"""Score images with a model of the workspace, here or on a Ray cluster. torch is imported inside the functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from al_loop.core.console import Progress
from al_loop.images.object_cache import trim
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import Model, WeightsGuard
from al_loop.state.workspace import Workspace
from al_loop.structures.images import ImageFile

if TYPE_CHECKING:
    from al_loop.detector.inference.predict import Detector
    from al_loop.detector.inference.scoring import ScoreSettings, Unreadable


def load_detector(workspace: Workspace, model: Model) -> Detector:
    """Load a model of the workspace; ModelError when its files were changed."""
    from al_loop.detector.inference.load import load_detector as load

    return load(
        model.folder,
        model.weights_sha256,
        model.id,
        workspace.config.device,
        config_sha256=model.config_sha256,
        trusted=workspace.trusted,
    )


def score(
    workspace: Workspace,
    model: Model,
    images: Sequence[ImageFile],
    folder: Path,
    progress: Progress,
    *,
    features: bool = False,
    augmentation: str = "",
    exact: bool = False,
    say: Callable[[str], None] = print,
    ray: str | None = None,
) -> list[Unreadable]:
    """Score the images, or augmented copies, that `folder` does not hold yet; return those that could not be read.

    exact: in float32 whatever the settings say, for what models are judged by.  say: is told what the user should know.
    ray: address of a cluster to do it on.  Raises ModelError where the weights change meanwhile.
    """
    store = shards_in(workspace, folder)
    if not images or not store.missing(images):
        return []
    from al_loop.detector.inference.scoring import score_images
    from al_loop.detector.precision import precision_here

    guard = WeightsGuard(model)
    linked = any(image.url is not None for image in images)

    def check() -> None:
        guard.check()
        if linked:
            trim(workspace.cache, int(workspace.config.pool.cache_gb * 1e9))

    settings = replace(_score_settings(workspace), features=features, augmentation=augmentation)
    wanted = "fp32" if exact else workspace.config.pool_precision
    if ray is not None:
        from al_loop.detector.cluster.actor import ModelPayload
        from al_loop.detector.cluster.scheduler import ClusterDetector, score_on_cluster
        from al_loop.detector.config.stored_config import read_config

        config = read_config(model.folder, model.config_sha256, trusted=workspace.trusted)
        workers = workspace.config.score.workers
        payload = ModelPayload.of(model, config, workers, trusted=workspace.trusted)
        cluster_detector = ClusterDetector(ray, workspace.config.device, wanted, payload, config)
        return score_on_cluster(cluster_detector, images, store, settings, progress, say=say, check=check)
    detector = load_detector(workspace, model)
    settings = replace(settings, precision=precision_here(wanted, detector.device))
    return score_images(detector, images, store, settings, progress, say=say, check=check)


def _score_settings(workspace: Workspace) -> ScoreSettings:
    from al_loop.detector.cpu import default_workers
    from al_loop.detector.inference.scoring import ScoreSettings

    score = workspace.config.score
    return ScoreSettings(
        score_thr=score.score_thr,
        batch_size=score.batch_size,
        workers=default_workers() if score.workers is None else score.workers,
        shard_size=score.shard_size,
    )
