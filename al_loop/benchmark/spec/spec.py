"""The spec of a benchmark, and its record in the folder of the results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from al_loop.core.config import Config
from al_loop.core.errors import ConfigError
from al_loop.core.files import read_json, write_json
from al_loop.evaluation.detection_counts import CountRuleName

#: The record in the folder of a benchmark.
FILE = "benchmark.json"
#: Raised when folders of the previous version cannot be resumed.
_FORMAT = 2
#: Settings that trainings and evaluations read. Others may change before a benchmark is resumed.
_SETTINGS = ("classes", "device", "gpus", "model", "pretrain", "train", "score")
#: Parts of the record that may grow before a benchmark is resumed.
_GROWING = (
    *("starts", "seeds", "strategies", "cycles", "batches"),
    *("schedules", "real", "synthetic", "healthy", "healthy_synthetic"),
)
#: Parts of a grid that the record has only if they are used.
_OPTIONAL = ("healthy", "healthy_synthetic", "total")


@dataclass(frozen=True, kw_only=True)
class StrategyGrid:
    """A comparison of strategies.

    strategies: names in `strategies.STRATEGIES`.
    k, cycles: images per cycle, and number of cycles.
    batches: instead of cycles, a single cycle of each of these sizes.
    early_stop: end a training when the validation AP no longer improves.
    from_initial: train each cycle from the initial model, not from the previous one.
    """

    kind: ClassVar[str] = "strategies"
    settings: ClassVar[tuple[str, ...]] = (*_SETTINGS, "cycle.beta", "cycle.candidates", "self_training")

    strategies: tuple[str, ...]
    k: int
    cycles: int
    batches: tuple[int, ...] = ()
    early_stop: bool = False
    from_initial: bool = False


@dataclass(frozen=True, kw_only=True)
class MixGrid:
    """A comparison of mixes: photographs by rendered images, in several training schedules.

    rendered: COCO files; none for all rendered sets of the workspace.
    schedules: names in `al_loop.benchmark.run.mix.SCHEDULES`.
    real, synthetic: numbers of images, or shares of all as in "25%".
    healthy, healthy_synthetic: numbers of images without boxes, in addition to the others. Empty: images
        without boxes are not drawn apart.
    total: number of photographs and rendered images of every cell, of which `synthetic` are rendered. `real`
        is empty then.
    """

    kind: ClassVar[str] = "mix"
    settings: ClassVar[tuple[str, ...]] = _SETTINGS

    rendered: tuple[Path, ...]
    schedules: tuple[str, ...]
    real: tuple[str, ...]
    synthetic: tuple[str, ...]
    healthy: tuple[str, ...] = ()
    healthy_synthetic: tuple[str, ...] = ()
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class TransferGrid:
    """A comparison of pretrainings of the encoder.

    rendered: COCO files; none for all rendered sets of the workspace.
    real: numbers of photographs, or shares of all as in "25%".
    """

    kind: ClassVar[str] = "transfer"
    settings: ClassVar[tuple[str, ...]] = _SETTINGS

    rendered: tuple[Path, ...]
    real: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BenchmarkSpec:
    """What `al-loop benchmark` compares.

    pool, validation, tests: COCO files; tests by name.
    starts: name -> "scratch", "coco", "current" or the id of a model.
    seeds: repetitions.
    iterations: steps of each training.
    rule: how boxes are counted.
    """

    pool: Path
    validation: Path
    tests: Mapping[str, Path]
    starts: Mapping[str, str]
    seeds: int
    iterations: int
    grid: StrategyGrid | MixGrid | TransferGrid
    rule: CountRuleName = "iou"


def spec_record(spec: BenchmarkSpec, hashes: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Return the record of a benchmark as plain data, with the settings that its runs read, by dotted key.

    hashes: of the datasets and initial models, by name.
    """
    settings = {key: attrgetter(key)(config) for key in spec.grid.settings}
    if config.outlined:
        settings |= {"task": config.task, "metric": config.key_metric}
    record = {
        "format": _FORMAT,
        "kind": spec.grid.kind,
        **{key: value for key, value in asdict(spec.grid).items() if value or key not in _OPTIONAL},
        "seeds": spec.seeds,
        "iterations": spec.iterations,
        **hashes,
        "settings": settings,
        **({} if spec.rule == "iou" else {"rule": spec.rule}),
    }
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(record, enc_hook=str))
    return plain


def claim_folder(out: Path, record: Mapping[str, Any], *, resume: bool) -> None:
    """Write the record into an empty folder, or compare it with the record there.

    Raises ConfigError if the folder contains something else, or, without `resume`, this benchmark.
    """
    path = out / FILE
    if path.exists():
        if not resume:
            raise ConfigError(
                f"{out} contains a benchmark. Continue it with --resume, or choose another --out"
            )
        _refuse_changes(out, read_json(path), record)
    elif out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty and has no {FILE}. Choose another folder: --out")
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, dict(record))


def _refuse_changes(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if before.get("format") != _FORMAT:
        raise ConfigError(
            f"{out} contains a benchmark of another version of al-loop, which cannot be resumed. "
            "Choose another folder: --out"
        )
    changed = [f"{key}: was {a!r}, now {b!r}" for key, a, b in _differences(before, now, "")]
    if changed:
        raise ConfigError(
            f"{out} contains a different benchmark ({'; '.join(changed)}). "
            "Use the same options and settings, or choose another folder: --out"
        )


def _differences(before: Any, now: Any, path: str) -> list[tuple[str, Any, Any]]:
    """Return (dotted key, before, now) of every difference that is no growth."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(before if path in _GROWING else before.keys() | now.keys())
        return [
            difference
            for key in keys
            for difference in _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
        ]
    if before == now or (path in _GROWING and _has_grown(before, now)):
        return []
    return [(path, before, now)]


def _has_grown(before: Any, now: Any) -> bool:
    if isinstance(before, list) and isinstance(now, list):
        return set(before) <= set(now)
    return isinstance(before, int) and isinstance(now, int) and before <= now
