"""Every setting has a range, and whoever reads it can take both of its ends."""

from __future__ import annotations

import math
import re
import sqlite3
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import click
import msgspec
import numpy as np
import pytest
from msgspec import inspect
from numpy.random import SeedSequence, default_rng
from support.candidate_pools import make
from support.cli_commands import commands

from al_loop.cli import cli
from al_loop.cli.demo import main as demo
from al_loop.core.config import Config, CycleConfig, DriftTrigger, PromotionConfig, parse_config
from al_loop.core.errors import ConfigError
from al_loop.core.training_config import TrainConfig
from al_loop.loop.selection import pick
from al_loop.structures.predictions import ScoredImages
from render.__main__ import main as renderer
from strategies import Ids


def numbers(struct: type, prefix: str = "") -> Iterator[tuple[str, inspect.Type, Any]]:
    """Every numeric field: dotted key, its type, its default."""
    for field in msgspec.structs.fields(struct):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from numbers(field.type, f"{prefix}{field.name}.")
            continue
        kind = inspect.type_info(field.type)
        for one in kind.types if isinstance(kind, inspect.UnionType) else (kind,):
            if isinstance(one, inspect.IntType | inspect.FloatType):
                yield f"{prefix}{field.name}", one, field.default
            elif isinstance(one, inspect.TupleType):
                yield f"{prefix}{field.name}", one.item_types[0], None


def bounds(kind: inspect.Type) -> tuple[float, float]:
    """Return the range of a number; infinite where the type sets no end."""
    assert isinstance(kind, inspect.IntType | inspect.FloatType)
    low = kind.ge if kind.ge is not None else kind.gt
    high = kind.le if kind.le is not None else kind.lt
    return (-math.inf if low is None else low, math.inf if high is None else high)


NUMBERS = {key: (kind, default) for key, kind, default in numbers(Config)}


def settings(key: str, value: str) -> Config:
    *tables, name = key.split(".")
    head = f"[{'.'.join(tables)}]\n" if tables else ""
    value = f"[{value}, {value}]" if name == "image_size" else value
    return parse_config(f'classes = ["a"]\n{head}{name} = {value}'.encode(), "al-loop.toml")


def value_of(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value[0] if isinstance(value, tuple) else value


def test_every_number_has_both_ends() -> None:
    assert len(NUMBERS) > 40
    for key, (kind, default) in NUMBERS.items():
        low, high = bounds(kind)
        assert math.isfinite(low), key
        assert math.isfinite(high), key
        assert default in (None, "auto") or low <= default <= high, key


def test_both_ends_are_taken_and_nothing_beyond() -> None:
    for key, (kind, _) in NUMBERS.items():
        assert isinstance(kind, inspect.IntType | inspect.FloatType)
        low, high = ends(key)
        whole = isinstance(kind, inspect.IntType)
        beyond = (low - 1, high + 1) if whole else (low - 0.001, high * 1.001 + 0.001)
        for value in (*map(repr, beyond), *(() if whole else ("nan", "inf"))):
            allowed = rf"{re.escape(f'{high:g}')}|{high}"
            with pytest.raises(
                ConfigError, match=rf"^al-loop\.toml: {key}\b.* = .*expected an? .*({allowed})"
            ):
                settings(key, value)
        if key in ("monitor.drift.false_alarms", "monitor.drift.horizon"):
            continue  # their ends do not go together with the defaults of the other
        for end in (kind.ge, kind.le):
            if end is not None:
                value = int(end) if whole else float(end)
                assert value_of(settings(key, repr(value)), key) == end


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[train]\nseed = -1", "train.seed = -1: expected an integer from 0 to 4294967295"),
        ("[cycle]\nbeta = inf", "cycle.beta = inf: expected a number from 1 to 1000"),
        (
            "[train]\nsteps = 1000000000000",
            "train.steps = 1000000000000: expected an integer from 1 to 10000000",
        ),
        ("[label_studio]\nmin_score = 2", "min_score = 2: expected a number from 0 to 1, or 'auto'"),
        ('[label_studio]\nmin_score = "low"', "min_score = 'low': expected a number from 0 to 1, or 'auto'"),
        ("[train]\nlr = 1e308", "train.lr = 1e+308: expected a number from 1e-12 to 10"),
        ('[model]\nload_from_sha256 = "ab"', "expected 64 hexadecimal digits"),
        ('[model]\nconfig = "a\\u0000b"', "none of them a control character"),
        ('[label_studio]\ntoken_env = "A=B"', "expected the name of an environment variable"),
        ('[monitor]\ntriggers = ["time", "time"]', "triggers: expected each once, got 'time' twice"),
        ('[promotion]\nsets = ["night", "night"]', "sets: expected each once, got 'night' twice"),
        ("[monitor.drift]\nfalse_alarms = 1e-9", "expected a larger false_alarms or consecutive_windows"),
        (f"[train]\nseed = {'9' * 5000}", "is not valid TOML"),
        (f"x = {'[' * 5000}{']' * 5000}", "nested too deeply"),
        (f"device = '{'x' * 300}'", "text of at most 255 characters"),
    ],
)
def test_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(f'classes = ["a"]\n{text}'.encode(), "al-loop.toml")
    assert says in str(refused.value)
    assert len(str(refused.value)) < 400


