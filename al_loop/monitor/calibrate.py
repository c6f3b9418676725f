"""False alarms and power of the drift trigger, measured on the pool."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

from al_loop.core.config import DriftTrigger
from al_loop.core.console import Reporter
from al_loop.core.errors import DataError
from al_loop.images import repository
from al_loop.images.object_cache import local_copy
from al_loop.models import scoring
from al_loop.monitor.drift_tests import ImageStatistics, Signal, drift_signals, image_statistics
from al_loop.state import model_registry
from al_loop.state.database.image_table import pool_ids
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import Model
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace
from al_loop.structures.images import ImageFile
from render.core.tempdirs import scratch_folder

_SERIES = 20  # windows that share a reference
_SIZES = (1, 2, 4)  # windows tried, in units of the settings'
_COPIES = 200  # corrupted copies of each kind, at most
_POOL = 2000  # images of the pool that are used, at most
_ENOUGH = 0.8  # sufficient power

Signals = tuple[Signal, ...]


@dataclass(frozen=True)
class Calibration:
    """Measurements, and suggested settings.

    false_alarms: alarms in 100 windows without drift.
    drifted: share of these windows that count as drifted.
    null_effect: 99 % quantile of their effect.
    power: corruption -> window size -> share of windows that are detected.
    effects: corruption -> median effect on embeddings.
    window, effect: suggested settings.
    missed: corruptions that even the largest window does not detect often enough.
    """

    model: str
    images: int
    reference: int
    trials: int
    level: int
    false_alarms: float
    drifted: float
    null_effect: float
    power: dict[str, dict[int, float]]
    effects: dict[str, float]
    window: int
    effect: float
    missed: tuple[str, ...]


def calibrate(workspace: Workspace, trials: int, level: int, reporter: Reporter) -> Calibration:
    """Measure on random windows of the pool, and on corrupted copies of it, with the model in use.

    Raises DataError for a pool too small to be split into a reference and a window.
    """
    rule, model = workspace.config.monitor.drift, model_registry.current_model(workspace)
    rng = default_rng(SeedSequence([workspace.config.cycle.seed, 2]))
    ids = pool_ids(workspace.store)
    if len(ids) < 2 * rule.window:
        raise DataError(
            f"calibration splits the pool into a reference and windows of {rule.window}: expected at least "
            f"{2 * rule.window} images, got {len(ids)}. Add photographs: al-loop pool add PHOTOS..."
        )
    images = repository.images_by_id(workspace, [ids[i] for i in rng.permutation(len(ids))[:_POOL]])
    folder = workspace.scores_dir(ScoreKey.of(workspace.config, model.id))
    pool = _statistics(workspace, model, images, folder, reporter, "score the pool")
    size = min(rule.reference, len(pool) // 2)
    series = _without_drift(pool, size, rule, trials, rng)
    windows = [signals for one in series for signals in one]
    null_effect = float(np.quantile([_effect(signals) for signals in windows], 0.99))
    alarms = sum(_alarms(one, rule.consecutive_windows) for one in series)
    power, effects = {}, {}
    reference = pool.take(np.arange(size))
    corrupted = _corrupted(workspace, model, images[size : size + _COPIES], level, reporter)
    for kind, copies in corrupted.items():
        power[kind], effects[kind] = _detected(reference, copies, rule, max(20, trials // 5), rng)
    window = _smallest(power, rule.window)
    return Calibration(
        model=model.id,
        images=len(pool),
        reference=size,
        trials=trials,
        level=level,
        false_alarms=100 * alarms / len(windows),
        drifted=_share_drifted(windows),
        null_effect=null_effect,
        power=power,
        effects=effects,
        window=window,
        effect=math.ceil(100 * max(null_effect, 0.02)) / 100,
        missed=tuple(kind for kind, by_size in power.items() if by_size.get(window, 0.0) < _ENOUGH),
    )


def lines(found: Calibration) -> list[str]:
    """Return the measurements as text, and settings to paste."""
    sizes = sorted({size for by_size in found.power.values() for size in by_size})
    table = [f"  {'':<12}  {'  '.join(f'{size:>5}' for size in sizes)}  effect"]
    for kind, by_size in found.power.items():
        cells = "  ".join(f"{by_size[size]:5.2f}" if size in by_size else "    -" for size in sizes)
        table.append(f"  {kind:<12}  {cells}  {found.effects[kind]:.3f}")
    if found.missed:
        missed = ", ".join(found.missed)
        table.append(f"not detected often enough by windows of {found.window}: {missed}")
    return [
        f"{found.images} images of the pool, model {found.model}, reference of {found.reference}, "
        f"{found.trials} windows",
        f"without drift: {found.false_alarms:.2f} false alarms in 100 windows "
        f"({100 * found.drifted:.1f} % of single windows); effect below {found.null_effect:.3f} in 99 %",
        f"share of windows detected, corruptions of level {found.level}, by images in a window:",
        *table,
        "suggested for al-loop.toml:",
        "  [monitor.drift]",
        f"  window = {found.window}",
        f"  min_effect = {found.effect:.2f}",
    ]


def to_json(found: Calibration) -> str:
    """Return the measurements as one line of JSON."""
    return msgspec.json.encode(found).decode()


def _statistics(
    workspace: Workspace,
    model: Model,
    images: Sequence[ImageFile],
    folder: Path,
    reporter: Reporter,
    title: str,
) -> ImageStatistics:
    """Score images into a folder and return their statistics."""
    with reporter.progress(title) as progress:
        scoring.score(workspace, model, images, folder, progress, say=reporter.line)
    scored = shards_in(workspace, folder).load([image.id for image in images])
    return image_statistics(scored, workspace.config.label_studio.usual_min_score)


def _without_drift(
    pool: ImageStatistics, size: int, rule: DriftTrigger, trials: int, rng: Generator
) -> list[list[Signals]]:
    """Return series of windows without drift; the windows of a series share a reference."""
    found = []
    for _ in range(math.ceil(trials / _SERIES)):
        order = rng.permutation(len(pool))
        references = {"pool": pool.take(order[:size])}
        found.append(_windows(references, pool.take(order[size:]), rule.window, _SERIES, rule, rng))
    return found


def _windows(
    references: Mapping[str, ImageStatistics],
    images: ImageStatistics,
    size: int,
    count: int,
    rule: DriftTrigger,
    rng: Generator,
) -> list[Signals]:
    """Test random windows of some images."""
    drawn = (images.take(rng.choice(len(images), size, replace=False)) for _ in range(count))
    return [drift_signals(references, window, rule, rng) for window in drawn]


def _corrupted(
    workspace: Workspace, model: Model, images: Sequence[ImageFile], level: int, reporter: Reporter
) -> dict[str, ImageStatistics]:
    """Return the statistics of copies of the images with each corruption."""
    from al_loop.images.corruptions import CORRUPTIONS, corrupted_copy

    found = {}
    for kind in CORRUPTIONS:
        with scratch_folder("shift") as folder:
            copies = []
            for number, image in enumerate(images):
                path = corrupted_copy(local_copy(image), folder, kind, level, number)
                copies.append(ImageFile(image.id, path, image.width, image.height))
            title = f"score copies: {kind}"
            found[kind] = _statistics(workspace, model, copies, folder / "scores", reporter, title)
    return found


def _detected(
    reference: ImageStatistics, copies: ImageStatistics, rule: DriftTrigger, trials: int, rng: Generator
) -> tuple[dict[int, float], float]:
    """Return window size -> share of detected windows, and the median effect at the settings' size."""
    found, effects = {}, [0.0]
    for size in (rule.window * factor for factor in _SIZES):
        if size > len(copies):
            break
        windows = _windows({"pool": reference}, copies, size, trials, rule, rng)
        found[size] = _share_drifted(windows)
        if size == rule.window:
            effects = [_effect(signals) for signals in windows]
    return found, float(np.median(effects))


def _share_drifted(windows: Sequence[Signals]) -> float:
    return float(np.mean([any(signal.drifted for signal in signals) for signals in windows]))


def _effect(signals: Signals) -> float:
    """Return the effect on embeddings."""
    return next(signal.effect for signal in signals if signal.name == "embedding")


def _alarms(series: Sequence[Signals], consecutive_windows: int) -> int:
    """Return the number of alarms of a series; after an alarm the count of windows starts again."""
    alarms = row = 0
    for signals in series:
        row = row + 1 if any(signal.drifted for signal in signals) else 0
        if row == consecutive_windows:
            alarms, row = alarms + 1, 0
    return alarms


def _smallest(power: Mapping[str, Mapping[int, float]], window: int) -> int:
    """Return the smallest window that detects every corruption often enough, else the largest."""
    sizes = sorted({size for by_size in power.values() for size in by_size})
    enough = [size for size in sizes if all(one.get(size, 0.0) >= _ENOUGH for one in power.values())]
    return (enough or sizes[-1:] or [window])[0]
