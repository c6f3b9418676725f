"""Two views of each unlabelled image: a weak one for the teacher, and a strong one for the student."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import albumentations as A  # noqa: N812
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from msgspec import structs
from torch import Tensor
from torch.utils.data import Dataset

from al_loop.core.errors import TrainingError
from al_loop.core.training_config import AugmentConfig
from al_loop.detector.augmentation.augment import appearance, geometry
from al_loop.detector.inference.scoring import Reader, Unreadable
from al_loop.detector.transforms import Picture
from al_loop.structures.images import ImageFile

#: Field of a DetDataSample with the weak view, (3, h, w) uint8 BGR.
WEAK = "weak"


class UnlabelledViews(Dataset[list[dict[str, Any]]]):
    """The views of each step's images, as mmdet's inputs.

    Item i has the images of step i. It depends on the seed and i alone, so that a resumed training goes on
    with the images that are next. Every image occurs once before any is repeated. An image that cannot be
    read is replaced by the next one.

    The weak view is resized, and flipped where `augment` allows it. The strong view is the weak view with all
    changes of appearance of `strong`: boxes of one are boxes of the other.
    """

    def __init__(
        self,
        images: Sequence[ImageFile],
        config: Config,
        augment: AugmentConfig,
        strong: AugmentConfig,
        per_step: int,
        seed: int,
    ) -> None:
        self._images, self._per_step, self._seed = images, per_step, seed
        self._reader = Reader.of(config)
        still = structs.replace(augment, rotate=0.0, shear=0.0, shift=0.0, zoom=0.0)
        # `erase` needs boxes.
        strong = structs.replace(strong, erase=0.0)
        self._weak, self._strong = A.Compose(geometry(still)), A.Compose(appearance(strong))
        self._epoch, self._order = -1, list[int]()

    def __getitem__(self, step: int) -> list[dict[str, Any]]:
        """Return the images of a step: the strong view in `inputs`, the weak view in `data_samples`."""
        draws = range(step * self._per_step, (step + 1) * self._per_step)
        return [self._views(draw) for draw in draws]

    def _views(self, draw: int) -> dict[str, Any]:
        seeds = np.random.SeedSequence([self._seed, draw]).generate_state(2)
        for transform, seed in zip((self._weak, self._strong), seeds.tolist(), strict=True):
            transform.set_random_seed(seed)
        weak = self._weak(image=self._read(draw))["image"]
        strong = self._strong(image=weak)["image"]
        shape = weak.shape[:2]
        sample = DetDataSample(metainfo={"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0)})
        sample.set_field(_tensor(weak), WEAK, dtype=Tensor)
        return {"inputs": _tensor(strong), "data_samples": sample}

    def _read(self, draw: int) -> Picture:
        """Read the image of a draw, or the next one that is readable."""
        problem = ""
        for image in self._from(draw):
            picture = self._reader.read(image)
            if not isinstance(picture, Unreadable):
                return picture
            problem = picture.reason
        raise TrainingError(
            f"none of the {len(self._images)} unlabelled images can be read: {problem}. "
            "See what is wrong: al-loop doctor"
        )

    def _from(self, draw: int) -> Iterator[ImageFile]:
        for number in range(draw, draw + len(self._images)):
            epoch, place = divmod(number, len(self._images))
            if epoch != self._epoch:
                rng = np.random.default_rng([self._seed, epoch])
                self._epoch, self._order = epoch, rng.permutation(len(self._images)).tolist()
            yield self._images[self._order[place]]


def _tensor(picture: Picture) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).contiguous()
