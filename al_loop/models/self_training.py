"""Training with unlabelled images: train on the labels, go on with the pool, and keep the better model.

The second training starts from the weights of the first. It costs about as much as the first, whereas one
from the beginning would repeat what the first has learnt.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import structs

from al_loop.core.console import Reporter
from al_loop.core.errors import TrainingError
from al_loop.core.files import hash_of, json_hash, read_json, write_json
from al_loop.core.training_config import SelfTrainingConfig, TrainConfig
from al_loop.images import repository
from al_loop.images.identity import remove_evaluation_copies
from al_loop.models import evaluation, model_training
from al_loop.models.model_training import TrainingImages
from al_loop.models.promotion import Decision, decide_promotion
from al_loop.state.database.image_table import find_images
from al_loop.state.model_registry import CONFIG, WEIGHTS, Model
from al_loop.state.stages import Output
from al_loop.state.workspace import Workspace
from al_loop.structures.images import ImageFile, LabelledImage
from al_loop.structures.metrics import VALIDATION
from strategies import Ids

if TYPE_CHECKING:
    from al_loop.detector.self_training.settings import UnlabelledPart
    from al_loop.evaluation.bootstrap import Comparison

#: Folders of both trainings, in the folder of the model.
SUPERVISED, SELF_TRAINED = "supervised", "self-trained"
_RESULT = "result.json"


@dataclass(frozen=True, eq=False)
class Pool:
    """Unlabelled images to learn from.

    labelled: number of labelled photographs.
    evaluated: labelled sets on which both models are compared, by name.
    """

    unlabelled: Sequence[ImageFile]
    labelled: int
    evaluated: Mapping[str, Sequence[LabelledImage]]


def sample_unlabelled(
    workspace: Workspace,
    settings: TrainConfig,
    candidates: Callable[[], Ids],
    known: Collection[str],
    training: int,
) -> list[ImageFile]:
    """Return as many unlabelled images, drawn at random, as a training can show. Empty if it is switched off.

    candidates: returns ids of images of the pool.
    known: ids among them that are labelled or skipped.
    training: number of labelled images.
    Images that stay in an object store are left out, and copies of evaluation images.
    """
    options = workspace.config.self_training
    if options.mode == "off":
        return []
    per_step = images_per_step(options, settings.batch_size, workspace.config.gpus)
    count = per_step * (options.steps or settings.duration(training)[0])
    pool = candidates()
    order = np.random.default_rng(settings.seed).permutation(len(pool)).tolist()
    names = (name for name in map(pool.__getitem__, order) if name not in known)
    ids = list(islice(names, count))
    remove_evaluation_copies(workspace, ids)
    rows = {row.id: row for row in find_images(workspace.store, ids, in_pool=True)}
    images = [repository.image_file(workspace, rows[name]) for name in ids if name in rows]
    return [image for image in images if image.url is None]


def stage_inputs(workspace: Workspace, unlabelled: Sequence[ImageFile]) -> Output:
    """Return what a stage that trains also depends on. Empty without unlabelled images."""
    if not unlabelled:
        return {}
    ids = json_hash([image.id for image in unlabelled])
    options, strong = workspace.config.self_training, workspace.config.pretrain.augment
    plain = {"self_training": msgspec.to_builtins(options), "strong": msgspec.to_builtins(strong)}
    return plain | {"unlabelled": ids}


def images_per_step(settings: SelfTrainingConfig, batch_size: int, gpus: int) -> int:
    """Return the number of unlabelled images of each step, which all GPUs share evenly. 0: too few images."""
    most = (batch_size - gpus) // gpus * gpus
    return min(most, max(gpus, round(settings.unlabelled_fraction * batch_size / gpus) * gpus))


def reason_against(settings: SelfTrainingConfig, pool: Pool, per_step: int) -> str | None:
    """Return why a training learns from labels alone. None: it also learns from the unlabelled images."""
    count = len(pool.unlabelled)
    if per_step < 1:
        return "a batch has no room for labelled and unlabelled images: raise batch_size"
    if count < per_step:
        return f"{count} unlabelled images, fewer than the {per_step} of a step"
    if settings.mode == "auto" and count < pool.labelled:
        return f'{count} unlabelled images, fewer than labelled; self_training.mode = "on" uses them'
    return None


def train_with_pool(
    workspace: Workspace,
    folder: Path,
    start: Model | None,
    images: TrainingImages,
    pool: Pool | None,
    settings: TrainConfig,
    reporter: Reporter,
) -> Output:
    """Train a model, with unlabelled images as `self_training` in the settings says.

    pool: None to learn from labels alone.
    Returns the output of `train_model` for the better model. If both were trained, `self_training` in it
    compares them. A run that was killed continues in the folder.
    """
    options = workspace.config.self_training
    per_step = images_per_step(options, settings.batch_size, workspace.config.gpus)
    against = None
    if options.mode == "off":
        pool = None
    elif pool is not None and (against := reason_against(options, pool, per_step)):
        reporter.line(f"  self-training: left out, {against}")
    if pool is None or against:
        with reporter.progress("train") as progress:
            return model_training.train_model(workspace, folder, start, images, settings, progress)

    def work(folder: Path) -> Output:
        run = _Run(workspace, folder, images, pool, settings, reporter)
        return run.compare(run.supervised(start), per_step)

    output = _once(folder, work)
    for name in (SUPERVISED, SELF_TRAINED):  # the logs stay
        for weights in (folder / name).rglob("*.pth"):
            weights.unlink()
        shutil.rmtree(folder / name / "validation", ignore_errors=True)
    return output


def verdict(output: Mapping[str, Any]) -> str | None:
    """Return whether the self-trained model is used, why, and its cost, from the output of its stage."""
    summary = output.get("self_training")
    if not isinstance(summary, dict) or not {"used", "reason"} <= summary.keys():
        return None
    seconds = summary.get("seconds", {})
    cost = f"; {seconds[SELF_TRAINED]:.0f} s after {seconds[SUPERVISED]:.0f} s on labels" if seconds else ""
    return f"{'used' if summary['used'] else 'not used'}: {summary['reason']}{cost}"


def unlabelled_part(
    workspace: Workspace,
    model: Model,
    validation: Sequence[LabelledImage],
    pool: Pool,
    per_step: int,
    reporter: Reporter,
) -> tuple[UnlabelledPart | None, str]:
    """Return how to go on from a model with unlabelled images, in words too; or None and why not to.

    The thresholds come from the predictions of the teacher, as it is at the beginning, on the validation set.
    It was not trained on these images, which are a sample of what the model will see. Its predictions on
    training images would be too good, and those of an earlier model have other scores. The images labelled in
    the last cycle are few, and harder than the rest of the pool, because they were picked so.
    """
    from al_loop.detector.config.model_config import build_model
    from al_loop.detector.config.stored_config import read_config
    from al_loop.detector.self_training.settings import UnlabelledPart
    from al_loop.detector.self_training.teacher import unsupported_part
    from al_loop.evaluation.evaluate import match
    from al_loop.evaluation.score_thresholds import score_thresholds

    config = read_config(model.folder, model.config_sha256, trusted=workspace.trusted)
    if (unsupported := unsupported_part(build_model(config))) is not None:
        return None, f"the model has {unsupported}"
    options, classes = workspace.config.self_training, workspace.config.classes
    predicted = evaluation.predictions_on(workspace, model, validation, VALIDATION, reporter)
    matches = match(validation, predicted, classes)
    thresholds = score_thresholds(matches)
    known = sum(threshold is not None for threshold in thresholds)
    # A class without a validation box can have no threshold.
    evaluated = sum(bool(each.truth[0].sum()) for each in matches)
    soft = options.targets == "soft" or (options.targets == "auto" and 2 * known < evaluated)
    if not (known or soft):
        return None, "the model's boxes of no class are precise enough to learn from"
    part = UnlabelledPart(
        pool.unlabelled, per_step, thresholds, soft, options.weight, workspace.config.pretrain.augment
    )
    return part, "class distributions" if soft else f"boxes of {known} of {len(classes)} classes"


@dataclass(frozen=True, eq=False)
class _Run:
    """Both trainings of a model."""

    workspace: Workspace
    folder: Path
    images: TrainingImages
    pool: Pool
    settings: TrainConfig
    reporter: Reporter

    def supervised(self, start: Model | None) -> Output:
        """Train on the labels."""
        return _once(self.folder / SUPERVISED, lambda folder: self._train(folder, start, "train"))

    def compare(self, supervised: Output, per_step: int) -> Output:
        """Train with unlabelled images, too. Keep the better model."""
        first = _model(self.folder / SUPERVISED, supervised)
        part, what = unlabelled_part(
            self.workspace, first, self.images.validation, self.pool, per_step, self.reporter
        )
        if part is None:
            return self._keep(SUPERVISED, supervised, {"used": False, "reason": what})
        steps = self._settings(part).duration(len(self.images.training))[0]
        self.reporter.line(
            f"  self-training: {steps} more steps, {len(part.images)} unlabelled images, the teacher's {what}"
        )
        try:
            output = _once(
                self.folder / SELF_TRAINED, lambda folder: self._train(folder, first, "self-train", part)
            )
        except TrainingError as error:
            return self._keep(SUPERVISED, supervised, {"used": False, "reason": str(error)})
        second = _model(self.folder / SELF_TRAINED, output)
        decision, differences = self._decide(second, first)
        summary = {
            "used": decision.promote,
            "reason": decision.reason,
            "differences": differences,
            "unlabelled": len(part.images),
            "targets": "soft" if part.soft else "hard",
            "thresholds": dict(zip(self.workspace.config.classes, part.thresholds, strict=True)),
            "seconds": {name: o["seconds"] for name, o in ((SUPERVISED, supervised), (SELF_TRAINED, output))},
        }
        chosen = (SELF_TRAINED, output) if decision.promote else (SUPERVISED, supervised)
        return self._keep(*chosen, summary)

    def _train(
        self, folder: Path, start: Model | None, name: str, part: UnlabelledPart | None = None
    ) -> Output:
        settings = self.settings if part is None else self._settings(part)
        images, began = replace(self.images, unlabelled=part), time.monotonic()
        with self.reporter.progress(name) as progress:
            output = model_training.train_model(self.workspace, folder, start, images, settings, progress)
        return output | {"seconds": time.monotonic() - began}

    def _settings(self, part: UnlabelledPart) -> TrainConfig:
        """Return the settings of the second training."""
        steps, val_every = self.settings.duration(len(self.images.training))
        return structs.replace(
            self.settings,
            batch_size=self.settings.batch_size - part.per_step,
            steps=self.workspace.config.self_training.steps or steps,
            epochs=None,
            val_every=val_every,
        )

    def _decide(self, second: Model, first: Model) -> tuple[Decision, dict[str, Any]]:
        """Decide whether the self-trained model is better on every set that the models are compared on."""
        differences: dict[str, Any] = {}
        decisions: list[Decision] = []
        for name, truth in self.pool.evaluated.items():
            difference, decision = self._decide_on(name, truth, second, first)
            key = difference.of(self.workspace.config.key_metric) or difference
            differences[name] = asdict(key.ap)
            decisions.append(decision)
        agreed = Decision(True, "; ".join(decision.reason for decision in decisions))
        return next((each for each in decisions if not each.promote), agreed), differences

    def _decide_on(
        self, name: str, truth: Sequence[LabelledImage], second: Model, first: Model
    ) -> tuple[Comparison, Decision]:
        from al_loop.evaluation.measure import differ, measure

        workspace, config = self.workspace, self.workspace.config
        boxes = [
            evaluation.predictions_on(workspace, model, truth, name, self.reporter)
            for model in (second, first)
        ]
        classes, outlined = config.classes, config.outlined
        after, before = (measure(truth, each, classes, outlined=outlined, intervals=False) for each in boxes)
        difference = differ(truth, boxes[0], boxes[1], classes, outlined=outlined)
        rule = structs.replace(config.promotion, tolerance=0.0)
        decision = decide_promotion(after, before, rule, difference, config.key_metric)
        prefix = "" if name == VALIDATION else f"on {name}: "
        return difference, Decision(decision.promote, f"{prefix}{decision.reason}")

    def _keep(self, name: str, output: Output, summary: dict[str, Any]) -> Output:
        """Copy the files of a training to the folder of the model. Report why it was chosen."""
        for file in (WEIGHTS, CONFIG):
            copy = self.folder / f"{file}.copy"
            shutil.copyfile(self.folder / name / file, copy)
            os.replace(copy, self.folder / file)
        output = output | {"self_training": summary}
        self.reporter.line(f"  self-training: {verdict(output)}")
        return output


def _once(folder: Path, work: Callable[[Path], Output]) -> Output:
    """Return the output of work that leaves weights in a folder. Do it unless it is done."""
    path = folder / _RESULT
    if path.is_file():
        output: Output = read_json(path)
        if hash_of(folder / WEIGHTS) == output["weights_sha256"]:
            return output
    folder.mkdir(parents=True, exist_ok=True)
    output = work(folder)
    write_json(path, output)
    return output


def _model(folder: Path, output: Output) -> Model:
    weights, config = output["weights_sha256"], output["config_sha256"]
    return Model(folder.name, None, "cycle", None, weights, "", config_sha256=config, folder=folder)
