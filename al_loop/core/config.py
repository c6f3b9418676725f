"""`al-loop.toml`: typed, validated at the edge, trusted inside. It holds no secrets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from al_loop.core.config_errors import explain
from al_loop.core.errors import ConfigError
from al_loop.core.files import read_regular
from al_loop.core.renamed_settings import refusals, with_new_names
from al_loop.core.setting_types import (
    AuditImages,
    BatchSize,
    Beta,
    ClassNames,
    Cooldown,
    Effect,
    Epochs,
    FalseAlarms,
    Fraction,
    Gigabytes,
    Gpus,
    Horizon,
    Hours,
    Images,
    LearningRate,
    Minutes,
    Port,
    Repeat,
    Seconds,
    Seed,
    Sha256,
    ShardSize,
    ShortText,
    Side,
    Text,
    Texts,
    Variable,
    Window,
    WindowCount,
    Workers,
    distinct,
    repeated_in,
)
from al_loop.core.urls import masked

if TYPE_CHECKING:
    from strategies import Strategy

FILE_NAME = "al-loop.toml"

StrategyName = Literal[
    "badge", "cald", "coreset", "coverage", "dbal", "entropy", "entropy-max", "entropy-mean", "kmeans", "least-confidence",
    "least-confidence-max", "least-confidence-mean", "margin", "margin-max", "margin-mean", "most-boxes", "ppal", "random", "typiclust",
]  # fmt: skip
TriggerName = Literal["new-data", "time", "drift", "metric", "budget"]

#: Of the drift test; its permutations are held in memory, and there are some sixty times as many as one over
#: this.
_LEAST_LEVEL = 1e-4
MOST_BYTES = 4 << 20  # of al-loop.toml


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; an unknown key in it is an error."""


class ModelConfig(Section, frozen=True):
    """The detector."""

    config: Text = "small"  # "small" (CPU, from nothing), "r50" (the paper's), or the path of an mmdet config
    image_size: tuple[Side, Side] | None = None  # width, height in px; images shrink to fit
    load_from: Text | None = None  # checkpoint to start the pretraining from: path or URL
    load_from_sha256: Sha256 | None = None  # refused when the file's hash differs


class TrainConfig(Section, frozen=True):
    """One training: of M0 on synthetic images, or the fine-tuning of each cycle."""

    epochs: Epochs = 50
    batch_size: BatchSize = 4
    lr: LearningRate | None = None  # None: what the model config says
    val_every: Epochs = 1  # epochs between validations
    patience: Epochs = 10  # validations without a better AP before the training stops
    rotate90: bool = False  # augment by vertical flips and quarter turns; not where a class has an upper side
    repeat: Repeat = 1  # times each image is seen per epoch; > 1 makes epochs of few images longer
    workers: Workers | None = None  # None: two less than the cores, at most 4
    # Of the forward pass. None: "fp32", on CUDA mixed with fp16. "auto": "bf16" where that is faster here.
    precision: Literal["auto", "fp32", "bf16"] | None = None
    seed: Seed = 0


class ScoreConfig(Section, frozen=True):
    """The forward pass over the pool."""

    score_thr: Fraction = 0.05  # detections below are dropped
    # Of the pool; sets that models are evaluated on are always scored in "fp32". "auto": "bf16" where the machine
    # computes it faster and the strategy ranks. Near-ties may be ordered otherwise than in "fp32".
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    batch_size: BatchSize = 8
    workers: Workers | None = None
    shard_size: ShardSize = (
        256  # images whose scores are written together; a killed run loses at most so many
    )


class PoolConfig(Section, frozen=True):
    """Where photographs lie."""

    # Of object stores: "copy" them into the workspace, or "link": they stay there, and what people label is
    # copied.
    objects: Literal["copy", "link"] = "copy"
    cache_gb: Gigabytes = 20.0  # of linked ones, kept for when they are looked at again


class CycleConfig(Section, frozen=True):
    """What a cycle picks."""

    k: Images = 25
    strategy: StrategyName = "dbal"
    beta: Beta = 2.0  # DBAL clusters the beta * k most uncertain
    explore_fraction: Fraction = 0.1  # share of k reserved for images the model is silent about
    random_audit_fraction: Fraction = (
        0.1  # share of k drawn at random, to measure the model on: what is selected is hard by design
    )
    candidates: Literal["unlabelled", "all"] = "unlabelled"  # "all" is the paper's U with L
    seed: Seed = 0


