"""The loop's side of the detector: it imports torch only when a model is really needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from al_loop.core.config import TrainConfig
from al_loop.core.console import Progress, Reporter
from al_loop.core.errors import ConfigError, DataError
from al_loop.core.files import file_sha256, json_hash, write_json
from al_loop.core.urls import masked
from al_loop.evaluation.detection_counts import count_r2
from al_loop.images import repository
from al_loop.images.object_cache import read_stored, trim
from al_loop.models.checkpoint_cache import fetch
from al_loop.models.trust import is_data, refusal
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import SHIPPED, WEIGHTS, Model, WeightsGuard, save_metrics, saved_metrics
from al_loop.state.stages import output_of
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage
from al_loop.structures.metrics import VALIDATION, Metrics

if TYPE_CHECKING:
    from al_loop.detector.export.export import Exported
    from al_loop.detector.inference.predict import Detector
    from al_loop.detector.inference.scoring import ScoreSettings, Unreadable
    from al_loop.evaluation.bootstrap import Comparison


def check_gpus(workspace: Workspace, settings: TrainConfig) -> None:
    """Refuse with ConfigError, before anything is computed, a training that `gpus` GPUs cannot share."""
    if workspace.config.gpus > 1:
        from al_loop.detector.cpu import cores
        from al_loop.detector.training.launcher import check_gpus as check

        check(workspace.config.gpus, workspace.config.device, settings.batch_size, cores())


def load_detector(workspace: Workspace, model: Model) -> Detector:
    """Load a model of the workspace; ModelError when its files were changed."""
    from al_loop.detector.inference.load import load_detector as load

    return load(
        model.folder,
        model.weights_sha256,
        model.id,
        workspace.config.device,
        config_sha256=model.config_sha256,
        trusted=workspace.trusted,
    )


def score(
    workspace: Workspace,
    model: Model,
    images: Sequence[ImageFile],
    folder: Path,
    progress: Progress,
    *,
    features: bool = False,
    augmentation: str = "",
    exact: bool = False,
    say: Callable[[str], None] = print,
    ray: str | None = None,
) -> list[Unreadable]:
    """Score the images, or augmented copies, that `folder` does not hold yet; return those that could not be read.

    exact: in float32 whatever the settings say, for what models are judged by.  say: is told what the user should know.
    ray: address of a cluster to do it on.  Raises ModelError where the weights change meanwhile.
    """
    store = shards_in(workspace, folder)
    if not images or not store.missing(images):
        return []
    from al_loop.detector.inference.scoring import score_images
    from al_loop.detector.precision import precision_here

    guard = WeightsGuard(model)
    linked = any(image.url is not None for image in images)

    def check() -> None:
        guard.check()
        if linked:
            trim(workspace.cache, int(workspace.config.pool.cache_gb * 1e9))

    settings = replace(_score_settings(workspace), features=features, augmentation=augmentation)
    wanted = "fp32" if exact else workspace.config.pool_precision
    if ray is not None:
        from al_loop.detector.cluster.actor import ModelPayload
        from al_loop.detector.cluster.scheduler import ClusterDetector, score_on_cluster
        from al_loop.detector.config.stored_config import read_config

        config = read_config(model.folder, model.config_sha256, trusted=workspace.trusted)
        workers = workspace.config.score.workers
        payload = ModelPayload.of(model, config, workers, trusted=workspace.trusted)
        cluster_detector = ClusterDetector(ray, workspace.config.device, wanted, payload, config)
        return score_on_cluster(cluster_detector, images, store, settings, progress, say=say, check=check)
    detector = load_detector(workspace, model)
    settings = replace(settings, precision=precision_here(wanted, detector.device))
    return score_images(detector, images, store, settings, progress, say=say, check=check)


def train_model(
    workspace: Workspace,
    folder: Path,
    start: Model | None,
    training: Sequence[LabelledImage],
    validation: Sequence[LabelledImage],
    settings: TrainConfig,
    progress: Progress,
    steps: int | None = None,
    *,
    frozen: bool = False,
) -> dict[str, Any]:
    """Train into `folder`: weights, resolved config, and the Runner's log below training/.

    steps: in all, the last of the settings' epochs is cut short for it; None: every epoch is whole.
    frozen: the backbone stays as it is.
    """
    from al_loop.detector.checkpoint import read_weights, write_weights
    from al_loop.detector.config.stored_config import read_config, write_config
    from al_loop.detector.cpu import cores, default_workers
    from al_loop.detector.device import choose_device
    from al_loop.detector.precision import precision_of
    from al_loop.detector.training.job import TrainingJob
    from al_loop.detector.training.launcher import train_in_processes
    from al_loop.detector.training.optimiser import training_precision
    from al_loop.detector.training.settings import RunSettings
    from al_loop.detector.training.train import discard_work_files, train

    gpus = workspace.config.gpus
    check_gpus(workspace, settings)
    if start is None:
        config = _named_config(workspace)
        weights, notes = _start_weights(workspace, config)
        config.notes = notes = [*config.notes, *notes]
    else:
        config = read_config(start.folder, start.config_sha256, trusted=workspace.trusted)
        weights, notes = read_weights(start.weights, start.weights_sha256), list(config.get("notes", ()))
    if frozen:
        config.model.backbone.update(frozen_stages=config.model.backbone.get("num_stages", 4), norm_eval=True)
    device = choose_device(workspace.config.device)
    config_lr = float(config.optim_wrapper.optimizer.lr)
    fine_tune_lr = float(config.get("fine_tune_lr", config_lr / 10))
    run = RunSettings(
        settings,
        device,
        lr=settings.lr or (config_lr if start is None else fine_tune_lr),
        workers=default_workers(cores() // gpus) if settings.workers is None else settings.workers,
        precision=precision_of(settings.precision, device),
        steps=steps,
    )
    job = TrainingJob(config, weights, training, validation, run, folder / "training")
    trained = train(job, progress) if gpus == 1 else train_in_processes(job, gpus, cores() // gpus, progress)
    write_weights(folder / WEIGHTS, trained.weights, config.classes)
    discard_work_files(folder / "training")
    return {
        "config_sha256": write_config(folder, config),
        "weights_sha256": file_sha256(folder / WEIGHTS),
        "epochs": trained.epochs,
        "validations": trained.validations,
        "class_quality": trained.quality,
        "images": len(training),
        "notes": notes,
        "precision": training_precision(run.precision, device),  # "auto" depends on the machine
    }


def import_model(
    workspace: Workspace,
    folder: Path,
    checkpoint: str,
    config_name: str | None,
    *,
    classes_as_is: bool = False,
) -> dict[str, Any]:
    """Check a checkpoint against its config and the workspace's classes, and copy it to `folder`.

    config_name: of a config that the user has named for it; None: that of the settings.  classes_as_is: the checkpoint's
    classes are the workspace's by their place, whatever it calls them.
    """
    from al_loop.detector.checkpoint import load_into, read_checkpoint, write_weights
    from al_loop.detector.class_order import in_order
    from al_loop.detector.config.model_config import build_model
    from al_loop.detector.config.stored_config import write_config

    classes = workspace.config.classes
    config = _named_config(workspace, config_name)
    found = read_checkpoint(fetch(checkpoint, None))
    named = found.classes or config.get("named_classes", ())
    weights, notes = in_order(found.weights, named, classes, checkpoint, as_is=classes_as_is)
    load_into(build_model(config), weights, checkpoint)
    config.notes = [*config.notes, *found.notes, *notes]
    write_weights(folder / WEIGHTS, weights, classes)
    return {
        "config_sha256": write_config(folder, config),
        "weights_sha256": file_sha256(folder / WEIGHTS),
        "source": masked(checkpoint),
        "notes": config.notes,
    }


def _named_config(workspace: Workspace, name: str | None = None) -> Any:
    """Return the config that the user named on the command line, or that the settings of the workspace name.

    A Python file is executed: the settings' only where the user made the workspace here, or approved of it.
    """
    from al_loop.detector.config.model_config import load_model_config

    settings, trusted = workspace.config.model, workspace.trusted
    if name is None:
        name = _in_workspace(workspace, settings.config)
        if not trusted and not is_data(name) and Path(name).is_file():
            raise refusal(workspace, Path(name))
    return load_model_config(name, workspace.config.classes, settings.image_size, trusted=trusted)


def evaluate_model(workspace: Workspace, model: Model, name: str, reporter: Reporter) -> Metrics:
    """Return a model's metrics on the set of that name, predicting only if that was never done."""
    truth = repository.validation(workspace, name)
    digest = evaluation_hash(workspace, truth, name)
    known = saved_metrics(workspace, model.id, digest, name)
    if known is not None:
        return known
    metrics = _with_interval(workspace, truth, predictions(workspace, model, name, reporter))
    if name == VALIDATION:
        write_json(model.folder / "metrics.json", {"validation_hash": digest, **asdict(metrics)})
    save_metrics(workspace, model.id, digest, metrics, name)
    return metrics


