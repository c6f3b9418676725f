"""The test pipeline of an mmdet config: the image size, and the steps that al-loop applies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from al_loop.core.errors import ModelError

#: Steps that al-loop implements itself, or that change no pixel at inference.
_SUPPORTED = {
    "LoadImageFromFile", "LoadImageFromNDArray", "LoadAnnotations", "RandomFlip", "PackDetInputs",
    "ImageToTensor", "DefaultFormatBundle", "Collect", "MultiScaleFlipAug", "TestTimeAug",
}  # fmt: skip
#: Where mmdet looks for the test pipeline; `tools/test.py` takes the first.
_PLACES = (
    ("test_dataloader", "dataset"), ("test_pipeline",), ("test_cfg",), ("val_dataloader", "dataset"),
    ("val_pipeline",), ("data", "test"), ("data", "val"), ("tta_pipeline",),
)  # fmt: skip
_RESIZES = (
    "Resize", "FixScaleResize", "FixShapeResize", "RandomResize", "RandomChoiceResize", "ResizeShortestEdge",
)  # fmt: skip


@dataclass(frozen=True)
class InferencePipeline:
    """The test pipeline of a config.

    sizes: distinct (width, height) px of its resizes; al-loop needs exactly one.
    keeps_aspect: whether the resize keeps the aspect ratio.
    steps: all steps, including those of test-time augmentation.
    place: key in the config; "" without a pipeline.
    """

    sizes: tuple[tuple[int, int], ...]
    keeps_aspect: bool
    steps: tuple[Mapping[str, Any], ...]
    place: str

    @property
    def left_out(self) -> list[str]:
        """Return the names of the steps that al-loop does not apply."""
        applied = _SUPPORTED.union(_RESIZES, ["Normalize"])
        return [name for name in dict.fromkeys(map(_name, self.steps)) if name not in applied]

    def step(self, name: str) -> Mapping[str, Any]:
        """Return the first step of that name, or an empty one."""
        return next((step for step in self.steps if _name(step) == name), {})


def read_pipeline(config: Mapping[str, Any]) -> InferencePipeline:
    """Return the test pipeline of a config, from the first place where mmdet would look."""
    for place in _PLACES:
        node: Any = config
        for key in place:
            node = node.get(key) if isinstance(node, Mapping) else None
        steps = tuple(_steps(_pipeline_of(node)))
        if steps:
            sizes = dict.fromkeys(size for step in steps for size in _sizes(step))
            resize = next((step for step in steps if _name(step) in _RESIZES), {})
            return InferencePipeline(tuple(sizes), _keeps_aspect(resize), steps, ".".join(place))
    return InferencePipeline((), True, (), "")


def one_size(pipeline: InferencePipeline, source: str) -> tuple[int, int]:
    """Return the (width, height) px of a pipeline. Raises ModelError unless it has exactly one size."""
    if len(pipeline.sizes) == 1:
        return pipeline.sizes[0]
    if pipeline.sizes:
        sizes = ", ".join(f"{width}x{height}" for width, height in pipeline.sizes)
        problem = f"its {pipeline.place} resizes images to several sizes ({sizes})"
    elif pipeline.place:
        problem = f"its {pipeline.place} names no size in px to resize images to"
    else:
        problem = "it has no test pipeline (test_dataloader.dataset.pipeline)"
    raise ModelError(
        f"{source}: expected one image size for testing, but {problem}. Set the size in "
        "al-loop.toml, section [model]: image_size = [WIDTH, HEIGHT] (model.image_size)"
    )


def _pipeline_of(dataset: Any) -> Any:
    """Return the pipeline of a data set, which may be inside wrappers. A list is a pipeline itself."""
    if isinstance(dataset, list | tuple):
        return dataset
    if not isinstance(dataset, Mapping):
        return ()
    inner = dataset.get("dataset") or next(iter(dataset.get("datasets") or ()), None)
    return dataset.get("pipeline") or _pipeline_of(inner)


def _steps(pipeline: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the steps of a pipeline, and those in the nested lists of test-time augmentation."""
    if isinstance(pipeline, Mapping):
        if "type" in pipeline:
            yield pipeline
        yield from _steps(pipeline.get("transforms"))
    elif isinstance(pipeline, list | tuple):
        for step in pipeline:
            yield from _steps(step)


def _name(step: Mapping[str, Any]) -> str:
    return str(step["type"]).rpartition(".")[2]


def _sizes(step: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield the sizes in px of a step; mmdet 2 calls them img_scale."""
    name, scale = _name(step), step.get("scale")
    if name == "FixShapeResize":
        yield from _pairs([step.get("width"), step.get("height")])
    elif name == "ResizeShortestEdge" and isinstance(step.get("max_size"), int):
        for side in scale if isinstance(scale, list | tuple) else [scale]:
            yield from _pairs([step["max_size"], side])
    elif name in (*_RESIZES, "MultiScaleFlipAug"):
        for key in ("scale", "scales", "img_scale"):
            yield from _pairs(step.get(key))


def _pairs(value: Any) -> Iterator[tuple[int, int]]:
    """Yield the pairs of a size, of a list of sizes, or of one number for both sides."""
    if type(value) is int:
        yield value, value
    elif isinstance(value, list | tuple):
        if len(value) == 2 and all(type(side) is int and side > 0 for side in value):
            yield value[0], value[1]
        else:
            for item in value:
                if isinstance(item, list | tuple):
                    yield from _pairs(item)


def _keeps_aspect(step: Mapping[str, Any]) -> bool:
    """Return whether a resize keeps the aspect ratio. It does by default in mmdet 2, and mostly not in 3."""
    is_mmdet_3 = any(key in step for key in ("scale", "scales", "scale_factor", "width"))
    nested = step.get("resize_kwargs")
    options = {**nested, **step} if isinstance(nested, Mapping) else step
    return bool(options.get("keep_ratio", not is_mmdet_3 or _name(step) == "ResizeShortestEdge"))
