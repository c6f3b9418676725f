"""Settings of `al-loop.toml`: validated when they are read, trusted afterwards. They hold no secrets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from al_loop.core import setting_types as types
from al_loop.core.config_errors import explain
from al_loop.core.errors import ConfigError
from al_loop.core.files import read_regular
from al_loop.core.renamed_settings import refusals, with_new_names
from al_loop.core.setting_types import Section
from al_loop.core.training_config import PretrainConfig, SelfTrainingConfig, TrainConfig
from al_loop.core.urls import masked

if TYPE_CHECKING:
    from strategies import Strategy

FILE_NAME = "al-loop.toml"

StrategyName = Literal[
    "badge", "cald", "calibrated", "coreset", "coverage", "dbal", "dropquery", "entropy",
    "entropy-balanced", "entropy-max", "entropy-mean", "kmeans", "least-confidence", "least-confidence-max",
    "least-confidence-mean", "margin", "margin-max", "margin-mean", "mask-margin", "most-boxes", "ppal",
    "probcover", "random", "typiclust",
]  # fmt: skip
QueueOrder = Literal["uncertainty", "class"]
#: With which tools people draw: rectangles; also extreme points, of which a box is the hull; or outlines.
Drawn = Literal["rectangles", "extreme-points", "outlines"]
TriggerName = Literal["new-data", "time", "drift", "metric", "budget"]

#: Smallest level of the drift test: its permutations are in memory, about 60 / level of them.
_LEAST_LEVEL = 1e-4
MAX_BYTES = 4 << 20  # of al-loop.toml


class ModelConfig(Section, frozen=True):
    """The detector."""

    # "lite" (EfficientNet-Lite0 with ImageNet weights), "r50" (the paper's), or an mmdet config: the name of
    # its own, or a path
    config: types.Text = "lite"
    backbone: types.Text | None = None  # of "lite": another network of timm, with its weights
    image_size: tuple[types.Side, types.Side] | None = None  # width, height in px; images shrink to fit
    load_from: types.Text | None = None  # checkpoint to start the pretraining from: "coco", path or URL
    load_from_sha256: types.Sha256 | None = None  # another file is refused


class ScoreConfig(Section, frozen=True):
    """The forward pass over the pool."""

    score_thr: types.Fraction = 0.05  # detections below are dropped
    # Of the pool; evaluation sets are always scored in "fp32". "auto": "bf16" if that is faster here and the
    # strategy ranks. Images with nearly equal scores may change places.
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    batch_size: types.BatchSize = 8
    workers: types.Workers | None = None
    shard_size: types.ShardSize = 256  # images whose scores are written at once; a kill loses at most these


class PoolConfig(Section, frozen=True):
    """Storage of photographs."""

    # Photographs in object stores: "copy" all into the workspace, or "link" and copy those that people label.
    objects: Literal["copy", "link"] = "copy"
    cache_gb: types.Gigabytes = 20.0  # of linked photographs


class CycleConfig(Section, frozen=True):
    """Selection of a cycle."""

    k: types.Images = 25
    strategy: StrategyName = "dbal"
    # What "calibrated" weighs the gain of an image against: the time that people need for it, or one image.
    cost: Literal["minutes", "images"] = "minutes"
    beta: types.Beta = 2.0  # DBAL clusters the beta * k most uncertain
    explore_fraction: types.Fraction = 0.1  # share of k for images without detections
    # Share of k that is picked at random, to measure the model: the other picks are hard by design.
    random_audit_fraction: types.Fraction = 0.1
    # Without a validation set, a cycle has this many random images labelled for it, at most a quarter of the
    # pool. 0: none, the cycle then needs a validation set.
    validation_images: types.SampledImages = 30
    candidates: Literal["unlabelled", "all"] = "unlabelled"  # "all" is the paper's U with L
    near_duplicates: bool = False  # whether a strategy may pick near-duplicates in one batch
    seed: types.Seed = 0


class NewDataTrigger(Section, frozen=True):
    """Start a cycle when enough unlabelled images have arrived since the last one began."""

    images: types.Images = 500


class TimeTrigger(Section, frozen=True):
    """Start a cycle when enough time has passed since the last one began."""

    hours: types.Hours = 168.0


class DriftTrigger(Section, frozen=True):
    """Start a cycle when new images differ from those that the model was promoted on."""

    window: types.Window = 50  # images per test, in the order of arrival
    reference: types.Window = 500  # images that a window is compared with
    consecutive_windows: types.WindowCount = 2  # windows that must have drifted
    false_alarms: types.FalseAlarms = 0.05  # probability of a false alarm in `horizon` windows
    horizon: types.Horizon = 100
    min_effect: types.Effect = 0.1  # standard deviations; a smaller shift is no drift, even if significant
    cooldown_h: types.Cooldown = 24.0  # hours after an alarm without another

    def __post_init__(self) -> None:
        """Refuse a level that needs too many permutations for memory."""
        if (self.false_alarms / self.horizon) ** (1 / self.consecutive_windows) < _LEAST_LEVEL:
            raise ValueError(
                f"(false_alarms / horizon) ** (1 / consecutive_windows) must be at least {_LEAST_LEVEL:g}: "
                "expected a larger false_alarms or consecutive_windows, or a smaller horizon"
            )


class MetricTrigger(Section, frozen=True):
    """Start a cycle when AP on a random sample of new images is below that on the validation set."""

    images: types.AuditImages = 20  # least number of labelled images in the sample; the newest count
    fall: types.Fraction = 0.05  # of AP; the whole interval must lie below it
    cooldown_h: types.Cooldown = 24.0


class BudgetAdvice(Section, frozen=True):
    """Advice to stop labelling."""

    gain: types.Fraction = 0.005  # of AP; stop after two consecutive cycles that gained less
    hold: bool = False  # whether new data and time then start no cycle


class MonitorConfig(Section, frozen=True):
    """`al-loop monitor`."""

    inbox: types.Texts = ()  # folders, globs, URLs of object stores
    min_age_s: types.Seconds = 10.0  # a file that changed more recently may still be written
    triggers: tuple[TriggerName, ...] = ("new-data", "drift", "metric", "budget")
    new_data: NewDataTrigger = NewDataTrigger()
    time: TimeTrigger = TimeTrigger()
    drift: DriftTrigger = DriftTrigger()
    metric: MetricTrigger = MetricTrigger()
    budget: BudgetAdvice = BudgetAdvice()

    def __post_init__(self) -> None:
        """Refuse repeated names."""
        types.distinct(inbox=self.inbox, triggers=self.triggers)


class PromotionConfig(Section, frozen=True):
    """Conditions for a candidate to replace the current model."""

    sets: types.Texts = ("validation",)  # evaluation sets on which AP must not fall; others are only reported
    tolerance: types.Fraction = 0.0  # allowed fall of AP
    class_tolerance: types.Fraction = 0.1  # of the AP of one class; a significantly larger fall is refused
    # AP of boxes or of masks, here and for early stopping. None: of masks if the task is "segmentation".
    metric: Literal["box_ap", "mask_ap"] | None = None

    def __post_init__(self) -> None:
        """Refuse repeated names."""
        types.distinct(sets=self.sets)


class S3Config(Section, frozen=True):
    """Image storage for `images = "s3"`: al-loop writes with the AWS credentials of this machine."""

    url: types.Text | None = None  # "s3://bucket/folder"
    endpoint: types.Text | None = None  # of another S3 than Amazon's, as servers and browsers reach it
    region: types.Text | None = None
    minutes: types.Minutes = 60  # validity of the addresses that browsers get
    # Environment variables with a read-only key for the server; without them it uses its own credentials.
    key_env: types.Variable = "AL_LOOP_S3_KEY_ID"
    secret_env: types.Variable = "AL_LOOP_S3_SECRET_KEY"


class LabelStudioConfig(Section, frozen=True):
    """The labelling server; without `url`, the embedded one of the workspace."""

    url: types.Text | None = None
    token_env: types.Variable = "AL_LOOP_LABEL_STUDIO_TOKEN"  # environment variable with the token
    token_file: types.Text | None = None  # or the file with the token, readable by its owner only
    # Boxes below it are not shown to annotators. "auto": by class, those that cost more time than they save.
    min_score: types.Fraction | Literal["auto"] = "auto"
    blind_fraction: types.Fraction = 0.1  # share of the tasks without boxes, to see what these save
    review_fraction: types.Fraction = 0.1  # share of k that is sent back: labels that the model contradicts
    outlines: Literal["auto", "polygon", "brush"] = "auto"  # in which form the model's outlines are shown
    # Whose boxes count if several people have labelled an image; users: their e-mails, in order of priority.
    annotators: Literal["newest", "user", "ground-truth", "consensus"] = "newest"
    users: types.Texts = ()
    overlap: types.People = 1  # people who label each image
    gold_fraction: types.Fraction = 0.0  # share of k: validation images whose labels people repeat
    boxes: Literal["rectangles", "extreme-points"] = "rectangles"  # how people may draw a box
    order: QueueOrder = "uncertainty"  # of the images that people see
    port: types.Port | None = None  # of the embedded server
    # How browsers get images. "auto": local files from the embedded server, uploads to any other.
    images: Literal["auto", "local-files", "upload", "s3"] = "auto"
    document_root: types.Text | None = None  # for "local-files" with `url`: folder that the server may show
    s3: S3Config = S3Config()

    def __post_init__(self) -> None:
        """Refuse repeated names."""
        types.distinct(users=self.users)

    @property
    def usual_min_score(self) -> float:
        """`min_score`, or with "auto" what it is while nothing is known of the model's boxes."""
        return 0.3 if self.min_score == "auto" else self.min_score


