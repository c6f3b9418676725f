"""False alarms and power of the drift trigger, measured on the pool."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

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
_COPIES = 200  # shifted copies of each kind, at most
_POOL = 2000  # images of the pool that are used, at most
_ENOUGH = 0.8  # power that is taken for enough


@dataclass(frozen=True)
class Calibration:
    """What was measured. false_alarms: alarms in 100 windows without a shift.  drifted: share of those windows.

    power: shift -> window size -> share of windows that are noticed.  effects: shift -> median effect on
    embeddings.
    null_effect: 99 % of windows without a shift stay below.  window, effect: what is suggested.
    missed: shifts that even the largest window tried does not notice often enough.
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
    """Measure on windows drawn at random from the pool, and from shifted copies of it, with the model in use.

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
    seen = _seen(
        workspace,
        model,
        images,
        workspace.scores_dir(ScoreKey.of(workspace.config, model.id)),
        reporter,
        "score the pool",
    )
    size = min(rule.reference, len(seen) // 2)
    null_series = _without_shift(seen, size, rule, trials, rng)
    known, held_out = seen.take(np.arange(size)), images[size : size + _COPIES]
    power: dict[str, dict[int, float]] = {}
    effects: dict[str, float] = {}
    for kind, copies in _shifted(workspace, model, held_out, level, reporter).items():
        power[kind], effects[kind] = _noticed(known, copies, rule, max(20, trials // 5), rng)
    null = float(np.quantile([_embedding(s).effect for series in null_series for s in series], 0.99))
    window = _smallest(power, rule.window)
    return Calibration(
        model.id,
        len(seen),
        size,
        trials,
        level,
        100
        * sum(_alarms(series, rule.consecutive_windows) for series in null_series)
        / sum(map(len, null_series)),
        float(np.mean([any(s.drifted for s in one) for series in null_series for one in series])),
        null,
        power,
        effects,
        window,
        math.ceil(100 * max(null, 0.02)) / 100,
        tuple(kind for kind, by in power.items() if by.get(window, 0.0) < _ENOUGH),
    )


def lines(found: Calibration) -> list[str]:
    """The measurement in words, and settings to paste."""
    sizes = sorted({size for by in found.power.values() for size in by})
    head = "  ".join(f"{size:>5}" for size in sizes)
    return [
        f"{found.images} images of the pool, model {found.model}, reference of {found.reference}, {found.trials} windows",
        f"without a shift: {found.false_alarms:.2f} false alarms in 100 windows "
        f"({100 * found.drifted:.1f} % of single windows); effect below {found.null_effect:.3f} in 99 %",
        f"share of windows noticed, shifts of level {found.level}, by images in a window:",
        f"  {'':<12}  {head}  effect",
        *(
            f"  {kind:<12}  {'  '.join(f'{by[size]:5.2f}' if size in by else '    -' for size in sizes)}  "
            f"{found.effects[kind]:.3f}"
            for kind, by in found.power.items()
        ),
        *(
            [f"not noticed often enough by windows of {found.window}: {', '.join(found.missed)}"]
            if found.missed
            else []
        ),
        "suggested for al-loop.toml:",
        "  [monitor.drift]",
        f"  window = {found.window}",
        f"  min_effect = {found.effect:.2f}",
    ]


def to_json(found: Calibration) -> str:
    """The measurement in one line."""
    return json.dumps(asdict(found))


def _seen(
    workspace: Workspace,
    model: Model,
    images: Sequence[ImageFile],
    folder: Path,
    reporter: Reporter,
    title: str,
) -> ImageStatistics:
    with reporter.progress(title) as progress:
        scoring.score(workspace, model, images, folder, progress, say=reporter.line)
    scored = shards_in(workspace, folder).load([image.id for image in images])
    return image_statistics(scored, workspace.config.label_studio.min_score)


def _without_shift(
    seen: ImageStatistics, size: int, rule: DriftTrigger, trials: int, rng: Generator
) -> list[list[tuple[Signal, ...]]]:
    """Series of windows that share a reference, as the monitor's do; none has a shift."""
    found = []
    for _ in range(math.ceil(trials / _SERIES)):
        order = rng.permutation(len(seen))
        reference, rest = {"pool": seen.take(order[:size])}, order[size:]
        found.append(
            [
                drift_signals(reference, seen.take(rng.choice(rest, rule.window, replace=False)), rule, rng)
                for _ in range(_SERIES)
            ]
        )
    return found


def _shifted(
    workspace: Workspace, model: Model, images: Sequence[ImageFile], level: int, reporter: Reporter
) -> dict[str, ImageStatistics]:
    """What the model sees of copies of the images after each shift."""
    from al_loop.images.corruptions import CORRUPTIONS, corrupted_copy

    found = {}
    for kind in CORRUPTIONS:
        with scratch_folder("shift") as folder:
            copies = [
                ImageFile(
                    image.id,
                    corrupted_copy(local_copy(image), folder, kind, level, number),
                    image.width,
                    image.height,
                )
                for number, image in enumerate(images)
            ]
            found[kind] = _seen(
                workspace, model, copies, folder / "scores", reporter, f"score copies: {kind}"
            )
    return found


def _noticed(
    reference: ImageStatistics, copies: ImageStatistics, rule: DriftTrigger, trials: int, rng: Generator
) -> tuple[dict[int, float], float]:
    """Share of windows that are noticed, by their size; and the median effect at the settings' size."""
    found, effects = {}, [0.0]
    for size in (rule.window * factor for factor in _SIZES):
        if size > len(copies):
            break
        judged = [
            drift_signals(
                {"pool": reference}, copies.take(rng.choice(len(copies), size, replace=False)), rule, rng
            )
            for _ in range(trials)
        ]
        found[size] = float(np.mean([any(s.drifted for s in one) for one in judged]))
        if size == rule.window:
            effects = [_embedding(one).effect for one in judged]
    return found, float(np.median(effects))


def _embedding(signals: Sequence[Signal]) -> Signal:
    return next(s for s in signals if s.name == "embedding")


def _alarms(series: Sequence[Sequence[Signal]], consecutive_windows: int) -> int:
    """Alarms of a series; after each one it takes as many windows again."""
    alarms = row = 0
    for signals in series:
        row = row + 1 if any(s.drifted for s in signals) else 0
        if row == consecutive_windows:
            alarms, row = alarms + 1, 0
    return alarms


def _smallest(power: Mapping[str, Mapping[int, float]], window: int) -> int:
    """The smallest window that notices every shift often enough, else the largest that was tried."""
    sizes = sorted({size for by in power.values() for size in by})
    enough = [size for size in sizes if all(by.get(size, 0.0) >= _ENOUGH for by in power.values())]
    return (enough or sizes[-1:] or [window])[0]
