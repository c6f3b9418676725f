"""Convolutional networks of timm as backbones of a detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from al_loop.core.errors import ModelError


@MODELS.register_module()
class TimmBackbone(BaseModule):  # type: ignore[misc]
    """Feature maps of a timm network, with random weights.

    name: name of the network in timm, such as "tf_efficientnet_lite0".
    out_indices: levels of the feature maps. The last four have the strides 4, 8, 16, 32 in most networks.
    frozen_stages: number of feature maps whose layers are not trained. The layers of a map are all those
        that it depends on.
    norm_eval: whether the batch norms keep their statistics.
    Raises ModelError for a name that timm does not have.
    """

    def __init__(
        self,
        name: str,
        out_indices: Sequence[int] = (-4, -3, -2, -1),
        frozen_stages: int = 0,
        norm_eval: bool = True,
    ) -> None:
        super().__init__()
        self.norm_eval = norm_eval
        # Other names, such as "hf-hub:...", would make timm connect to a hub.
        if not timm.is_model(name):
            raise ModelError(
                f"timm has no network {name!r}. List them: python -c 'import timm; "
                "print(timm.list_models(pretrained=True))'"
            )
        self.network = timm.create_model(name, features_only=True, out_indices=tuple(out_indices))
        levels: Any = self.network.feature_info
        self.channels: list[int] = levels.channels()
        self.strides: list[int] = levels.reduction()
        self._freeze(min(frozen_stages, len(self.channels)))

    @property
    def mean(self) -> list[float]:
        """Mean of the images that the weights were trained with, for each channel of RGB, in 0 to 255."""
        return [255.0 * value for value in self.network.default_cfg["mean"]]

    @property
    def std(self) -> list[float]:
        """Standard deviation of these images, as `mean`."""
        return [255.0 * value for value in self.network.default_cfg["std"]]

    def _freeze(self, stages: int) -> None:
        if stages <= 0:
            return
        parameters = list(self.network.parameters())
        last_map = self.network.eval()(torch.zeros(1, 3, 64, 64))[stages - 1]
        gradients = torch.autograd.grad(last_map.sum(), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.requires_grad = gradient is None

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps of images (n, 3, h, w): (n, c, h / stride, w / stride) of each level."""
        return tuple(self.network(images.contiguous(memory_format=torch.channels_last)))

    def train(self, mode: bool = True) -> TimmBackbone:
        """Set the mode of all layers. With `norm_eval` the batch norms stay in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if self.norm_eval and isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def fuse(self) -> None:
        """Merge each batch norm into the convolution before it. timm's batch norms include the activation."""
        for module in list(self.modules()):
            _fuse_children(module)


def _fuse_children(module: nn.Module) -> None:
    convolution = ""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Conv2d):
            convolution = name
        elif isinstance(child, nn.BatchNorm2d) and convolution:
            setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), child))
            activation: Any = getattr(child, "act", nn.Identity())
            setattr(module, name, activation)
            convolution = ""
