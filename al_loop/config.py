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
TriggerName = Literal["new-data", "time", "drift", "metric", "budget"]
#: Strategies that read RoI features, which are large and otherwise not kept.
FEATURE_STRATEGIES: tuple[StrategyName, ...] = ("badge", "ppal")
#: Strategies that pick the same where the pool is scored in bf16 and what they look at closely in float32; `random` reads
#: no scores, and the largest margins are too many and too close to 1.
CLOSE_STRATEGIES: tuple[StrategyName, ...] = (
    "dbal", "entropy", "entropy-max", "entropy-mean", "least-confidence", "least-confidence-max",
    "least-confidence-mean", "margin", "margin-mean", "most-boxes", "random",
)  # fmt: skip


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
    # Of the forward pass. None: "fp32", on CUDA mixed with fp16. "auto": "bf16" where that is faster here.
    precision: Literal["auto", "fp32", "bf16"] | None = None
    seed: int = 0


class ScoreConfig(Section, frozen=True):
    """The forward pass over the pool."""

    score_thr: Fraction = 0.05  # detections below are dropped
    # Of the pool; sets that models are judged on are always scored in "fp32". "auto": "bf16" where the machine computes it
    # faster and picks stay the same.
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    batch_size: Positive = 8
    workers: Annotated[int, msgspec.Meta(ge=0)] | None = None
    shard_size: Positive = 256  # images whose scores are written together; a killed run loses at most so many


class PoolConfig(Section, frozen=True):
    """Where photographs lie."""

    # Of object stores: "copy" them into the workspace, or "link": they stay there, and what people label is copied.
    objects: Literal["copy", "link"] = "copy"
    cache_gb: Annotated[float, msgspec.Meta(gt=0)] = (
        20.0  # of linked ones, kept for when they are looked at again
    )


class CycleConfig(Section, frozen=True):
    """What a cycle picks."""

    k: Positive = 25
    strategy: StrategyName = "dbal"
    beta: Annotated[float, msgspec.Meta(ge=1)] = 2.0  # DBAL clusters the beta * k most uncertain
    explore: Fraction = 0.1  # share of k reserved for images the model is silent about
    audit: Fraction = (
        0.1  # share of k drawn by lot, to measure the model on: what is selected is hard by design
    )
    candidates: Literal["unlabelled", "all"] = "unlabelled"  # "all" is the paper's U with L
    seed: int = 0


class NewDataTrigger(Section, frozen=True):
    """Enough images that nobody has labelled."""

    images: Positive = 500  # of those that came since the last cycle began


class TimeTrigger(Section, frozen=True):
    """Enough time since the last cycle began."""

    hours: Annotated[float, msgspec.Meta(gt=0)] = 168.0


class DriftTrigger(Section, frozen=True):
    """What comes in looks unlike what the model was promoted on."""

    window: Annotated[int, msgspec.Meta(ge=50)] = 50  # images judged together, as they come
    reference: Annotated[int, msgspec.Meta(ge=50)] = 500  # images they are held against
    in_a_row: Positive = 2  # windows that must have drifted
    false_alarms: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.05  # chance of one in `horizon` windows
    horizon: Positive = 100
    effect: NotNegative = 0.1  # standard deviations; a smaller shift is none, however sure
    cooldown_h: NotNegative = 24.0  # hours after an alarm without another


class MetricTrigger(Section, frozen=True):
    """The model does worse on images drawn by lot than it did on the validation set."""

    images: Annotated[int, msgspec.Meta(ge=2)] = (
        20  # drawn by lot and labelled, the newest; fewer say nothing
    )
    fall: NotNegative = 0.05  # AP; the whole interval must lie below
    cooldown_h: NotNegative = 24.0


class BudgetAdvice(Section, frozen=True):
    """Whether more labels are still worth their price."""

    gain: NotNegative = 0.005  # AP; two cycles in a row below are a reason to stop
    hold: bool = False  # new data and time then start no cycle


