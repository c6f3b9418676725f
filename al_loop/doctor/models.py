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
from al_loop.state.model_registry import Model
from al_loop.state.prediction_store import JOURNAL
from render.core.errors import RenderError


def files(context: CheckContext) -> Iterator[Finding]:
    """Find weights and configs that are missing or changed."""
    used = {row.model_id for row in all_promotions(context.workspace.store)}
    current = (
        model_registry.current_model(context.workspace)
        if model_registry.has_model(context.workspace)
        else None
    )
    every = model_registry.all_models(context.workspace)
    with context.reporter.progress("examine models") as progress:
        for done, model in enumerate(every, start=1):
            if model.removed_at is None:
                mend = _mend(model, current, used)
                yield from (Finding(check, model.id, text, mend) for check, text in _problems(context, model))
            progress(done, len(every))


def _problems(context: CheckContext, model: Model) -> Iterator[tuple[str, str]]:
    if not model.folder.is_dir():
        yield "models.missing", "its folder is gone"
        return
    parts = ((model.weights, model.weights_sha256), (model.config, model.config_sha256))
    for path, expected in parts:
        if not path.is_file():
            yield "models.missing", f"its {path.name} is gone"
        elif expected is not None and not context.quick and file_sha256(path) != expected:
            yield "models.changed", f"{path.name} is not what was made: its hash is another"
        elif path.suffix == ".json":
            yield from _classes(context, path)


def _classes(context: CheckContext, config: Path) -> Iterator[tuple[str, str]]:
    """Compare the classes of a config with the workspace, also their order."""
    try:
        stored = tuple(read_json(config)["classes"])
    except (OSError, ValueError, TypeError, LookupError) as error:
        yield "models.changed", f"{config.name} cannot be read ({error})"
        return
    wanted = context.workspace.config.classes
    if stored != wanted:
        yield (
            "models.classes",
            f"was made for {', '.join(map(str, stored))}; the workspace has {', '.join(wanted)}",
        )


def _mend(model: Model, current: Model | None, used: set[str]) -> str:
    restore = f"restore models/{model.id} from a backup"
    if current is not None and model.id == current.id:
        return f"{restore}; or use an earlier model: al-loop rollback"
    return "al-loop gc" if model.id not in used else restore


def in_use(context: CheckContext) -> Iterator[Finding]:
    """Find a missing current model, or one whose files gc deleted."""
    if not model_registry.has_model(context.workspace):
        whole = [model for model in model_registry.all_models(context.workspace) if model.removed_at is None]
        if whole:
            yield Finding(
                "models.none-in-use",
                "models",
                f"there are {len(whole)}, and none is in use",
                f"al-loop models promote {whole[-1].id}",
            )
        return
    current = model_registry.current_model(context.workspace)
    if current.removed_at is not None:
        yield Finding(
            "models.deleted", current.id, "is in use, and gc has deleted its files", "al-loop rollback"
        )
    elif context.depth is CheckDepth.DEEP:
        yield from _loaded(context, current)


def _loaded(context: CheckContext, model: Model) -> Iterator[Finding]:
    """Load the weights into the network."""
    if not (model.weights.is_file() and model.config.is_file()):
        return  # said by `files`
    try:
        scoring.load_detector(context.workspace, model)
    except ModelError as error:
        yield Finding("models.unusable", model.id, str(error), _mend(model, model, {model.id}))


def scores(context: CheckContext) -> Iterator[Finding]:
    """Compare stored predictions with their checksums."""
    if context.quick or context.at_work is not None:
        return
    root = context.workspace.root
    journals = [path for room in ("scores", "models") for path in sorted((root / room).rglob(JOURNAL))]
    with context.reporter.progress("examine scores") as progress:
        for done, journal in enumerate(journals, start=1):
            folder = journal.parent
            if lost := shards_in(context.workspace, folder).damaged():
                yield Finding(
                    "scores.damaged",
                    str(folder.relative_to(root)),
                    f"{lost} of its shards are not what was written; they can be made again",
                    f"rm -r -- {shlex.quote(str(folder))}",
                )
            progress(done, len(journals))


def rendered(context: CheckContext) -> Iterator[Finding]:
    """Compare rendered sets with their records."""
    for row in all_datasets(context.workspace.store):
        folder = context.workspace.synthetic / row.name
        seed = row.name.rpartition("-s")[2]
        mend = f"al-loop render {shlex.quote(row.recipe)} --count {row.images} --seed {seed}"
        for text in _rendered(context, folder):
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
