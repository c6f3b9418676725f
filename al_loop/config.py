"""`al-loop.toml`: typed, validated at the edge, trusted inside. It holds no secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from al_loop.errors import ConfigError

FILE_NAME = "al-loop.toml"

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
StrategyName = Literal[
    "badge", "cald", "coreset", "dbal", "entropy", "entropy-max", "entropy-mean", "kmeans", "least-confidence",
    "least-confidence-max", "least-confidence-mean", "margin", "margin-max", "margin-mean", "most-boxes", "ours",
    "ppal", "random", "typiclust",
]  # fmt: skip
#: Strategies that read RoI features, which are large and otherwise not kept.
FEATURE_STRATEGIES: tuple[StrategyName, ...] = ("badge", "ppal")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; an unknown key in it is an error."""


class ModelConfig(Section, frozen=True):
    """The detector."""

    config: str = "small"  # "small" (CPU, from nothing), "r50" (the paper's), or the path of an mmdet config
    image_size: tuple[Positive, Positive] | None = None  # width, height in px; images shrink to fit
    load_from: str | None = None  # checkpoint to start the pretraining from: path or URL
    load_from_sha256: str | None = None  # refused when the file's hash differs


class TrainConfig(Section, frozen=True):
    """One training: of M0 on synthetic images, or the fine-tuning of each cycle."""

    epochs: Positive = 50
    batch_size: Positive = 4
    lr: Annotated[float, msgspec.Meta(gt=0)] | None = None  # None: what the model config says
    val_every: Positive = 1  # epochs between validations
    patience: Positive = 10  # validations without a better AP before the training stops
    turns: bool = False  # augment by vertical flips and quarter turns; not where a class has an upper side
    repeat: Positive = 1  # times each image is seen per epoch; > 1 makes epochs of few images longer
    workers: Annotated[int, msgspec.Meta(ge=0)] | None = None  # None: two less than the cores, at most 4
    seed: int = 0


class ScoreConfig(Section, frozen=True):
    """The forward pass over the pool."""

    score_thr: Fraction = 0.05  # detections below are dropped
    batch_size: Positive = 8
    workers: Annotated[int, msgspec.Meta(ge=0)] | None = None
    shard_size: Positive = 256  # images per file; a killed run loses at most one


class CycleConfig(Section, frozen=True):
    """What a cycle picks."""

    k: Positive = 25
    strategy: StrategyName = "dbal"
    beta: Annotated[float, msgspec.Meta(ge=1)] = 2.0  # DBAL clusters the beta * k most uncertain
    explore: Fraction = 0.1  # share of k reserved for images the model is silent about
    candidates: Literal["unlabelled", "all"] = "unlabelled"  # "all" is the paper's U with L
    seed: int = 0


class PromotionConfig(Section, frozen=True):
    """When a candidate replaces the current model."""

    tolerance: NotNegative = 0.0  # AP it may fall by
    class_tolerance: Fraction = 1.0  # AP a single class may fall by; 1 does not look at classes


class LabelStudioConfig(Section, frozen=True):
    """The labelling server; without a url, the embedded one of the workspace."""

    url: str | None = None
    token_env: str = "AL_LOOP_LABEL_STUDIO_TOKEN"  # the variable that holds the token
    token_file: str | None = None  # or the file that does, readable by its owner only
    min_score: Fraction = 0.3  # boxes below are not drawn for annotators
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None  # of the embedded server


class Config(Section, frozen=True):
    """The whole file."""

    classes: tuple[str, ...]
    name: str = "al-loop"
    device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1"
    model: ModelConfig = ModelConfig()
    pretrain: TrainConfig = TrainConfig()
    train: TrainConfig = TrainConfig()
    score: ScoreConfig = ScoreConfig()
    cycle: CycleConfig = CycleConfig()
    promotion: PromotionConfig = PromotionConfig()
    label_studio: LabelStudioConfig = LabelStudioConfig()


def load_config(path: Path) -> Config:
    """Read and check a config file; ConfigError names the key, the value and what is allowed."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}). Restore it, or run: al-loop init"
        ) from None
    return parse_config(text, str(path))


def parse_config(text: bytes, source: str) -> Config:
    """Read a config from TOML text; `source` names it in errors."""
    try:
        data = msgspec.toml.decode(text)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}. Correct that line and run again.") from None
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {_explain(str(error), data)}. Correct it and run again.") from None
    check_classes(config.classes, source)
    return config


def check_classes(classes: tuple[str, ...], source: str) -> None:
    """Refuse class names a labelling tool cannot tell apart."""
    if not classes:
        raise ConfigError(f"{source}: classes must name at least one class, got none")
    for name in classes:
        if not name or name != name.strip() or not name.isprintable():
            raise ConfigError(f"{source}: classes: {name!r} must be printable, without spaces around it")
    repeated = {name for name in classes if classes.count(name) > 1}
    if repeated:
        raise ConfigError(f"{source}: classes must be distinct, got {', '.join(sorted(repeated))} twice")


def _explain(message: str, data: object) -> str:
    """Turn msgspec's message into: key, value, what is allowed."""
    match = re.fullmatch(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?", message)
    what, path = (match["what"], match["path"] or "") if match else (message, "")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what)
    if unknown:
        key = f"{path}.{unknown[1]}" if path else unknown[1]
        return f"unknown key {key!r}; allowed here: {', '.join(_fields_at(path))}"
    if not path:
        return what
    if what.startswith("Invalid enum value"):
        section, _, key = path.rpartition(".")
        what = f"expected one of {', '.join(map(repr, get_args(_fields_at(section)[key])))}"
    return f"{path} = {_value_at(data, path)!r}: {what[:1].lower()}{what[1:]}"


def _fields_at(path: str) -> dict[str, Any]:
    """Name and type of every key of the table at `path`."""
    section: Any = Config
    for part in filter(None, path.split(".")):
        section = {f.encode_name: f.type for f in msgspec.structs.fields(section)}[part]
    return {f.encode_name: f.type for f in msgspec.structs.fields(section)}


def _value_at(data: object, path: str) -> object:
    for part in re.findall(r"[^.\[\]]+", path):
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and part.isdigit() and int(part) < len(data):
            data = data[int(part)]
    return data
