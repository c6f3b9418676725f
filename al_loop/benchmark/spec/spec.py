"""What a benchmark was asked for; kept beside its results, so that they are never mixed with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import msgspec

from al_loop.core.config import Config
from al_loop.core.errors import ConfigError
from al_loop.core.files import read_json, write_json
from al_loop.core.renamed_settings import with_new_names, with_old_names

#: Where the question is kept.
FILE = "benchmark.json"
#: Settings that trainings and judging read; all others may change between two runs of a benchmark.
_READ = ("classes", "device", "gpus", "model", "pretrain", "train")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The question.

    pool, validation, tests: hashes of the sets.  starts: name -> hash of the weights, "" for random ones.
    strategies, seeds: side by side.  k, cycles: images per cycle and how many; or batches: one cycle of each of these
    sizes.  iterations: steps of each training; early: stop before when the validation no longer gains.
    candidates: "unlabelled", or "all" with those that are labelled.  anew: train each cycle from the start, not from
    the model before.  settings: model, training, scoring and selection as in al-loop.toml.
    """

    pool: str
    validation: str
    tests: dict[str, str]
    starts: dict[str, str]
    strategies: tuple[str, ...]
    seeds: int
    k: int
    cycles: int
    batches: tuple[int, ...]
    iterations: int
    early: bool
    anew: bool
    settings: Config

    growing: ClassVar[tuple[str, ...]] = ("starts", "strategies", "seeds", "cycles", "batches")
    read: ClassVar[tuple[str, ...]] = (*_READ, "score", "cycle.beta", "cycle.candidates")


class MixAsked(msgspec.Struct, frozen=True, kw_only=True):
    """The question of a mix study. rendered: hash of the rendered set; of the others see `Asked`.

    ways: see `al_loop.benchmark.run.mix.WAYS`.  real, synthetic: numbers of images, from few to many.
    """

    pool: str
    validation: str
    tests: dict[str, str]
    rendered: str
    starts: dict[str, str]
    ways: tuple[str, ...]
    real: tuple[int, ...]
    synthetic: tuple[int, ...]
    seeds: int
    iterations: int
    settings: Config

    growing: ClassVar[tuple[str, ...]] = ("ways", "seeds", "real", "synthetic")
    read: ClassVar[tuple[str, ...]] = (*_READ, "score")


def read_settings(asked: Asked | MixAsked) -> dict[str, Any]:
    """The settings that units read, by dotted key of 0.1, as plain data: what units are known by."""
    found, settings = {}, with_old_names(_plain(asked)["settings"])
    for key in asked.read:
        part = settings
        for name in key.split("."):
            part = part[name]
        found[key] = part
    return found


def remember(out: Path, asked: Asked | MixAsked, *, resume: bool) -> None:
    """Write the question into the folder, or hold it against the one that is there.

    Raises ConfigError where a benchmark is there and `resume` is not given, or where it was asked for something else:
    more of what is `growing` is no difference, since the results that are there stay as they are; nor are settings that
    nothing reads.
    """
    path = out / FILE
    if not path.exists():
        if out.exists() and any(out.iterdir()):
            raise ConfigError(f"{out} is not empty and holds no {FILE}. Choose another folder: --out")
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, _plain(asked))
        return
    if not resume:
        raise ConfigError(
            f"{out} holds a benchmark already. Go on with it: --resume; or choose another --out"
        )
    before, now = read_json(path), _plain(asked)
    before["settings"] = with_new_names(before["settings"])
    changed = [
        f"{key}: was {a!r}, now {b!r}"
        for key, a, b in _differences(before, now, "", asked.growing)
        if _is_read(key, asked.read)
    ]
    if changed:
        raise ConfigError(
            f"{out} was asked for something else ({'; '.join(changed)}). Ask for the same, or choose another --out"
        )
    write_json(path, now)


def _plain(asked: Asked | MixAsked) -> Any:
    """As JSON gives it back, with lists for tuples."""
    return msgspec.json.decode(msgspec.json.encode(asked))


def _is_read(path: str, read: tuple[str, ...]) -> bool:
    """Whether a difference matters: in the question itself, or in a setting that units read."""
    key = path.removeprefix("settings.")
    return key == path or any(key == one or key.startswith(f"{one}.") for one in read)


def _differences(before: Any, now: Any, path: str, growing: tuple[str, ...]) -> list[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        # Of what may grow, only what was there before must still be.
        keys = sorted(before if path in growing else before.keys() | now.keys())
        return [
            found
            for key in keys
            for found in _differences(
                before.get(key), now.get(key), f"{path}.{key}" if path else key, growing
            )
        ]
    if before == now or (path in growing and _grown(before, now)):
        return []
    return [(path, before, now)]


def _grown(before: Any, now: Any) -> bool:
    if isinstance(before, list) and isinstance(now, list):
        return set(before) <= set(now)
    return isinstance(before, int) and isinstance(now, int) and before <= now