def test_options_have_both_ends() -> None:
    groups = (
        dict(commands(cli))
        | {f"render {name}": one for name, one in renderer.commands.items()}
        | {"demo": demo}
    )
    seen = 0
    for name, command in groups.items():
        for parameter in command.params:
            assert not isinstance(
                parameter.type, click.types.IntParamType | click.types.FloatParamType
            ) or isinstance(parameter.type, click.IntRange | click.FloatRange), f"{name} {parameter.name}"
            if isinstance(parameter.type, click.IntRange | click.FloatRange):
                assert None not in (parameter.type.min, parameter.type.max), f"{name} {parameter.name}"
                seen += 1
    assert seen > 25


def ends(key: str) -> tuple[Any, Any]:
    return bounds(NUMBERS[key][0])


def test_seeds_at_both_ends() -> None:
    from mmengine.dataset import worker_init_fn
    from mmengine.runner import set_random_seed

    state = np.random.get_state()
    for seed in ends("train.seed"):
        set_random_seed(int(seed))
        default_rng(SeedSequence([seed, 1])).random()
        # As in `al_loop.detector.training.train`: of as many workers as there may be.
        workers = int(ends("train.workers")[1])
        base = min(int(seed), 2**32 - 1 - workers)
        worker_init_fn(workers - 1, num_workers=workers, rank=0, seed=base)
    np.random.set_state(state)


def test_a_learning_rate_at_both_ends() -> None:
    import torch

    for lr in ends("train.lr"):
        weight = torch.nn.Parameter(torch.ones(3))
        for kind in (torch.optim.SGD, torch.optim.AdamW):
            optimiser = kind([weight], lr=lr)
            (weight**2).sum().backward()
            optimiser.step()
        assert torch.isfinite(weight).all()


def test_the_database_and_the_clock_take_both_ends() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (k INTEGER NOT NULL) STRICT")
    for key, (kind, _) in NUMBERS.items():
        if isinstance(kind, inspect.IntType):
            for end in ends(key):
                connection.execute("INSERT INTO t VALUES (?)", (int(end),))
    for key in ("monitor.time.hours", "monitor.drift.cooldown_h"):
        timedelta(hours=ends(key)[1])
    event = threading.Event()
    event.set()
    event.wait(30 * 86_400)


@pytest.mark.parametrize(("strategy", "end"), [("dbal", 0), ("dbal", 1), ("random", 1), ("coverage", 1)])
def test_a_selection_at_both_ends(strategy: str, end: int) -> None:
    """More than there are: all of them."""
    pool = make(40)
    assert pool.detections is not None
    scored = ScoredImages(
        Ids.of(pool.ids),
        np.asarray(pool.embeddings),
        pool.detections.offsets,
        np.asarray(pool.detections.boxes),
        np.asarray(pool.detections.labels),
        np.asarray(pool.detections.scores),
        np.asarray(pool.detections.distributions),
        np.asarray(pool.detections.features),
        np.asarray(pool.uncertainty),
    )
    k = int(ends("cycle.k")[end])
    rule = CycleConfig(
        k=k,
        strategy=strategy,  # type: ignore[arg-type]
        beta=ends("cycle.beta")[end],
        explore_fraction=float(end),
        random_audit_fraction=0.0,
        seed=int(ends("cycle.seed")[end]),
    )
    from al_loop.loop.selection import Context

    context = Context(np.zeros((1, 8), np.float32), np.ones(3), count_r2=0.9)
    assert len(pick(scored, k, rule, 1, context=context)) == min(k, 40)


def test_the_drift_test_needs_no_more_permutations_than_memory_holds() -> None:
    from al_loop.monitor.drift_tests import level

    rule = DriftTrigger(false_alarms=0.01, horizon=100, consecutive_windows=1)
    assert level(rule) == pytest.approx(1e-4)
    with pytest.raises(ValueError, match=r"at least 0\.0001"):
        DriftTrigger(false_alarms=0.0099, horizon=100, consecutive_windows=1)


def test_what_was_allowed_before_and_is_sensible_still_is() -> None:
    assert TrainConfig(epochs=1000, lr=1e-5, seed=2**32 - 1).seed == 2**32 - 1
    assert PromotionConfig(tolerance=1.0).tolerance == 1.0


def test_the_metric_of_promotions_fits_the_task() -> None:
    def read(text: str) -> Config:
        return parse_config(f'classes = ["a"]\n{text}'.encode(), "al-loop.toml")

    outlined = 'task = "segmentation"\n'
    assert read("").key_metric == "box_ap"
    assert read(outlined).key_metric == "mask_ap"
    assert read(f'{outlined}[promotion]\nmetric = "box_ap"').key_metric == "box_ap"
    assert read(f'{outlined}[promotion]\nmetric = "mask_ap"').key_metric == "mask_ap"
    with pytest.raises(ConfigError, match='metric = "mask_ap": expected "box_ap" with task = "detection"'):
        read('[promotion]\nmetric = "mask_ap"')
    with pytest.raises(ConfigError, match=r"promotion\.metric = 'dice': expected one of 'box_ap', 'mask_ap'"):
        read('[promotion]\nmetric = "dice"')
