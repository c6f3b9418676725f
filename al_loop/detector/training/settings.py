"""What a training is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainSettings:
    """One training; `turns` adds vertical flips and quarter turns to the augmentations.

    precision: of the forward pass, "fp32" or "bf16"; None for what the device usually takes, fp16 mixed on CUDA.
    steps: in all, the last of the epochs is cut short for it; None: every epoch is whole.
    Of several processes that share it: batch_size of all together, workers of each.
    """

    epochs: int
    batch_size: int
    lr: float
    val_every: int
    patience: int
    repeat: int
    workers: int
    seed: int
    device: str
    turns: bool = False
    precision: str | None = None
    steps: int | None = None