class MonitorConfig(Section, frozen=True):
    """`al-loop monitor`."""

    inbox: tuple[str, ...] = ()  # folders, globs, URLs of object stores
    settle_s: NotNegative = 10.0  # a file whose size or time changed more recently is still being written
    triggers: tuple[TriggerName, ...] = ("new-data", "drift", "metric", "budget")
    new_data: NewDataTrigger = NewDataTrigger()
    time: TimeTrigger = TimeTrigger()
    drift: DriftTrigger = DriftTrigger()
    metric: MetricTrigger = MetricTrigger()
    budget: BudgetAdvice = BudgetAdvice()


class PromotionConfig(Section, frozen=True):
    """When a candidate replaces the current model."""

    sets: tuple[str, ...] = ("validation",)  # labelled sets on which AP may not fall; the others are reported
    tolerance: NotNegative = 0.0  # AP it may fall by
    class_tolerance: Fraction = 0.1  # AP a single class may fall by; more, and surely so, is refused


class S3Config(Section, frozen=True):
    """Where images lie with `images = "s3"`: al-loop writes with this machine's own AWS credentials."""

    url: str | None = None  # "s3://bucket/folder"
    endpoint: str | None = None  # of an S3 that is not Amazon's, as servers and browsers reach it
    region: str | None = None
    minutes: Annotated[int, msgspec.Meta(ge=1, le=10080)] = (
        60  # how long a browser may use an address it was given
    )
    # The variables with a key that may only read, for the server; without them it uses its own.
    key_env: str = "AL_LOOP_S3_KEY_ID"
    secret_env: str = "AL_LOOP_S3_SECRET_KEY"


class LabelStudioConfig(Section, frozen=True):
    """The labelling server; without a url, the embedded one of the workspace."""

    url: str | None = None
    token_env: str = "AL_LOOP_LABEL_STUDIO_TOKEN"  # the variable that holds the token
    token_file: str | None = None  # or the file that does, readable by its owner only
    min_score: Fraction = 0.3  # boxes below are not drawn for annotators
    # Whose boxes count where several people have labelled one image, and who they are (e-mail), the first before others.
    annotators: Literal["newest", "user", "ground-truth", "consensus"] = "newest"
    users: tuple[str, ...] = ()
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None  # of the embedded server
    # How browsers get the images; "auto": files of this machine from the embedded server, uploads to any other.
    images: Literal["auto", "local-files", "upload", "s3"] = "auto"
    document_root: str | None = (
        None  # for "local-files" with a url: what that server, on this machine, may show
    )
    s3: S3Config = S3Config()


class Config(Section, frozen=True):
    """The whole file."""

    classes: tuple[str, ...]
    name: str = "al-loop"
    task: Literal["detection", "segmentation"] = "detection"  # what people draw; the model always finds boxes
    device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1"
    gpus: Positive = 1  # that share a training, with device = "cpu" processes; scoring takes one
    model: ModelConfig = ModelConfig()
    pretrain: TrainConfig = TrainConfig()
    train: TrainConfig = TrainConfig()
    pool: PoolConfig = PoolConfig()
    score: ScoreConfig = ScoreConfig()
    cycle: CycleConfig = CycleConfig()
    promotion: PromotionConfig = PromotionConfig()
    monitor: MonitorConfig = MonitorConfig()
    label_studio: LabelStudioConfig = LabelStudioConfig()

    @property
    def outlined(self) -> bool:
        """Whether people draw outlines, and not rectangles alone."""
        return self.task == "segmentation"

    @property
    def pool_precision(self) -> Literal["auto", "fp32", "bf16"]:
        """What the pool is scored in: "auto" where the strategy allows for bf16, and the machine decides."""
        wanted = self.score.precision
        return "fp32" if wanted == "auto" and self.cycle.strategy not in CLOSE_STRATEGIES else wanted

    def exact(self) -> Config:
        """Return these settings with scores in float32, unless bf16 was asked for."""
        if self.score.precision != "auto":
            return self
        return msgspec.structs.replace(self, score=msgspec.structs.replace(self.score, precision="fp32"))


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
        section, _, key = path.partition("[")[0].rpartition(".")
        choices = get_args(_fields_at(section)[key])
        choices = get_args(choices[0]) or choices  # of a list: what it may hold
        what = f"expected one of {', '.join(map(repr, choices))}"
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
