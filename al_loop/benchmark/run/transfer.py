"""Transfer of an encoder: what pretraining on ImageNet, on rendered images or on both is worth.

The encoder is the backbone; the decoder is the FPN, the RPN and the RoI head.
Source: Anderson et al. 2022 (arXiv 2212.06232), section V.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

from al_loop.benchmark.run.cells import first_images, run_cells, shared_model
from al_loop.benchmark.run.context import BenchmarkContext
from al_loop.benchmark.run.evaluation import evaluate_model
from al_loop.benchmark.run.training import Training, delete_weights, train, trained_model
from al_loop.benchmark.run.trial import Row, Trial
from al_loop.benchmark.spec.spec import TransferGrid
from al_loop.core.console import Reporter
from al_loop.models.transfer_start import Keep, pretraining_rate, trained_parameters, write_start
from al_loop.state.model_registry import Model
from al_loop.state.stages import Output
from al_loop.structures.images import LabelledImage

IMAGENET, RENDERS, BOTH = "imagenet", "renders", "both"
TRAINABLE, FROZEN = "trainable", "frozen"
KEPT, NEW = "kept", "new"
#: Largest number of validations of a training.
_VALIDATIONS = 20
#: A training has converged at the first validation with this share of its best AP.
_CONVERGED = 0.95


@dataclass(frozen=True)
class TransferRun:
    """One training on photographs.

    pretraining: what the encoder has seen: "imagenet", "renders" or "both".
    encoder: "trainable" or "frozen".
    decoder: "kept" from the training on rendered images, or "new".
    real: number of photographs.
    """

    pretraining: str
    encoder: str
    decoder: str
    real: int
    seed: int

    @property
    def name(self) -> str:
        """Its folder below `runs/`."""
        parts = f"{self.encoder}-encoder", f"{self.decoder}-decoder", f"real-{self.real}"
        return "/".join((self.pretraining, *parts, f"seed-{self.seed}"))


@dataclass(frozen=True)
class TransferStudy:
    """The kind of benchmark that compares pretrainings of the encoder."""

    context: BenchmarkContext
    grid: TransferGrid

    def trials(self) -> list[Trial[TransferRun]]:
        """Return a trial for each seed and pretraining: its runs share one model."""
        return [
            Trial(f"{pretraining}/seed-{seed}", tuple(self._runs(pretraining, seed)))
            for seed in range(self.context.spec.seeds)
            for pretraining in (IMAGENET, RENDERS, BOTH)
        ]

    def _runs(self, pretraining: str, seed: int) -> Iterator[TransferRun]:
        decoders = (NEW,) if pretraining == IMAGENET else (KEPT, NEW)
        for real in map(int, self.grid.real):
            for encoder in (TRAINABLE, FROZEN):
                for decoder in decoders:
                    yield TransferRun(pretraining, encoder, decoder, real, seed)

    def initial_rows(self, reporter: Reporter) -> list[Row[TransferRun]]:
        """Return nothing: the grid has no run without images."""
        return []

    def run(self, trial: Trial[TransferRun], reporter: Reporter) -> Iterator[Row[TransferRun]]:
        """Yield the result of each run."""
        yield from run_cells(trial, lambda run: self._run_cell(run, reporter))
        delete_weights(self.context, _pretrained_name(trial.runs[0]))

    def _run_cell(self, run: TransferRun, reporter: Reporter) -> Output:
        """Train on photographs and evaluate, unless that is done."""
        context = self.context
        photographs = first_images(context.datasets.pool, run.real, run.seed)

        def work(folder: Path) -> Output:
            start = self._start(run, folder, reporter)
            changes = self._changes(new_layers=run.decoder == NEW)
            if run.encoder == FROZEN:
                changes |= {"freeze": "encoder"}
            training = self._training(start, photographs, run.seed, changes)
            output = train(context, training, folder, run.name, reporter)
            shutil.rmtree(start.folder)
            trained = trained_model(run.name, folder, output)
            freeze = changes.get("freeze", context.workspace.config.train.freeze)
            return {
                "boxes": sum(len(item.boxes) for item in photographs),
                "metrics": evaluate_model(context, trained, folder, reporter),
                "seconds": output["seconds"],
                "details": {
                    "trained_parameters": trained_parameters(context.workspace, trained, freeze),
                    **_convergence(output["validations"], context.spec.iterations),
                },
            }

        output = context.run_stage(run.name, work, run=asdict(run), **self._identities())
        delete_weights(context, run.name)
        return output

    def _start(self, run: TransferRun, folder: Path, reporter: Reporter) -> Model:
        """Return the model that a training on photographs begins with."""
        source = None if run.pretraining == IMAGENET else self._pretrained(run, reporter)
        return self._written(folder, source, "all" if run.decoder == KEPT else "encoder", run.seed, reporter)

    def _written(
        self, folder: Path, source: Model | None, keep: Keep, seed: int, reporter: Reporter
    ) -> Model:
        (initial,) = self.context.initial_models.values()
        workspace = initial.training_workspace(self.context.workspace)
        with reporter.progress("initial weights") as progress:
            return write_start(workspace, folder / "start", source, keep, seed, progress)

    def _pretrained(self, run: TransferRun, reporter: Reporter) -> Model:
        """Return the model trained on the rendered images, from ImageNet or from random weights."""
        context, name = self.context, _pretrained_name(run)

        def work(folder: Path) -> Output:
            keep: Keep = "nothing" if run.pretraining == RENDERS else "encoder"
            start = self._written(folder, None, keep, run.seed, reporter)
            changes = self._changes(new_layers=True)
            training = self._training(start, context.rendered, run.seed, changes, validations=1)
            output = train(context, training, folder, name, reporter)
            shutil.rmtree(start.folder)
            return output

        inputs = {"pretraining": run.pretraining, "seed": run.seed, **self._identities()}
        return shared_model(context, name, work, **inputs)[0]

    def _changes(self, *, new_layers: bool) -> dict[str, Any]:
        """Return settings in place of [train]. New layers are trained at the rate of a pretraining."""
        workspace = self.context.workspace
        rate = {"lr": workspace.config.train.lr or pretraining_rate(workspace)} if new_layers else {}
        return {"patience": _VALIDATIONS, **rate}

    def _training(
        self,
        start: Model,
        images: Sequence[LabelledImage],
        seed: int,
        changes: Mapping[str, Any],
        validations: int = _VALIDATIONS,
    ) -> Training:
        (initial,) = self.context.initial_models.values()
        steps = self.context.spec.iterations
        return Training(initial, start, images, steps, seed, validations, changes=changes)

    def _identities(self) -> dict[str, object]:
        return {key: self.context.record[key] for key in ("rendered", "starts")}


def _pretrained_name(run: TransferRun) -> str:
    return f"pretrained/{run.pretraining}/seed-{run.seed}"


def _convergence(aps: Sequence[float], steps: int) -> Output:
    """Return the AP of each validation with its step, and the step at which the training has converged.

    aps: of all validations; the last one is at the last of the steps.
    """
    every = ceil(steps / _VALIDATIONS)
    validations = [(min(number * every, steps), ap) for number, ap in enumerate(aps, start=1)]
    enough = _CONVERGED * max(aps)
    return {"validations": validations, "convergence_step": next(s for s, ap in validations if ap >= enough)}