class NewDataTrigger(Section, frozen=True):
    """Enough images that nobody has labelled."""

    images: Images = 500  # of those that came since the last cycle began


class TimeTrigger(Section, frozen=True):
    """Enough time since the last cycle began."""

    hours: Hours = 168.0


class DriftTrigger(Section, frozen=True):
    """What comes in looks unlike what the model was promoted on."""

    window: Window = 50  # images judged together, as they come
    reference: Window = 500  # images they are held against
    consecutive_windows: WindowCount = 2  # windows that must have drifted
    false_alarms: FalseAlarms = 0.05  # chance of one in `horizon` windows
    horizon: Horizon = 100
    min_effect: Effect = 0.1  # standard deviations; a smaller shift is none, however sure
    cooldown_h: Cooldown = 24.0  # hours after an alarm without another

    def __post_init__(self) -> None:
        """Refuse a level that takes more permutations than memory holds."""
        if (self.false_alarms / self.horizon) ** (1 / self.consecutive_windows) < _LEAST_LEVEL:
            raise ValueError(
                f"(false_alarms / horizon) ** (1 / consecutive_windows) must be at least {_LEAST_LEVEL:g}: expected a larger "
                "false_alarms or consecutive_windows, or a smaller horizon"
            )


class MetricTrigger(Section, frozen=True):
    """The model does worse on images drawn at random than it did on the validation set."""

    images: AuditImages = 20  # drawn at random and labelled, the newest; fewer say nothing
    fall: Fraction = 0.05  # AP; the whole interval must lie below
    cooldown_h: Cooldown = 24.0


class BudgetAdvice(Section, frozen=True):
    """Whether more labels are still worth their price."""

    gain: Fraction = 0.005  # AP; two cycles in a row below are a reason to stop
    hold: bool = False  # new data and time then start no cycle


class MonitorConfig(Section, frozen=True):
    """`al-loop monitor`."""

    inbox: Texts = ()  # folders, globs, URLs of object stores
    min_age_s: Seconds = 10.0  # a file whose size or time changed more recently is still being written
    triggers: tuple[TriggerName, ...] = ("new-data", "drift", "metric", "budget")
    new_data: NewDataTrigger = NewDataTrigger()
    time: TimeTrigger = TimeTrigger()
    drift: DriftTrigger = DriftTrigger()
    metric: MetricTrigger = MetricTrigger()
    budget: BudgetAdvice = BudgetAdvice()

    def __post_init__(self) -> None:
        """Refuse a name that stands there twice."""
        distinct(inbox=self.inbox, triggers=self.triggers)


class PromotionConfig(Section, frozen=True):
    """When a candidate replaces the current model."""

    sets: Texts = ("validation",)  # labelled sets on which AP may not fall; the others are reported
    tolerance: Fraction = 0.0  # AP it may fall by
    class_tolerance: Fraction = 0.1  # AP a single class may fall by; more, and surely so, is refused

    def __post_init__(self) -> None:
        """Refuse a name that stands there twice."""
        distinct(sets=self.sets)


class S3Config(Section, frozen=True):
    """Where images lie with `images = "s3"`: al-loop writes with this machine's own AWS credentials."""

    url: Text | None = None  # "s3://bucket/folder"
    endpoint: Text | None = None  # of an S3 that is not Amazon's, as servers and browsers reach it
    region: Text | None = None
    minutes: Minutes = 60  # how long a browser may use an address it was given
    # The variables with a key that may only read, for the server; without them it uses its own.
    key_env: Variable = "AL_LOOP_S3_KEY_ID"
    secret_env: Variable = "AL_LOOP_S3_SECRET_KEY"