def evaluation_hash(workspace: Workspace, truth: Sequence[LabelledImage], name: str) -> str:
    """Return what metrics on a set are known by: its labels, and the threshold of predictions."""
    parts: list[object] = [repository.labels_hash(truth), workspace.config.score.score_thr]
    return json_hash(parts if name == VALIDATION else [*parts, name])


def _with_interval(
    workspace: Workspace, truth: Sequence[LabelledImage], predicted: dict[str, Boxes]
) -> Metrics:
    """Metrics with the interval of AP."""
    from al_loop.evaluation.bootstrap import interval
    from al_loop.evaluation.evaluate import evaluate, match

    classes = workspace.config.classes
    low, high = interval(match(truth, predicted, classes)) or (None, None)
    return replace(evaluate(truth, predicted, classes), low=low, high=high)


def compare_models(
    workspace: Workspace, candidate: Model, current: Model, name: str, reporter: Reporter
) -> Comparison:
    """How sure the difference of two models on the set of that name is."""
    from al_loop.evaluation.bootstrap import compare
    from al_loop.evaluation.evaluate import match

    classes, truth = workspace.config.classes, repository.validation(workspace, name)
    found = [
        match(truth, predictions(workspace, model, name, reporter), classes) for model in (candidate, current)
    ]
    return compare(found[0], found[1], classes)


