"""Bring the classes of a checkpoint into the order of the workspace."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import torch
from torch import Tensor

from al_loop.core.errors import ModelError
from al_loop.detector.checkpoint import CLASS_LAYERS, Weights, class_count


def reorder_classes(
    weights: Weights, names: Sequence[str], classes: Sequence[str], source: str, *, as_is: bool = False
) -> tuple[Weights, list[str]]:
    """Return weights whose heads have the classes in the order of the workspace, and notes for the user.

    names: class names in the order of the checkpoint. Empty if the checkpoint has none.
    classes: class names of the workspace.
    source: name of the checkpoint in errors and notes.
    as_is: match classes by position. Ignore their names.
    Names that differ only in case, outer spaces or Unicode form are equal. Raises ModelError for other names.
    """
    count = class_count(weights)
    if count is None or count != len(classes):
        if names and len(names) == count:
            raise _other_classes(names, classes, source)
        return weights, []
    in_this_order = f"taken to be, in this order: {', '.join(classes)}"
    if not names:
        return weights, [f"{source} does not name its classes; they are {in_this_order}"]
    if len(names) != count:
        note = f"{source} names {len(names)} classes and its box head has {count}: the names are not used"
        return weights, [f"{note}; its classes are {in_this_order}"]
    if as_is:
        renamed = [f"{old} as {new}" for old, new in zip(names, classes, strict=True) if old != new]
        return weights, [f"classes taken by position: {', '.join(renamed)}"] if renamed else []
    order = _order(names, classes)
    if order is None:
        raise _other_classes(names, classes, source)
    pairs = [(names[place], name) for place, name in zip(order, classes, strict=True)]
    notes = [f"{old!r} of {source} is {new!r} here" for old, new in pairs if old != new]
    if order == list(range(count)):
        return weights, notes
    notes.append(
        f"{source} has the classes in another order ({', '.join(names)}): "
        f"its box head was reordered to that of the workspace ({', '.join(classes)})"
    )
    return {name: _permute_classes(name, tensor, order) for name, tensor in weights.items()}, notes


def same_names(names: Sequence[str], classes: Sequence[str]) -> bool:
    """Return whether two lists name the same classes, in any order."""
    return _order(names, classes) is not None


def _other_classes(names: Sequence[str], classes: Sequence[str], source: str) -> ModelError:
    """Return the error for a checkpoint with other classes."""
    as_is = "; or, if only the names differ, --classes-as-is takes them by position"
    return ModelError(
        f"{source} was trained for the classes {_list_names(names)}; "
        f"this workspace has {_list_names(classes)}. "
        "Import a checkpoint of the same classes, or start from it: "
        "set model.load_from in al-loop.toml and run: al-loop pretrain"
        f"{as_is if len(names) == len(classes) else ''}"
    )


def _list_names(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:12]))
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown


def _order(names: Sequence[str], classes: Sequence[str]) -> list[int] | None:
    """Return the index in `names` of each class. None if the names are not those of the classes."""
    for key in (str, _fold_case):
        places = {key(name): place for place, name in enumerate(names)}
        keys = [key(name) for name in classes]
        if len(places) == len(names) == len(set(keys)) and set(keys) == set(places):
            return [places[name] for name in keys]
    return None


def _fold_case(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).strip().casefold())


def _permute_classes(name: str, tensor: Tensor, order: Sequence[int]) -> Tensor:
    """Return a layer of a head with its rows in another order of classes; the background stays last."""
    if not name.startswith(CLASS_LAYERS):
        return tensor
    count, rows = len(order), torch.as_tensor(order)
    if ".fc_cls." in name and len(tensor) == count + 1:
        return torch.cat([tensor[rows], tensor[count:]])
    if ".fc_reg." in name and len(tensor) == 4 * count:  # 4 rows, of a box's sides, for each class
        return tensor.reshape(count, 4, *tensor.shape[1:])[rows].reshape(tensor.shape)
    if ".conv_logits." in name and len(tensor) == count:
        return tensor[rows]
    return tensor
