"""Which types a model config may name: registered parts of a detector, resolved without importing anything.

mmengine's `Registry.get` imports any dotted name that it does not know (`type: "subprocess.Popen"` runs a process), imports
`<scope>.registry` of any scope, and some parts evaluate or load what a string names. A config that is data must not reach them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import mmdet.registry as mmdet_registry
from mmdet.models.detectors import TwoStageDetector
from mmengine.registry import WEIGHT_INITIALIZERS, Registry

from al_loop.core.errors import ModelError

_MODEL = (mmdet_registry.MODELS, mmdet_registry.TASK_UTILS, WEIGHT_INITIALIZERS)
_CONSTRUCTORS = (mmdet_registry.OPTIM_WRAPPER_CONSTRUCTORS,)
_OPTIMISER = (mmdet_registry.OPTIM_WRAPPERS, mmdet_registry.OPTIMIZERS, *_CONSTRUCTORS)
_NMS = {"nms", "soft_nms", "nms_match"}
_FPG = {"conv", "interpolation_conv", "last_conv"}
#: Words that some keys take as a type beside registered names: functions of mmcv that `batched_nms` finds by `eval`, classes of
#: mmcv.ops that a RoI extractor finds by name, and words that FPG and a cascade RPN know.
_WORDS: dict[str, set[str]] = {
    "nms": _NMS,
    "nms_cfg": _NMS,
    "roi_layer": {"RoIAlign", "RoIPool", "DeformRoIPool", "DeformRoIPoolPack", "ModulatedDeformRoIPoolPack"},
    "adapt_cfg": {"dilation", "offset"},
    **dict.fromkeys(("same_down_trans", "same_up_trans", "across_lateral_trans", "across_down_trans"), _FPG),
    **dict.fromkeys(("across_up_trans", "across_skip_trans", "output_trans"), _FPG),
}
#: Packages whose registered parts are known; of mmdet only those that a two-stage detector is made of.
_KNOWN = ("mmdet", "mmcv", "mmengine", "torch")
_PARTS = (
    *(
        f"mmdet.models.{name}"
        for name in ("backbones", "necks", "dense_heads", "roi_heads", "losses", "layers")
    ),
    *(f"mmdet.models.{name}" for name in ("utils", "seg_heads", "data_preprocessors")),
    *(
        f"mmdet.models.task_modules.{name}"
        for name in ("assigners", "samplers", "coders", "prior_generators")
    ),
    "mmdet.engine.optimizers",
    "mmcv.cnn",
    "mmcv.ops",
    "mmengine.model",
    "mmengine.utils.dl_utils.parrots_wrapper",  # SyncBN
    "mmengine.optim",
    "torch.nn",
    "torch.optim",
)
# They fetch a language model by name.
_REFUSED = ("mmdet.models.dense_heads.atss_vlfusion_head", "mmdet.models.dense_heads.grounding_dino_head")


def check_types(model: Mapping[str, Any], optim_wrapper: Mapping[str, Any], source: str) -> None:
    """Raise ModelError for a type that is no registered part of a detector; source: what the error calls the config."""
    for where, name in _types(model, "model"):
        if where == "model":
            found = _registered(name, _MODEL)
            if not (isinstance(found, type) and issubclass(found, TwoStageDetector)):
                raise ModelError(
                    f"{source}: expected model.type to be a two-stage detector (FasterRCNN), got {_shown(name)}. "
                    "Give the config of a Faster R-CNN"
                )
            continue
        if isinstance(name, str) and name in _WORDS.get(where.rpartition(".")[2], ()):
            continue
        if not _usable(_registered(name, _MODEL)):
            raise _unknown(source, f"{where}.type", name)
    for where, name in _types(optim_wrapper, "optim_wrapper"):
        if not _usable(_registered(name, _OPTIMISER)):
            raise _unknown(source, f"{where}.type", name)
    for where, name in _values(optim_wrapper, "constructor", "optim_wrapper"):  # looked up as a type is
        if not _usable(_registered(name, _CONSTRUCTORS)):
            raise _unknown(source, f"{where}.constructor", name)
    for where, scope in _values({"model": model, "optim_wrapper": optim_wrapper}, "_scope_", ""):
        if not isinstance(scope, str) or scope not in _scopes():
            raise _unknown(source, f"{where}._scope_", scope)


def registered_name(dotted: str) -> str:
    """Return the registered name of a class given by module and name, as mmengine's Python-style configs do; else `dotted`."""
    module, _, name = dotted.rpartition(".")
    for registry in (*_MODEL, *_OPTIMISER):
        found = _in_chain(registry, name)
        own = getattr(found, "__module__", "")
        if module and found is not None and (own == module or own.startswith(f"{module}.")):
            return name
    return dotted


def _usable(found: Any) -> bool:
    """Say whether a registered object is a part of a detector. One of another package was imported because the user said so."""
    if found is None:
        return False
    module = str(getattr(found, "__module__", ""))
    if module.split(".")[0] not in _KNOWN:
        return True
    return module.startswith(_PARTS) and not module.startswith(_REFUSED)


def _registered(name: object, registries: tuple[Registry, ...]) -> Any:
    """Return what is registered under a name, "scope.Name" included, or None."""
    if not isinstance(name, str):
        return None
    scope, _, bare = name.rpartition(".")
    for registry in registries:
        if not scope:
            found = _in_chain(registry, bare)
        else:
            of_scope = next((one for one in _chain(registry) if one.scope == scope), None)
            above = next((one for one in _chain(registry) if scope in one.children), None)
            chosen = of_scope or (above and above.children[scope])
            found = chosen.module_dict.get(bare) if chosen is not None else None
        if found is not None:
            return found
    return None


def _in_chain(registry: Registry, name: str) -> Any:
    return next((one.module_dict[name] for one in _chain(registry) if name in one.module_dict), None)


def _chain(registry: Registry) -> Iterator[Registry]:
    """Yield a registry and those above it, as `Registry.get` looks for a name without a scope."""
    at: Registry | None = registry
    while at is not None:
        at.import_from_location()  # the packages' own modules, by their own lists
        yield at
        at = at.parent


def _scopes() -> set[str]:
    """Return the scopes that are registered: mmengine's, mmdet's, and those of packages that the user had imported."""
    root = mmdet_registry.MODELS.parent
    return {root.scope, *root.children, "mmcv"} if root is not None else set()


def _types(tree: Any, where: str) -> Iterator[tuple[str, Any]]:
    return _values(tree, "type", where)


def _values(tree: Any, key: str, where: str) -> Iterator[tuple[str, Any]]:
    """Yield place and value of a key at every depth."""
    if isinstance(tree, Mapping):
        if key in tree:
            yield where, tree[key]
        for name, value in tree.items():
            yield from _values(value, key, f"{where}.{name}".lstrip("."))
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from _values(value, key, f"{where}[{number}]")


def _shown(name: object) -> str:
    return repr(name)[:80]


def _unknown(source: str, where: str, name: object) -> ModelError:
    return ModelError(
        f"{source}: {where} = {_shown(name)} is no registered part of a detector, and nothing is imported by its name. "
        "Register it (@MODELS.register_module()) in a module that the mmdet config names in custom_imports, and give that "
        "config: al-loop models import CHECKPOINT --config mmdet_config.py"
    )
