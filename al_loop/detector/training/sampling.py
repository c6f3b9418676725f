"""Which images a training sees: how often each one, and which share is rendered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from al_loop.structures.boxes import FloatArray
from al_loop.structures.images import LabelledImage

#: Number of labelled images at which the share of rendered images is half of that with few labels.
HALF_REPLAY = 50


def replay_share(replay: float, labelled: int) -> float:
    """Return the share of rendered images among the images of a training.

    replay: the share without labelled images.
    """
    return replay / (1 + labelled / HALF_REPLAY)


def repeat_factors(images: Sequence[LabelledImage], threshold: float) -> FloatArray:
    """Return how often an epoch shows each image, (n,) >= 1, so that rare classes are seen more often.

    threshold: share of the images, t. A class c in a smaller share f(c) is repeated sqrt(t / f(c)) times. An
        image is repeated as often as its rarest class, and once without boxes.
    Source: Gupta 2019, LVIS: A Dataset for Large Vocabulary Instance Segmentation (repeat factor sampling).
    """
    classes = [np.unique(item.boxes.labels) for item in images]
    counts = np.bincount(np.concatenate([np.zeros(0, np.int64), *classes]))
    factors = np.sqrt(threshold * len(images) / np.maximum(counts, 1))
    return np.array([max(1.0, *factors[labels], 1.0) for labels in classes])


@DATA_SAMPLERS.register_module()
class EndlessSampler(Sampler[int]):
    """Yields indices of images without end. All processes get the same order.

    factors: how often an epoch shows each labelled image. A fraction is rounded at random in each epoch.
    shares: share of rendered images, whose indices follow those of the labelled ones, at the beginning and
        at the end of a training. It changes linearly.
    length: number of images of the training.
    """

    def __init__(
        self,
        dataset: Any,
        seed: int,
        factors: FloatArray,
        shares: tuple[float, float] = (0.0, 0.0),
        length: int = 1,
    ) -> None:
        self.dataset = dataset
        self.seed = seed
        self.factors = factors
        self.shares = shares
        self.length = length

    def __iter__(self) -> Iterator[int]:
        """Yield indices."""
        kind, *orders = np.random.SeedSequence(self.seed).spawn(3)
        labelled = _endless(self.factors, np.random.default_rng(orders[0]))
        rendered = _endless(np.ones(len(self) - len(self.factors)), np.random.default_rng(orders[1]))
        rng = np.random.default_rng(kind)
        first, last = self.shares
        for number in count():
            share = first + (last - first) * min(number / self.length, 1.0)
            yield len(self.factors) + next(rendered) if rng.random() < share else next(labelled)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.dataset)


def _endless(factors: FloatArray, rng: np.random.Generator) -> Iterator[int]:
    """Yield indices epoch by epoch, each epoch in random order."""
    while True:
        counts = np.floor(factors + rng.random(len(factors))).astype(np.int64)
        yield from rng.permutation(np.repeat(np.arange(len(factors)), counts)).tolist()