class Config(Section, frozen=True):
    """The whole file."""

    classes: types.ClassNames
    name: types.ShortText = "al-loop"
    # What people draw and the model predicts: rectangles, or also outlines.
    task: Literal["detection", "segmentation"] = "detection"
    device: types.ShortText = "auto"  # "auto", "cpu", "cuda", "cuda:1"
    gpus: types.Gpus = 1  # per training; with device = "cpu": processes. Scoring uses one
    model: ModelConfig = ModelConfig()
    pretrain: PretrainConfig = PretrainConfig()
    train: TrainConfig = TrainConfig()
    self_training: SelfTrainingConfig = SelfTrainingConfig()
    pool: PoolConfig = PoolConfig()
    score: ScoreConfig = ScoreConfig()
    cycle: CycleConfig = CycleConfig()
    promotion: PromotionConfig = PromotionConfig()
    monitor: MonitorConfig = MonitorConfig()
    label_studio: LabelStudioConfig = LabelStudioConfig()

    @property
    def outlined(self) -> bool:
        """Whether people draw outlines as well as rectangles, and the model predicts masks."""
        return self.task == "segmentation"

    @property
    def drawn(self) -> Drawn:
        """With which tools people draw."""
        return "outlines" if self.outlined else self.label_studio.boxes

    @property
    def pool_precision(self) -> Literal["auto", "fp32", "bf16"]:
        """Precision of pool scores: "auto" becomes "fp32" unless the strategy allows bf16."""
        strategy, precision = self._strategy, self.score.precision
        return "fp32" if precision == "auto" and not (strategy and strategy.bf16) else precision

    @property
    def keeps_features(self) -> bool:
        """Whether the strategy reads RoI features; they are large and otherwise not stored."""
        strategy = self._strategy
        return strategy is not None and "features" in strategy.needs

    @property
    def _strategy(self) -> Strategy | None:
        """The strategy; None for an unknown name in frozen settings."""
        # Imported here, as NumPy would double the time of `al-loop --help`.
        from strategies import STRATEGIES

        return STRATEGIES.get(self.cycle.strategy)

    @property
    def key_metric(self) -> Literal["box_ap", "mask_ap"]:
        """The metric of early stopping and promotion. Without outlines it is that of boxes."""
        return self.promotion.metric or "mask_ap" if self.outlined else "box_ap"

    def exact(self) -> Config:
        """Return these settings with scores in float32, unless they request bf16."""
        if self.score.precision != "auto":
            return self
        return msgspec.structs.replace(self, score=msgspec.structs.replace(self.score, precision="fp32"))


