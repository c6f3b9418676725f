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
from al_loop.detector.config.tree import walk

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
#: Packages of which only the parts below are allowed: those of a two-stage detector.
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
# They download a language model by name.
_REFUSED = ("mmdet.models.dense_heads.atss_vlfusion_head", "mmdet.models.dense_heads.grounding_dino_head")


def check_types(model: Mapping[str, Any], optim_wrapper: Mapping[str, Any], source: str) -> None:
    """Raise ModelError for a type that is no registered part of a detector.

    source: name of the config in errors.
    """
    _require_two_stage(model.get("type"), source)
    checks: tuple[tuple[Any, str, str, tuple[Registry, ...]], ...] = (
        (model, "model", "type", _MODEL),
        (optim_wrapper, "optim_wrapper", "type", _OPTIMISER),
        (optim_wrapper, "optim_wrapper", "constructor", _CONSTRUCTORS),  # resolved as a type is
    )
    for tree, root, key, registries in checks:
        for where, name in _values(tree, key, root):
            words = _WORDS.get(where.rpartition(".")[2], ()) if root == "model" else ()
            if where == "model" or (isinstance(name, str) and name in words):
                continue
            if not _usable(_registered(name, registries)):
                raise _unknown(source, f"{where}.{key}", name)
    for where, scope in _values({"model": model, "optim_wrapper": optim_wrapper}, "_scope_", ""):
        if not isinstance(scope, str) or scope not in _scopes():
            raise _unknown(source, f"{where}._scope_", scope)


def _require_two_stage(name: object, source: str) -> None:
    detector = _registered(name, _MODEL)
    if not (isinstance(detector, type) and issubclass(detector, TwoStageDetector)):
        raise ModelError(
            f"{source}: expected model.type to be a two-stage detector (FasterRCNN), got {_shown(name)}. "
            "Give the config of a Faster R-CNN"
        )


def registered_name(dotted: str) -> str:
    """Return the registered name of a class, or `dotted` where it is not registered.

    dotted: module and name, as in mmengine's Python-style configs.
    """
    module, _, name = dotted.rpartition(".")
    for registry in (*_MODEL, *_OPTIMISER):
        registered = _in_chain(registry, name)
        defined_in = getattr(registered, "__module__", "")
        if module and registered is not None and f"{defined_in}.".startswith(f"{module}."):
            return name
    return dotted


def _usable(registered: Any) -> bool:
    """Return whether a registered object is a part of a detector."""
    if registered is None:
        return False
    module = str(getattr(registered, "__module__", ""))
    if module.split(".")[0] not in _KNOWN:
        return True  # of a package that the user had imported
    return module.startswith(_PARTS) and not module.startswith(_REFUSED)


def _registered(name: object, registries: tuple[Registry, ...]) -> Any:
    """Return the object registered as "Name" or "scope.Name", or None."""
    if not isinstance(name, str):
        return None
    scope, _, bare = name.rpartition(".")
    for registry in registries:
        registered = _in_scope(registry, scope, bare) if scope else _in_chain(registry, bare)
        if registered is not None:
            return registered
    return None


def _in_scope(registry: Registry, scope: str, name: str) -> Any:
    chain = list(_chain(registry))
    candidates = [level for level in chain if level.scope == scope]
    candidates += [level.children[scope] for level in chain if scope in level.children]
    return candidates[0].module_dict.get(name) if candidates else None


def _in_chain(registry: Registry, name: str) -> Any:
    return next((level.module_dict[name] for level in _chain(registry) if name in level.module_dict), None)


def _chain(registry: Registry) -> Iterator[Registry]:
    """Yield a registry and its parents, in the order of `Registry.get`."""
    level: Registry | None = registry
    while level is not None:
        level.import_from_location()  # the modules that the packages themselves list
        yield level
        level = level.parent


def _scopes() -> set[str]:
    """Return the registered scopes: of mmengine, mmdet, and packages that the user had imported."""
    root = mmdet_registry.MODELS.parent
    return {root.scope, *root.children, "mmcv"} if root is not None else set()


def _values(tree: Any, key: str, root: str) -> Iterator[tuple[str, Any]]:
    """Yield the place and the value of a key at every depth."""
    for place, table in walk(tree):
        if isinstance(table, Mapping) and key in table:
            where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
            yield f"{root}{where}".lstrip("."), table[key]


def _shown(name: object) -> str:
    return repr(name)[:80]


def _unknown(source: str, where: str, name: object) -> ModelError:
    return ModelError(
        f"{source}: {where} = {_shown(name)} is no registered part of a detector, and nothing is imported by "
        "its name. Register it (@MODELS.register_module()) in a module that the mmdet config names in "
        "custom_imports, and give that config: al-loop models import CHECKPOINT --config mmdet_config.py"
    )