def predictions(workspace: Workspace, model: Model, name: str, reporter: Reporter) -> dict[str, Boxes]:
    """A model's boxes on the set of that name by image; they are kept beside the model, of all sets."""
    folder = predictions_dir(workspace, model)
    images = [item.image for item in repository.validation(workspace, name)]
    if lost := shards_in(workspace, folder).forget_damaged():
        reporter.line(f"  {model.id}: {lost} of its predictions were changed on the disk, and are made again")
    with reporter.progress(f"{model.id}: {name}") as progress:
        unreadable = score(workspace, model, images, folder, progress, exact=True, say=reporter.line)
    if unreadable:
        raise DataError(
            f"{model.id} cannot be judged on {name}: {len(unreadable)} of {len(images)} images cannot be used. "
            f"{unreadable[0].reason}"
        )
    return shards_in(workspace, folder).load().boxes_by_image()


def counting(workspace: Workspace, model: Model, reporter: Reporter) -> float | None:
    """How well a model counts the boxes of the validation set; None where it was not judged there; `counts.count_r2`."""
    if not predictions_dir(workspace, model).is_dir():
        return None
    return count_r2(
        repository.validation(workspace, VALIDATION), predictions(workspace, model, VALIDATION, reporter)
    )


def predictions_dir(workspace: Workspace, model: Model) -> Path:
    """Where a model's boxes on labelled sets are kept."""
    return model.folder / "validation" / f"thr-{workspace.config.score.score_thr:g}"


def export(
    workspace: Workspace, model: Model, images: Sequence[ImageFile], folder: Path, kind: str
) -> Exported:
    """Write a model as one file for the machine that uses it, checked on the images; `al_loop.detector.export.export`."""
    from al_loop.detector.export.export import ExportOptions, export_model
    from al_loop.detector.transforms import decoded, fit

    detector = load_detector(workspace, model)
    width, height = detector.config.image_size
    enlarge, way = bool(detector.config.enlarge), detector.config.get("resize", "inside")
    return export_model(
        detector,
        [fit(decoded(read_stored(image), image.path), (width, height), enlarge, way) for image in images],
        folder,
        ExportOptions(kind, workspace.config.score.score_thr, model.weights_sha256),
    )


