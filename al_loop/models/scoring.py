"""Score images with a model of the workspace, on this machine or on a Ray cluster.

torch is imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    from al_loop.detector.inference.scoring import Unreadable


@dataclass(frozen=True)
class ScoreOptions:
    """Options of scoring that are not settings of the workspace.

    features, augmentation: see `al_loop.detector.inference.scoring.ScoreSettings`.
    exact: score in float32 regardless of the settings, as an evaluation does.
    ray: address of a cluster to score on. None: score on this machine.
    """

    features: bool = False
    augmentation: str = ""
    exact: bool = False
    ray: str | None = None


EXACT = ScoreOptions(exact=True)
_AS_CONFIGURED = ScoreOptions()


def load_detector(workspace: Workspace, model: Model) -> Detector:
    """Load a model of the workspace. Raises ModelError if its files have changed."""
    from al_loop.detector.inference.predict import load_detector as load

    return load(model, workspace.config.device, trusted=workspace.trusted)


def score(
    workspace: Workspace,
    model: Model,
    images: Sequence[ImageFile],
    folder: Path,
    progress: Progress,
    options: ScoreOptions = _AS_CONFIGURED,
    say: Callable[[str], None] = print,
) -> list[Unreadable]:
    """Score the images that have no scores in `folder`. Return the unreadable images.

    say: prints messages for the user.
    Raises ModelError if the weights change during the run.
    """
    store = shards_in(workspace, folder)
    if not images or not store.missing(images):
        return []
    from al_loop.detector.device import default_workers
    from al_loop.detector.inference.scoring import ScoreSettings, score_images

    guard, config = WeightsGuard(model), workspace.config
    linked = any(image.url is not None for image in images)

    def check() -> None:
        guard.check()
        if linked:
            trim(workspace.cache, int(config.pool.cache_gb * 1e9))

    settings = ScoreSettings(
        config.score.score_thr,
        config.score.batch_size,
        default_workers() if config.score.workers is None else config.score.workers,
        config.score.shard_size,
        options.features,
        options.augmentation,
        "fp32" if options.exact else config.pool_precision,
        masks=config.outlined and not options.augmentation,
    )
    if options.ray is None:
        detector = load_detector(workspace, model)
        return score_images(detector, images, store, settings, progress, say=say, check=check)
    from al_loop.detector.cluster.actor import ModelPayload
    from al_loop.detector.cluster.scoring import ClusterDetector, score_on_cluster
    from al_loop.detector.config.stored_config import read_config

    network = read_config(model.folder, model.config_sha256, trusted=workspace.trusted)
    payload = ModelPayload.of(model, network, config.score.workers, trusted=workspace.trusted)
    cluster = ClusterDetector(options.ray, config.device, payload, network)
    return score_on_cluster(cluster, images, store, settings, progress, say=say, check=check)
