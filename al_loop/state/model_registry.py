"""Models of a workspace: all of them, the current one, and their metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from al_loop.core.errors import ModelError
from al_loop.core.files import hash_of
from al_loop.state.database import model_table
from al_loop.state.database.dataset_table import rendered_count
from al_loop.state.database.label_table import label_cost, set_size
from al_loop.state.database.model_table import ModelRow
from al_loop.state.workspace import Workspace, now
from al_loop.structures.metrics import VALIDATION, Metrics

WEIGHTS = "weights.pth"
CONFIG = "config.json"
#: The origin of a model that no training has changed. It is never current: only its features are used.
INITIAL = "initial"
#: The config in older workspaces. It is parsed, never executed.
OLD_CONFIG = "config.py"
#: Model configs that come with al-loop.
SHIPPED = ("lite", "r50", "small")


@dataclass(frozen=True, kw_only=True)
class Model(ModelRow):
    """A model of the workspace. `folder` holds its weights and its resolved config."""

    folder: Path

    @property
    def weights(self) -> Path:
        """Return the file of the weights."""
        return self.folder / WEIGHTS

    @property
    def config(self) -> Path:
        """Return the file of the resolved config."""
        return config_file(self.folder, self.config_sha256)


def config_file(folder: Path, sha256: str | None) -> Path:
    """Return the file of a model's config. Without a hash, config.py if it is the only one."""
    new, old = folder / CONFIG, folder / OLD_CONFIG
    return old if sha256 is None and not new.is_file() and old.is_file() else new


class WeightsGuard:
    """Checks that the weights of a model stay the same during a run."""

    def __init__(self, model: Model) -> None:
        """Record the file's inode, size and time before it is read."""
        self._model, self._stamp = model, _stamp(model.weights)

    def check(self) -> None:
        """Raise ModelError if the weights have changed. Hash them only if inode, size or time differ."""
        path, expected = self._model.weights, self._model.weights_sha256
        stamp = _stamp(path)
        if stamp == self._stamp:
            return
        actual = hash_of(path) or "no file"
        if actual != expected:
            raise ModelError(
                f"{path} was changed during the run: expected SHA-256 {expected}, got {actual}. "
                "All stored results are of the original weights. Restore the file, or use another "
                "model (al-loop models list). Then run the same command again"
            )
        self._stamp = stamp


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return inode, size and time of a file. None without a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def current_model(workspace: Workspace) -> Model:
    """Return the current model. Raises ModelError, which says how to make one, if there is none."""
    row = model_table.newest_promotion(workspace.store)
    if row is None:
        raise ModelError(
            "no model yet. Label photographs and train the first one: al-loop cycle; or train it on rendered "
            "images: al-loop render RECIPE --count 400, then al-loop pretrain; or: al-loop models import "
            "CHECKPOINT"
        )
    return get_model(workspace, row.model_id)


def has_model(workspace: Workspace) -> bool:
    """Whether there is a current model."""
    return model_table.newest_promotion(workspace.store) is not None


def can_pretrain(workspace: Workspace) -> bool:
    """Whether there is no model yet, but all that `al-loop pretrain` needs."""
    store = workspace.store
    if has_model(workspace) or not set_size(store, VALIDATION):
        return False
    return bool(rendered_count(store) or label_cost(store).boxes)


def get_model(workspace: Workspace, model_id: str) -> Model:
    """Return a model by id. Raises ModelError, which lists the existing models, for an unknown id."""
    row = model_table.read_model(workspace.store, model_id)
    if row is None:
        names = ", ".join(model.id for model in model_table.all_models(workspace.store))
        raise ModelError(f"no model {model_id!r}; there are: {names or 'none'}. See: al-loop models list")
    return _model(workspace, row)


def all_models(workspace: Workspace) -> list[Model]:
    """Return every model, oldest first."""
    return [_model(workspace, row) for row in model_table.all_models(workspace.store)]


def descent(models: Sequence[Model]) -> list[tuple[int, Model]]:
    """Return (depth, model) of a tree, each model below its parent."""
    children: dict[str | None, list[Model]] = {}
    for model in models:
        children.setdefault(model.parent, []).append(model)
    tree: list[tuple[int, Model]] = []
    stack = [(0, model) for model in reversed(children.get(None, []))]
    while stack:
        depth, model = stack.pop()
        tree.append((depth, model))
        stack += [(depth + 1, child) for child in reversed(children.get(model.id, []))]
    return tree


def register_model(
    workspace: Workspace,
    model_id: str,
    origin: str,
    weights_sha256: str,
    parent: str | None,
    cycle: int | None,
    config_sha256: str | None = None,
) -> Model:
    """Record a complete model. A model that was trained again replaces the one with the same id."""
    row = ModelRow(model_id, parent, origin, cycle, weights_sha256, now(), None, config_sha256)
    with workspace.store.transaction():
        model_table.write_model(workspace.store, row)
    return get_model(workspace, model_id)


def promote(workspace: Workspace, model: Model, reason: str) -> None:
    """Make a model the current one. Raises ModelError if its files were deleted, or if it is not trained."""
    if model.removed_at is not None:
        raise ModelError(
            f"the files of {model.id} were deleted by gc on {model.removed_at}. "
            "Choose another: al-loop models list"
        )
    if model.origin == INITIAL:
        raise ModelError(f"{model.id} is not trained. Choose another: al-loop models list")
    if not (has_model(workspace) and current_model(workspace).id == model.id):
        model_table.insert_promotion(workspace.store, model.id, reason, now())


def rollback(workspace: Workspace, model_id: str | None = None) -> tuple[Model, Model]:
    """Go back to an earlier model, by default the last one. Return the (previous, new) current model.

    Raises ModelError if there is no earlier model.
    """
    current = current_model(workspace)
    if model_id is None:
        model_id = model_table.promoted_before(workspace.store, current.id)
        if model_id is None:
            raise ModelError(
                f"{current.id} is the first model: there is none to go back to. See: al-loop models list"
            )
    target = get_model(workspace, model_id)
    if target.id == current.id:
        raise ModelError(f"{target.id} is the current model already. See: al-loop models list")
    promote(workspace, target, f"rolled back from {current.id}")
    return current, target


def save_metrics(
    workspace: Workspace, model_id: str, validation_hash: str, metrics: Metrics, name: str = VALIDATION
) -> None:
    """Store the metrics of a model on the named set."""
    model_table.write_evaluation(workspace.store, model_id, validation_hash, metrics, name)


def saved_metrics(
    workspace: Workspace, model_id: str, validation_hash: str | None = None, name: str = VALIDATION
) -> Metrics | None:
    """Return a model's metrics on the set with that hash. None: on the last evaluated set of that name."""
    evaluation = model_table.read_evaluation(workspace.store, model_id, validation_hash, name)
    return evaluation.metrics if evaluation else None


def _model(workspace: Workspace, row: ModelRow) -> Model:
    return Model(**asdict(row), folder=workspace.model_dir(row.id))