def judge(
    workspace: Workspace, model: Model, labelled: Sequence[LabelledImage], folder: Path, progress: Progress
) -> Metrics:
    """Return a model's metrics on a labelled set; its predictions stay in `folder`."""
    from al_loop.evaluation.evaluate import evaluate

    score(workspace, model, [item.image for item in labelled], folder, progress, exact=True)
    predicted = shards_in(workspace, folder).load().boxes_by_image()
    return evaluate(labelled, predicted, workspace.config.classes)


def model_inputs(workspace: Workspace) -> dict[str, Any]:
    """Return what a training depends on besides its data, for the hash of its stage."""
    model = workspace.config.model
    return {
        "config": model.config,
        "image_size": model.image_size,
        "load_from": checkpoint_identity(_in_workspace(workspace, model.load_from or "")),
        "classes": workspace.config.classes,
        **config_identity(_in_workspace(workspace, model.config)),
    }


def config_identity(name: str) -> dict[str, str]:
    """Return the hash of a config that is a file, as an entry of a stage's inputs; none for a shipped one."""
    path = Path(name).expanduser()
    return {} if name in SHIPPED or not path.is_file() else {"config_sha256": file_sha256(path)}


def checkpoint_identity(location: str) -> str:
    """Return the hash of a checkpoint on disk, else where it is: other weights are another input."""
    path = Path(location).expanduser()
    return file_sha256(path) if location and path.is_file() else location


def _in_workspace(workspace: Workspace, name: str) -> str:
    """Return a path of al-loop.toml, which starts at the workspace; other names as they are."""
    path = workspace.root / Path(name).expanduser()
    return str(path) if name and path.is_file() else name


def training_notes(workspace: Workspace, model: Model) -> dict[str, Any]:
    """Return the output of the stage that made a model: epochs, images, notes; empty where it is damaged."""
    output = output_of(workspace.store, model.id, _stage_of(model), model.folder)
    notes = output.get("notes", [])
    return output if isinstance(notes, list) and all(isinstance(note, str) for note in notes) else {}


def class_quality(workspace: Workspace, model: Model) -> Sequence[float] | None:
    """Return how well the training of a model has learned each class; None where that was not noted."""
    quality: Sequence[float] | None = output_of(
        workspace.store, model.id, _stage_of(model), model.folder
    ).get("class_quality")
    return quality


def _stage_of(model: Model) -> str:
    return "train" if model.origin == "cycle" else model.origin


def _start_weights(workspace: Workspace, config: Any) -> tuple[Any, list[str]]:
    """Return the weights of model.load_from, fitted to the classes, or None to start at random; and what to say of them."""
    from al_loop.detector.checkpoint import BOX_HEAD, load_into, read_checkpoint
    from al_loop.detector.class_order import in_order, same_names
    from al_loop.detector.config.model_config import build_model

    settings = workspace.config.model
    if settings.load_from is None:
        if config.model.backbone.get("frozen_stages", -1) >= 0:
            raise ConfigError(
                f'model.config = "{settings.config}" keeps its first layers as they are, and without a checkpoint '
                "they are random: it would not learn. Set model.load_from to a COCO checkpoint in al-loop.toml, or "
                'model.config = "small", which starts from nothing.'
            )
        return None, []
    location = _in_workspace(workspace, settings.load_from)
    found = read_checkpoint(fetch(location, settings.load_from_sha256), settings.load_from_sha256)
    classes, named = workspace.config.classes, found.classes
    weights, notes = found.weights, []
    if len(named) == len(classes) and not same_names(named, classes):
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(BOX_HEAD)}
        notes = [
            f"{settings.load_from} has other classes ({', '.join(named)}): its box head is not taken over"
        ]
    elif len(named) in (0, len(classes)):
        weights, notes = in_order(weights, named, classes, settings.load_from)
    network = build_model(config)
    load_into(network, weights, settings.load_from, new_classes=True)
    return network.state_dict(), [*found.notes, *notes]


def _score_settings(workspace: Workspace) -> ScoreSettings:
    from al_loop.detector.cpu import default_workers
    from al_loop.detector.inference.scoring import ScoreSettings

    score = workspace.config.score
    return ScoreSettings(
        score_thr=score.score_thr,
        batch_size=score.batch_size,
        workers=default_workers() if score.workers is None else score.workers,
        shard_size=score.shard_size,
    )
