"""Which layers of the backbone are not trained."""

from __future__ import annotations

from copy import deepcopy

from mmdet.models.backbones import ResNet
from mmdet.registry import MODELS
from mmengine.config import Config

from al_loop.core.errors import ConfigError
from al_loop.core.training_config import Freeze
from al_loop.detector.backbones.timm_backbone import TimmBackbone


def with_frozen_layers(config: Config, freeze: Freeze | None) -> Config:
    """Return a model config whose backbone freezes these layers, with the statistics of their batch norms.

    freeze: "encoder": the whole backbone. "stem": the layers up to the first feature map. "nothing": none.
        None: as the config says.
    Raises ConfigError for a backbone that cannot freeze layers.
    """
    if freeze is None:
        return config
    config = deepcopy(config)
    backbone = config.model.backbone
    kind = MODELS.get(backbone.type)
    if kind is None or not issubclass(kind, ResNet | TimmBackbone):
        raise ConfigError(
            f'freeze = "{freeze}": expected a ResNet or a network of timm, got a {backbone.type}. Remove '
            "pretrain.freeze and train.freeze from al-loop.toml; in a cycle, then: al-loop cycle --refreeze"
        )
    maps = backbone.get("num_stages", 4)
    if issubclass(kind, TimmBackbone):
        maps = len(backbone.get("out_indices", range(4)))
    backbone.frozen_stages = {"nothing": -1, "stem": 1, "encoder": maps}[freeze]
    return config
