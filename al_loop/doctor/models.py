"""Check the files of models, predictions and rendered sets."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from al_loop.core.errors import ModelError
from al_loop.core.files import file_sha256, read_json
from al_loop.doctor.finding import CheckContext, Finding
from al_loop.images.integrity import CheckDepth
from al_loop.models import scoring
from al_loop.state import model_registry
from al_loop.state.database.dataset_table import all_datasets
from al_loop.state.database.model_table import all_promotions
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import INITIAL, Model
from al_loop.state.prediction_store import JOURNAL
from render.core.errors import RenderError


def files(context: CheckContext) -> Iterator[Finding]:
    """Find weights and configs that are missing or changed."""
    used = {row.model_id for row in all_promotions(context.workspace.store)}
    current = _current(context)
    for model in context.each("examine models", model_registry.all_models(context.workspace)):
        if model.removed_at is None:
            restore = f"restore models/{model.id} from a backup"
            mend = restore if model.id in used else "al-loop gc"
            if current is not None and model.id == current.id:
                mend = f"{restore}; or use an earlier model: al-loop rollback"
            yield from (Finding(check, model.id, text, mend) for check, text in _problems(context, model))


def _current(context: CheckContext) -> Model | None:
    has_model = model_registry.has_model(context.workspace)
    return model_registry.current_model(context.workspace) if has_model else None


def _problems(context: CheckContext, model: Model) -> Iterator[tuple[str, str]]:
    if not model.folder.is_dir():
        yield "models.missing", "its folder is gone"
        return
    for path, expected in ((model.weights, model.weights_sha256), (model.config, model.config_sha256)):
        if not path.is_file():
            yield "models.missing", f"its {path.name} is gone"
        elif expected is not None and not context.quick and file_sha256(path) != expected:
            yield "models.changed", f"{path.name} has another hash than when it was written"
        elif path.suffix == ".json":
            yield from _classes(context, path)


def _classes(context: CheckContext, config: Path) -> Iterator[tuple[str, str]]:
    """Compare the classes of a config, and their order, with the workspace."""
    wanted = context.workspace.config.classes
    try:
        classes = tuple(read_json(config)["classes"])
    except (OSError, ValueError, TypeError, LookupError) as error:
        yield "models.changed", f"{config.name} cannot be read ({error})"
    else:
        if classes != wanted:
            names = ", ".join(map(str, classes))
            yield "models.classes", f"has the classes {names}; the workspace has {', '.join(wanted)}"


def in_use(context: CheckContext) -> Iterator[Finding]:
    """Find a missing current model, or one whose files gc deleted; with DEEP, load its weights."""
    current = _current(context)
    if current is None:
        models = model_registry.all_models(context.workspace)
        whole = [model for model in models if model.removed_at is None and model.origin != INITIAL]
        if whole:
            mend = f"al-loop models promote {whole[-1].id}"
            yield Finding("models.none-in-use", "models", f"none of {len(whole)} is in use", mend)
    elif current.removed_at is not None:
        yield Finding("models.deleted", current.id, "is in use, but gc deleted its files", "al-loop rollback")
    # `files` reports missing files.
    elif context.depth is CheckDepth.DEEP and current.weights.is_file() and current.config.is_file():
        try:
            scoring.load_detector(context.workspace, current)
        except ModelError as error:
            mend = f"restore models/{current.id} from a backup; or use an earlier model: al-loop rollback"
            yield Finding("models.unusable", current.id, str(error), mend)


def scores(context: CheckContext) -> Iterator[Finding]:
    """Compare stored predictions with their checksums."""
    if context.quick or context.at_work is not None:
        return
    root = context.workspace.root
    journals = [path for folder in ("scores", "models") for path in sorted((root / folder).rglob(JOURNAL))]
    for journal in context.each("examine scores", journals):
        folder = journal.parent
        if count := shards_in(context.workspace, folder).damaged():
            problem = f"{count} of its shards are damaged; they can be computed again"
            mend = f"rm -r -- {shlex.quote(str(folder))}"
            yield Finding("scores.damaged", str(folder.relative_to(root)), problem, mend)


def rendered(context: CheckContext) -> Iterator[Finding]:
    """Compare rendered sets with their records."""
    for row in all_datasets(context.workspace.store):
        seed = row.name.rpartition("-s")[2]
        mend = f"al-loop render {shlex.quote(row.recipe)} --count {row.images} --seed {seed}"
        for text in _rendered(context, context.workspace.synthetic / row.name):
            yield Finding("rendered", f"synthetic/{row.name}", text, mend)


def _rendered(context: CheckContext, folder: Path) -> Iterator[str]:
    from render.dataset.validate import validate

    if not (folder / "annotations.json").is_file():
        yield "its annotations.json is gone"
    elif not context.quick:
        try:
            yield from validate(folder).problems
        except RenderError as error:
            yield str(error)
