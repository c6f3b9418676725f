"""Settings of trainings: `[pretrain]`, `[train]` and `[self_training]` of `al-loop.toml`."""

from __future__ import annotations

from typing import Literal

from al_loop.core import setting_types as types
from al_loop.core.setting_types import Section

Freeze = Literal["encoder", "stem", "nothing"]


class AugmentConfig(Section, frozen=True):
    """Random changes of each training image; 0 or false switches one off. The defaults are for few labels."""

    hflip: bool = True  # mirror images; not if classes are mirror images of each other
    rotate90: bool = False  # quarter turns; not if a class has an upper side
    rotate: types.Angle = 0.0  # largest free rotation in degrees, in both directions
    shear: types.Shear = 0.0  # largest angle in degrees
    shift: types.Fraction = 0.1  # largest shift as a share of the image's side
    zoom: types.Zoom = 0.25  # the scale lies between 1 / (1 + zoom) and 1 + zoom
    colour: types.Fraction = 0.4  # change of brightness, contrast and saturation; a quarter of it for the hue
    grayscale: types.Fraction = 0.2  # share of images without colour
    noise: types.Fraction = 0.0  # largest standard deviation, as a share of the range of values
    blur: types.Blur = 0.0  # largest standard deviation of a Gaussian in px
    cutout: types.Fraction = 0.0  # largest share of the image that a rectangle of noise hides
    erase: types.Fraction = 0.0  # largest share of each box that a rectangle of noise hides
    copy_paste: types.Fraction = 0.7  # share of images that get objects of other images
    copy_paste_shape: Literal["box", "ellipse"] = "box"  # what is copied of an object without an outline


class PretrainAugmentConfig(AugmentConfig, frozen=True):
    """The same for rendered images, which photographs differ from."""

    noise: types.Fraction = 0.05
    blur: types.Blur = 2.0
    cutout: types.Fraction = 0.2
    copy_paste: types.Fraction = 0.0


class TrainConfig(Section, frozen=True):
    """Fine-tuning in each cycle."""

    steps: types.Steps = 400  # of the optimiser
    epochs: types.Epochs | None = None  # passes over the images, instead of `steps`
    batch_size: types.BatchSize = 4
    lr: types.LearningRate | None = None  # None: that of the model config
    backbone_lr: types.Factor | None = None  # factor of `lr` for the backbone; None: the config's
    freeze: Freeze | None = None  # layers of the backbone that are not trained; None: the config's
    # Steps between validations; epochs, if `epochs` is set. None: 100 steps, or one epoch.
    val_every: types.Steps | None = None
    patience: types.Patience = 10  # validations without a better AP before the training stops
    ema: types.Decay = 0.998  # of the moving average of the weights, which is the result; 0: no average
    workers: types.Workers | None = None  # None: two less than the cores, at most 4
    # Of the forward pass. "auto": "bf16" where it is faster, otherwise "fp32", on CUDA mixed with fp16.
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: types.Seed = 0
    balance: types.Fraction = 0.0  # classes in a smaller share of the images are shown more often
    # Share of rendered images beside few photographs; half of it beside 50. Of `pretrain`, beside --data.
    replay: types.Fraction = 0.0
    augment: AugmentConfig = AugmentConfig()

    def duration(self, images: int) -> tuple[int, int]:
        """Return the number of steps of a training, and of those between validations."""
        if self.epochs is None:
            return self.steps, self.val_every or 100
        epoch = -(-images // self.batch_size)
        return self.epochs * epoch, (self.val_every or 1) * epoch


class PretrainConfig(TrainConfig, frozen=True):
    """Training of M0 on synthetic images."""

    steps: types.Steps = 1500
    augment: PretrainAugmentConfig = PretrainAugmentConfig()


class SelfTrainingConfig(Section, frozen=True):
    """A second training that also learns from unlabelled photographs. It is kept if it is better."""

    mode: Literal["off", "on", "auto"] = "off"  # "auto": with at least as many as labelled photographs
    unlabelled_fraction: types.BatchShare = 0.5  # share of the images of a batch
    weight: types.LossWeight = 1.0  # of their loss; it rises over the first fifth of the steps
    # "hard": sure boxes of the teacher are labels; "soft": its class distributions are the targets. "auto":
    # "soft" if the boxes of fewer than half of the classes are precise enough.
    targets: Literal["auto", "hard", "soft"] = "auto"
    steps: types.Steps | None = None  # None: as many as the training on labels
