"""The settings of a training and what they resolve to on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from al_loop.core.config import TrainConfig


@dataclass(frozen=True)
class RunSettings:
    """Settings of one training, with the values that are resolved when it starts.

    settings: a table of al-loop.toml; its batch_size counts the images of all processes together.
    device: "cpu", "cuda" or one GPU such as "cuda:1".
    lr: learning rate, of the settings or of the model's config.
    workers: decoding processes of each training process.
    precision: of the forward pass, "fp32" or "bf16"; None for fp32, and on CUDA fp16 mixed.
    steps: steps in all, the last epoch is cut short; None: every epoch is whole.
    """

    settings: TrainConfig
    device: str
    lr: float
    workers: int
    precision: str | None = None
    steps: int | None = None