def load_config(path: Path, *, of_0_1: bool = False) -> Config:
    """Read and check a config file; ConfigError names the key, the value and what is allowed.

    of_0_1: also accept the names that settings had in al-loop 0.1.
    """
    try:
        text = read_regular(path, MAX_BYTES)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}). Restore it, or run: al-loop init"
        ) from None
    return parse_config(text, str(path), of_0_1=of_0_1)


def parse_config(text: bytes, source: str, *, of_0_1: bool = False) -> Config:
    """Read a config from TOML text; `source` names it in errors."""
    try:
        data = msgspec.toml.decode(text)
    except RecursionError:
        raise ConfigError(
            f"{source} is not valid TOML: it is nested too deeply. Correct it and run again."
        ) from None
    except ValueError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}. Correct that line and run again.") from None
    if of_0_1:
        data = with_new_names(data)
    if renamed := refusals(data):
        raise ConfigError(f"{source}: {'; '.join(renamed)}. Correct it and run again.")
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {explain(error, data, Config)}. Correct it and run again.") from None
    types.check_classes(config.classes, source)
    if config.promotion.metric == "mask_ap" and not config.outlined:
        raise ConfigError(
            f'{source}: promotion.metric = "mask_ap": expected "box_ap" with task = "detection". Correct it, '
            'or set task = "segmentation"'
        )
    _check_addresses(config, source)
    return config


def _check_addresses(config: Config, source: str) -> None:
    """Refuse credentials in addresses of servers: the file goes into backups and to colleagues."""
    labels = config.label_studio
    token = (
        "the token into the variable of label_studio.token_env, or into the file of label_studio.token_file"
    )
    keys = "the keys into the variables of label_studio.s3.key_env and secret_env, and AWS's own"
    for key, address, instead in (
        ("url", labels.url, token),
        ("s3.url", labels.s3.url, keys),
        ("s3.endpoint", labels.s3.endpoint, keys),
    ):
        if address is not None and masked(address) != address:
            raise ConfigError(
                f"{source}: label_studio.{key} = {masked(address)!r}: expected an address without login or "
                f"signature; put {instead}"
            )
