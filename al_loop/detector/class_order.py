"""Bring the classes of a checkpoint into the order of the workspace."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import torch
from torch import Tensor

from al_loop.core.errors import ModelError
from al_loop.detector.checkpoint import BOX_HEAD, Weights, class_count


def in_order(
    weights: Weights, found: Sequence[str], wanted: Sequence[str], source: str, *, as_is: bool = False
) -> tuple[Weights, list[str]]:
    """Return weights whose box head has the classes in the order of the workspace, and notes for the user.

    found: the classes in the order of the checkpoint; empty where it does not name them.
    wanted: the classes of the workspace.
    source: names the checkpoint in errors and notes.
    as_is: take the classes by position, whatever their names.
    Names that differ only in case, outer spaces or Unicode form are equal. Raises ModelError for other names.
    """
    count = class_count(weights)
    if count is None or count != len(wanted):
        if found and len(found) == count:
            raise other_classes(found, wanted, source)
        return weights, []
    if found and len(found) != count:
        note = f"{source} names {len(found)} classes and its box head has {count}: the names are not used"
        return weights, [f"{note}; its classes are taken to be, in this order: {', '.join(wanted)}"]
    if not found:
        note = f"{source} does not name its classes; they are taken to be, in this order: {', '.join(wanted)}"
        return weights, [note]
    if as_is:
        renamed = [f"{old} as {new}" for old, new in zip(found, wanted, strict=True) if old != new]
        return weights, [f"classes taken by position: {', '.join(renamed)}"] if renamed else []
    order = _order(found, wanted)
    if order is None:
        raise other_classes(found, wanted, source)
    notes = [
        f"{found[at]!r} of {source} is {wanted[i]!r} here"
        for i, at in enumerate(order)
        if found[at] != wanted[i]
    ]
    if order == list(range(count)):
        return weights, notes
    notes.append(
        f"{source} has the classes in another order ({', '.join(found)}): "
        f"its box head was reordered to that of the workspace ({', '.join(wanted)})"
    )
    return {name: _permuted(name, tensor, order) for name, tensor in weights.items()}, notes


def same_names(found: Sequence[str], wanted: Sequence[str]) -> bool:
    """Say whether two lists name the same classes, in any order."""
    return _order(found, wanted) is not None


def other_classes(found: Sequence[str], wanted: Sequence[str], source: str) -> ModelError:
    """Return the error for a checkpoint of other classes."""
    as_is = (
        "; or, if only the names differ, --classes-as-is takes them by position"
        if len(found) == len(wanted)
        else ""
    )
    return ModelError(
        f"{source} was trained for the classes {_listed(found)}; this workspace has {_listed(wanted)}. "
        "Import a checkpoint of the same classes, or start from it: "
        "set model.load_from in al-loop.toml and run: al-loop pretrain"
        f"{as_is}"
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:12]))
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown


def _order(found: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Return the index in `found` of each wanted class; None unless the names are the same."""
    for key in (str, _folded):
        places = {key(name): place for place, name in enumerate(found)}
        keys = [key(name) for name in wanted]
        if len(places) == len(found) == len(set(keys)) and set(keys) == set(places):
            return [places[name] for name in keys]
    return None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).strip().casefold())


def _permuted(name: str, tensor: Tensor, order: Sequence[int]) -> Tensor:
    """Return a layer of the box head with its rows in another order of classes; the background stays last."""
    if not name.startswith(BOX_HEAD):
        return tensor
    count, rows = len(order), torch.as_tensor(order)
    if ".fc_cls." in name and len(tensor) == count + 1:
        return torch.cat([tensor[rows], tensor[count:]])
    if ".fc_reg." in name and len(tensor) == 4 * count:  # 4 rows, of a box's sides, for each class
        return tensor.reshape(count, 4, *tensor.shape[1:])[rows].reshape(tensor.shape)
    return tensor
