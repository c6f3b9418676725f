"""The types that a model config may name: registered parts of a detector, resolved without an import.

mmengine's `Registry.get` imports unknown dotted names (`type: "subprocess.Popen"` runs a process) and
`<scope>.registry` of any scope, and some parts evaluate or load strings. A config that is data must not reach
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import mmdet.registry as mmdet_registry
from mmdet.models.detectors import TwoStageDetector
from mmengine.registry import WEIGHT_INITIALIZERS, Registry

from al_loop.core.errors import ModelError
from al_loop.detector.config.tree import Place, walk

_MODEL = (mmdet_registry.MODELS, mmdet_registry.TASK_UTILS, WEIGHT_INITIALIZERS)
_CONSTRUCTORS = (mmdet_registry.OPTIM_WRAPPER_CONSTRUCTORS,)
_OPTIMISER = (mmdet_registry.OPTIM_WRAPPERS, mmdet_registry.OPTIMIZERS, *_CONSTRUCTORS)
_NMS = {"nms", "soft_nms", "nms_match"}
_FPG = {"conv", "interpolation_conv", "last_conv"}
_FPG_KEYS = (
    "same_down_trans", "same_up_trans", "across_lateral_trans", "across_down_trans", "across_up_trans",
    "across_skip_trans", "output_trans",
)  # fmt: skip
#: Types without registration, by key: functions that mmcv's `batched_nms` evaluates, classes of mmcv.ops for
#: RoI extractors, and words of FPG and of cascade RPN.
_WORDS: dict[str, set[str]] = {
    "nms": _NMS,
    "nms_cfg": _NMS,
    "roi_layer": {"RoIAlign", "RoIPool", "DeformRoIPool", "DeformRoIPoolPack", "ModulatedDeformRoIPoolPack"},
    "adapt_cfg": {"dilation", "offset"},
    **dict.fromkeys(_FPG_KEYS, _FPG),
}
#: Packages of which only the parts below, which belong to a two-stage detector, are allowed.
_KNOWN = ("mmdet", "mmcv", "mmengine", "torch")
_PARTS = (
    "mmdet.models.backbones", "mmdet.models.necks", "mmdet.models.dense_heads", "mmdet.models.roi_heads",
    "mmdet.models.losses", "mmdet.models.layers", "mmdet.models.utils", "mmdet.models.seg_heads",
    "mmdet.models.data_preprocessors", "mmdet.models.task_modules.assigners",
    "mmdet.models.task_modules.samplers", "mmdet.models.task_modules.coders",
    "mmdet.models.task_modules.prior_generators", "mmdet.engine.optimizers", "mmcv.cnn", "mmcv.ops",
    "mmengine.model", "mmengine.optim", "mmengine.utils.dl_utils.parrots_wrapper",  # SyncBN
    "torch.nn", "torch.optim",
)  # fmt: skip
# Parts that download a language model by name.
_REFUSED = ("mmdet.models.dense_heads.atss_vlfusion_head", "mmdet.models.dense_heads.grounding_dino_head")


def check_types(model: Mapping[str, Any], optim_wrapper: Mapping[str, Any], source: str) -> None:
    """Raise ModelError for a type that is no registered part of a detector.

    source: name of the config in errors.
    """
    _require_two_stage(model.get("type"), source)
    for place, table in walk({"model": model, "optim_wrapper": optim_wrapper}):
        for key in ("type", "constructor", "_scope_") if isinstance(table, Mapping) else ():
            if key in table and not _is_allowed(place, key, table[key]):
                where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
                raise ModelError(
                    f"{source}: {where[1:]}.{key} = {_abbreviate(table[key])} is no registered part of a "
                    "detector, and nothing is imported by its name. Register it (@MODELS.register_module()) "
                    "in a module that the mmdet config names in custom_imports, and give that config: "
                    "al-loop models import CHECKPOINT --config mmdet_config.py"
                )


def _is_allowed(place: Place, key: str, name: object) -> bool:
    """Return whether a table of a config may have this value under "type", "constructor" or "_scope_"."""
    if key == "_scope_":
        return isinstance(name, str) and name in _scopes()
    if place[0] == "optim_wrapper":
        # A constructor is resolved as a type is.
        return _is_usable(_find_registered(name, _OPTIMISER if key == "type" else _CONSTRUCTORS))
    is_word = isinstance(name, str) and name in _WORDS.get(str(place[-1]), ())
    return (
        key == "constructor" or place == ("model",) or is_word or _is_usable(_find_registered(name, _MODEL))
    )


def _require_two_stage(name: object, source: str) -> None:
    detector = _find_registered(name, _MODEL)
    if not (isinstance(detector, type) and issubclass(detector, TwoStageDetector)):
        raise ModelError(
            f"{source}: expected model.type to be a two-stage detector (FasterRCNN), got "
            f"{_abbreviate(name)}. Give the config of a Faster R-CNN"
        )


def registered_name(dotted: str) -> str:
    """Return the registered name of a class, or `dotted` where it is not registered.

    dotted: module and name, as in mmengine's Python-style configs.
    """
    module, _, name = dotted.rpartition(".")
    for registry in (*_MODEL, *_OPTIMISER):
        registered = _find_registered(name, (registry,))
        defined_in = getattr(registered, "__module__", "")
        if module and registered is not None and f"{defined_in}.".startswith(f"{module}."):
            return name
    return dotted


def _is_usable(registered: Any) -> bool:
    """Return whether a registered object is a part of a detector."""
    if registered is None:
        return False
    module = str(getattr(registered, "__module__", ""))
    if module.split(".")[0] not in _KNOWN:
        return True  # from a package that the user has imported
    return module.startswith(_PARTS) and not module.startswith(_REFUSED)


def _find_registered(name: object, registries: tuple[Registry, ...]) -> Any:
    """Return the object registered as "Name" or "scope.Name", or None."""
    if not isinstance(name, str):
        return None
    scope, _, bare = name.rpartition(".")
    for registry in registries:
        levels = list(_registry_chain(registry))
        if scope:
            children = [level.children[scope] for level in levels if scope in level.children]
            levels = ([level for level in levels if level.scope == scope] + children)[:1]
        for level in levels:
            if bare in level.module_dict:
                return level.module_dict[bare]
    return None


def _registry_chain(registry: Registry) -> Iterator[Registry]:
    """Yield a registry and its parents, in the order of `Registry.get`."""
    level: Registry | None = registry
    while level is not None:
        level.import_from_location()  # imports only modules that the packages themselves list
        yield level
        level = level.parent


def _scopes() -> set[str]:
    """Return the registered scopes: of mmengine, mmdet, and packages that the user had imported."""
    root = mmdet_registry.MODELS.parent
    return {root.scope, *root.children, "mmcv"} if root is not None else set()


def _abbreviate(name: object) -> str:
    return repr(name)[:80]
