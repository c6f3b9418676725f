"""Training with unlabelled images in each step of mmengine's Runner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import Tensor
from torch.utils.data import DataLoader

from al_loop.core.training_config import TrainConfig
from al_loop.detector.self_training.losses import Losses, pseudo_label_losses, soft_losses
from al_loop.detector.self_training.settings import UnlabelledPart
from al_loop.detector.self_training.teacher import Teacher
from al_loop.detector.self_training.views import WEAK, UnlabelledViews

#: Share of the steps in which the weight of the unlabelled images rises.
_RISE = 0.2


class SelfTraining(Hook):  # type: ignore[misc]
    """Adds unlabelled images to each batch. The loss of these images is that of `losses`.

    teacher: returns the model that labels the images, an average of the model that is trained.
    The student sees labelled and unlabelled images in one forward pass, so that batch normalisation takes its
    statistics of both. mmdet's SemiBaseDetector would pass them separately, and has the teacher as a second
    half of the trained model, where checkpoints and averages would hold it twice.
    """

    def __init__(
        self,
        part: UnlabelledPart,
        config: Config,
        settings: TrainConfig,
        workers: int,
        teacher: Callable[[], Any],
    ) -> None:
        rank, processes = get_dist_info()
        self._part, self._workers, self._teacher_model = part, workers, teacher
        self._views = UnlabelledViews(
            part.images[rank::processes],
            config,
            settings.augment,
            part.strong,
            part.per_step // processes,
            settings.seed,
        )
        self._weight = 0.0

    def before_train(self, runner: Any) -> None:
        """Begin to read images, and replace the loss of the model."""
        self._model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._teacher = Teacher(self._teacher_model(), self._part.thresholds)
        steps = range(runner.iter, runner.max_iters)
        loader = DataLoader(self._views, batch_size=None, sampler=steps, num_workers=self._workers)
        self._batches: Iterator[list[dict[str, Any]]] = iter(loader)
        self._model.loss = self._loss

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Add unlabelled images to a batch."""
        self._weight = self._part.weight * min(1.0, (runner.iter + 1) / (_RISE * runner.max_iters))
        for views in next(self._batches):
            for name in ("inputs", "data_samples"):
                data_batch[name].append(views[name])

    def after_train(self, runner: Any) -> None:
        """Restore the loss of the model, and end the processes that read images."""
        del self._model.loss, self._batches

    def _loss(self, inputs: Tensor, samples: list[Any]) -> Losses:
        """Return the losses of a batch. Its unlabelled images come last."""
        maps = self._model.extract_feat(inputs)
        unlabelled = [sample for sample in samples if WEAK in sample]
        count = len(samples) - len(unlabelled)
        losses = _labelled_losses(self._model, [level[:count] for level in maps], samples[:count])
        more = self._unlabelled_losses([level[count:] for level in maps], unlabelled)
        return losses | {f"unlabelled_{name}": self._weight * loss for name, loss in more.items()}

    def _unlabelled_losses(self, maps: list[Tensor], samples: list[Any]) -> Losses:
        metas = [sample.metainfo for sample in samples]
        view = self._teacher.look([sample.get(WEAK) for sample in samples])
        if self._part.soft:
            return soft_losses(self._model, maps, metas, self._teacher, view)
        labels = self._teacher.label(view, [meta["img_shape"] for meta in metas])
        return pseudo_label_losses(self._model, maps, metas, labels)


def _labelled_losses(model: Any, maps: list[Tensor], samples: list[Any]) -> Losses:
    """Return what the model's own `loss` returns for feature maps."""
    objects = deepcopy(samples)
    for sample in objects:
        sample.gt_instances.labels = torch.zeros_like(sample.gt_instances.labels)
    settings = model.train_cfg.get("rpn_proposal", model.test_cfg.rpn)
    losses, proposals = model.rpn_head.loss_and_predict(maps, objects, proposal_cfg=settings)
    result: Losses = losses | model.roi_head.loss(maps, proposals, samples)
    return result