class LabelStudioConfig(Section, frozen=True):
    """The labelling server; without a url, the embedded one of the workspace."""

    url: Text | None = None
    token_env: Variable = "AL_LOOP_LABEL_STUDIO_TOKEN"  # the variable that holds the token
    token_file: Text | None = None  # or the file that does, readable by its owner only
    min_score: Fraction = 0.3  # boxes below are not drawn for annotators
    # Whose boxes count where several people have labelled one image, and who they are (e-mail), the first
    # before others.
    annotators: Literal["newest", "user", "ground-truth", "consensus"] = "newest"
    users: Texts = ()
    port: Port | None = None  # of the embedded server
    # How browsers get the images; "auto": files of this machine from the embedded server, uploads to any
    # other.
    images: Literal["auto", "local-files", "upload", "s3"] = "auto"
    document_root: Text | None = (
        None  # for "local-files" with a url: what that server, on this machine, may show
    )
    s3: S3Config = S3Config()

    def __post_init__(self) -> None:
        """Refuse a name that stands there twice."""
        distinct(users=self.users)


class Config(Section, frozen=True):
    """The whole file."""

    classes: ClassNames
    name: ShortText = "al-loop"
    task: Literal["detection", "segmentation"] = "detection"  # what people draw; the model always finds boxes
    device: ShortText = "auto"  # "auto", "cpu", "cuda", "cuda:1"
    gpus: Gpus = 1  # that share a training, with device = "cpu" processes; scoring takes one
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
        allowed = (strategy := self._strategy) is not None and strategy.bf16
        return "fp32" if wanted == "auto" and not allowed else wanted

    @property
    def keeps_features(self) -> bool:
        """Whether the strategy reads RoI features, which are large and otherwise not kept."""
        return (strategy := self._strategy) is not None and "features" in strategy.needs

    @property
    def _strategy(self) -> Strategy | None:
        """The strategy; None where settings were frozen with one that is unknown."""
        # Not at the top: NumPy would double the time of `al-loop --help`.
        from strategies import STRATEGIES

        return STRATEGIES.get(self.cycle.strategy)

    def exact(self) -> Config:
        """Return these settings with scores in float32, unless bf16 was asked for."""
        if self.score.precision != "auto":
            return self
        return msgspec.structs.replace(self, score=msgspec.structs.replace(self.score, precision="fp32"))


def load_config(path: Path, *, of_0_1: bool = False) -> Config:
    """Read and check a config file; ConfigError names the key, the value and what is allowed.

    of_0_1: take the names that settings had in al-loop 0.1, too.
    """
    try:
        text = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}). Restore it, or run: al-loop init"
        ) from None
    return parse_config(text, str(path), of_0_1=of_0_1)


def parse_config(text: bytes, source: str, *, of_0_1: bool = False) -> Config:
    """Read a config from TOML text; `source` names it in errors."""
    try:
        data = msgspec.toml.decode(text)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(f"{source} is not valid TOML: {error}. Correct that line and run again.") from None
    except RecursionError:
        raise ConfigError(
            f"{source} is not valid TOML: it is nested too deeply. Correct it and run again."
        ) from None
    if of_0_1:
        data = with_new_names(data)
    if renamed := refusals(data):
        raise ConfigError(f"{source}: {'; '.join(renamed)}. Correct it and run again.")
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"{source}: {explain(str(error), data, Config)}. Correct it and run again."
        ) from None
    check_classes(config.classes, source)
    check_addresses(config, source)
    return config


def check_addresses(config: Config, source: str) -> None:
    """Refuse logins and signatures in the addresses of servers: the file goes where backups and colleagues go."""
    labels = config.label_studio
    for key, address in (("url", labels.url), ("s3.url", labels.s3.url), ("s3.endpoint", labels.s3.endpoint)):
        if address is not None and masked(address) != address:
            instead = (
                "put the token into the variable of label_studio.token_env, or into the file of label_studio.token_file"
                if key == "url"
                else "put the keys into the variables of label_studio.s3.key_env and secret_env, and AWS's own"
            )
            raise ConfigError(
                f"{source}: label_studio.{key} = {masked(address)!r}: expected an address without login or signature; {instead}"
            )


def check_classes(classes: tuple[str, ...], source: str) -> None:
    """Refuse class names a labelling tool cannot tell apart."""
    if not classes:
        raise ConfigError(f"{source}: classes must name at least one class, got none")
    for name in classes:
        if not name or name != name.strip() or not name.isprintable():
            raise ConfigError(f"{source}: classes: {name!r} must be printable, without spaces around it")
    repeated = repeated_in(classes)
    if repeated:
        raise ConfigError(f"{source}: classes must be distinct, got {', '.join(repeated)} twice")
