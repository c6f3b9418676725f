"""mmengine's Runner for a training job: data loaders, optimiser, schedule, hooks."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmengine.dataset import worker_init_fn
from mmengine.dist import is_distributed
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from al_loop.detector import transforms
from al_loop.detector.augmentation.augment import Augment, rotates
from al_loop.detector.augmentation.copy_paste import PasteObjects
from al_loop.detector.augmentation.outlines import LoadHulls, LoadMasks
from al_loop.detector.config.mask_head import has_mask_head
from al_loop.detector.ignore_regions import ExtendRegions
from al_loop.detector.training.ddp import wrapper_config
from al_loop.detector.training.job import TrainingJob
from al_loop.detector.training.metric import ValidationAP
from al_loop.detector.training.optimiser import optimiser_config
from al_loop.detector.training.sampling import EndlessSampler, repeat_factors, replay_share
from al_loop.detector.training.schedule import schedule
from al_loop.detector.training.step_loop import BatchShareSampler, SeededImages, StepLoop

# Importing these classes registers the transforms that the data pipelines name.
_REGISTERED = (
    *(transforms.ReadPicture, transforms.FitInto, LoadHulls, LoadMasks, PasteObjects, Augment, ExtendRegions),
)
#: COCO files of training and validation set, in the folder of work files.
COCO_FILES = ("train.json", "val.json")
_MAX_NUMPY_SEED = 2**32 - 1
_META_KEYS = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
_READ: dict[str, Any] = {"type": "ReadPicture"}
_PACK: dict[str, Any] = {"type": "PackDetInputs", "meta_keys": _META_KEYS}


def make_runner(job: TrainingJob, model: nn.Module, custom_hooks: list[Hook], done: int) -> Runner:
    """Return the Runner of a job.

    done: step of the checkpoint that `last_checkpoint` in the job's folder names. 0: start anew.
    """
    run, settings, folder = job.run, job.run.settings, str(job.folder)
    launcher = "pytorch" if is_distributed() else "none"
    wrapper = wrapper_config(run.device, bool(job.config.get("find_unused_parameters", False)))
    runner = Runner(
        model=model,
        work_dir=folder,
        train_dataloader=_train_loader(job, done),
        val_dataloader=_val_loader(job),
        val_evaluator=Evaluator([ValidationAP(job.validation, job.config.classes, run.metric)]),
        train_cfg={"type": StepLoop, "max_iters": job.steps, "val_interval": job.val_every},
        val_cfg={},
        optim_wrapper=optimiser_config(job.config, run),
        param_scheduler=schedule(job.steps),
        default_hooks={
            # Two checkpoints, because mmengine deletes the oldest before it writes the next.
            "checkpoint": {
                **{"type": "CheckpointHook", "by_epoch": False, "interval": job.val_every},
                "max_keep_ckpts": 2,
            },
            "logger": {"type": "LoggerHook", "interval": 10, "log_metric_by_epoch": False},
        },
        log_processor={"type": "LogProcessor", "by_epoch": False},
        custom_hooks=custom_hooks,
        randomness={"seed": settings.seed},
        resume=done > 0,
        default_scope="mmdet",
        experiment_name=f"al_loop_{job.folder.parent.name}",
        launcher=launcher,
        cfg=Config({"work_dir": folder, "launcher": launcher, **wrapper}),
        log_level="INFO",
    )
    if run.device == "cpu":
        runner.model.to("cpu")
    return runner


def _train_loader(job: TrainingJob, done: int) -> dict[str, Any]:
    settings = job.run.settings
    annotations = {"type": "LoadAnnotations", "with_bbox": True}
    extend = {"type": ExtendRegions.__name__}
    pipeline = [_READ, annotations, _fit_into(job.config), *_augmentation(job), extend, _PACK]
    filters = {"filter_cfg": {"filter_empty_gt": False, "min_size": 1}}
    dataset = {**_dataset(job, COCO_FILES[0], pipeline), **filters}
    share = replay_share(settings.replay, len(job.training)) if job.rendered else 0.0
    shares = job.rendered_share or (share, share)
    factors = repeat_factors(job.training, settings.balance)
    length = job.steps * settings.batch_size
    return {
        "batch_size": settings.batch_size,
        **_workers(job),
        "sampler": {"type": EndlessSampler, "factors": factors, "shares": shares, "length": length},
        "batch_sampler": {"type": BatchShareSampler, "seed": settings.seed, "done": done},
        "dataset": {"type": SeededImages, "dataset": dataset},
    }


def _augmentation(job: TrainingJob) -> list[dict[str, Any]]:
    """Return the random changes of training images."""
    settings, fitting = job.run.settings.augment, _fit_into(job.config)
    transforms: list[dict[str, Any]] = []
    if has_mask_head(job.config.model):
        transforms.append({"type": LoadMasks.__name__})
    if rotates(settings):
        transforms.append({"type": LoadHulls.__name__})
    if settings.copy_paste:
        options = {name: value for name, value in fitting.items() if name != "type"}
        copied = {"config": settings, "images": [*job.training, *job.rendered], "fitting": options}
        transforms.append({"type": PasteObjects.__name__, **copied})
    return [*transforms, {"type": Augment.__name__, "config": settings}]


def _val_loader(job: TrainingJob) -> dict[str, Any]:
    dataset = _dataset(job, COCO_FILES[1], [_READ, _fit_into(job.config), _PACK])
    return {
        "batch_size": 1,
        **_workers(job),
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": {**dataset, "test_mode": True},
    }


def _dataset(job: TrainingJob, file: str, pipeline: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "CocoDataset",
        "metainfo": {"classes": tuple(job.config.classes)},
        "data_prefix": {"img": ""},
        "ann_file": str(job.folder / file),
        "pipeline": pipeline,
    }


def _fit_into(config: Config) -> dict[str, Any]:
    way = config.get("resize", "inside")
    return {"type": "FitInto", "size": tuple(config.image_size), "enlarge": bool(config.enlarge), "way": way}


def _workers(job: TrainingJob) -> dict[str, Any]:
    """Return the options of the decoding processes."""
    workers = job.run.workers
    # mmengine seeds NumPy in each worker with the sum of its number and the seed.
    seed = min(job.run.settings.seed, _MAX_NUMPY_SEED - workers)
    return {
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "worker_init_fn": {"type": worker_init_fn, "num_workers": workers, "rank": 0, "seed": seed},
    }
