"""The classes of a checkpoint and those of the workspace: the same names, perhaps in another order."""

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
    """Return weights whose box head has the classes in the order of the workspace, and what is worth saying of it.

    found: the classes in the checkpoint's order, none where it does not name them.  as_is: take them by their place.
    Names that differ only in case, spaces around them or Unicode form are one name. Raises ModelError for other names.
    """
    count = class_count(weights)
    if count is None or count != len(wanted):
        if found and len(found) == count:
            raise other_classes(found, wanted, source)
        return weights, []
    if found and len(found) != count:
        said = f"{source} names {len(found)} classes and its box head has {count}: the names are not used"
        return weights, [f"{said}; its classes are taken to be, in this order: {', '.join(wanted)}"]
    if not found:
        said = f"{source} does not name its classes; they are taken to be, in this order: {', '.join(wanted)}"
        return weights, [said]
    if as_is:
        renamed = [f"{name} as {own}" for name, own in zip(found, wanted, strict=True) if name != own]
        return weights, [f"classes taken by their place: {', '.join(renamed)}"] if renamed else []
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
        f"{source} has the classes in another order ({', '.join(found)}): its box head was brought into that of the "
        f"workspace ({', '.join(wanted)})"
    )
    return {name: _permuted(name, tensor, order) for name, tensor in weights.items()}, notes


def same_names(found: Sequence[str], wanted: Sequence[str]) -> bool:
    """Say whether two lists name the same classes, in any order."""
    return _order(found, wanted) is not None


def other_classes(found: Sequence[str], wanted: Sequence[str], source: str) -> ModelError:
    """Return the error for a checkpoint of other classes."""
    as_is = (
        "; or, if only the names differ, --classes-as-is takes them by their place"
        if len(found) == len(wanted)
        else ""
    )
    return ModelError(
        f"{source} was trained for the classes {_listed(found)}; this workspace has {_listed(wanted)}. Import a checkpoint of "
        "the same classes, or start from it: set model.load_from in al-loop.toml and run: al-loop pretrain"
        f"{as_is}"
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:12]))
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown


def _order(found: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Return for each wanted class its place among those found; None unless they are the same."""
    for key in (str, _folded):
        places = {key(name): place for place, name in enumerate(found)}
        keys = [key(name) for name in wanted]
        if len(places) == len(found) == len(set(keys)) and set(keys) == set(places):
            return [places[name] for name in keys]
    return None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).strip().casefold())


def _permuted(name: str, tensor: Tensor, order: Sequence[int]) -> Tensor:
    """Return a layer of the box head with its rows in another order of classes; the background's row stays the last."""
    if not name.startswith(BOX_HEAD):
        return tensor
    count, rows = len(order), torch.as_tensor(order)
    if ".fc_cls." in name and len(tensor) == count + 1:
        return torch.cat([tensor[rows], tensor[count:]])
    if ".fc_reg." in name and len(tensor) == 4 * count:  # 4 rows, of a box's sides, for each class
        return tensor.reshape(count, 4, *tensor.shape[1:])[rows].reshape(tensor.shape)
    return tensor
